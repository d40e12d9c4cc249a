# One image for every part of the service: the command chooses the part.
FROM python:3.13-slim AS build

ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/opt/portfolio
WORKDIR /src
RUN pip install --no-cache-dir "uv==0.13.9"
# The dependencies change seldom and are a layer of their own.
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY infra/exchange/data/NOTICE.md infra/exchange/data/
RUN uv sync --frozen --no-dev --extra tracing --no-install-project
COPY . .
RUN uv sync --frozen --no-dev --extra tracing --no-editable

FROM python:3.13-slim

RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/portfolio portfolio
COPY --from=build /opt/portfolio /opt/portfolio
ENV PATH=/opt/portfolio/bin:$PATH \
    PORTFOLIO_DATA_DIR=/var/lib/portfolio/data \
    PYTHONUNBUFFERED=1
USER 10001
WORKDIR /var/lib/portfolio
RUN mkdir -p /var/lib/portfolio/data
VOLUME /var/lib/portfolio/data
EXPOSE 8000
ENTRYPOINT ["portfolio"]
CMD ["--help"]
