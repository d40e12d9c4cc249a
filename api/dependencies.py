"""What routes need: the reader, the cache, and the parameters that they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import Depends, Query, Request, Response

from api.problems import ProblemError
from api.revalidation import NotModified, entity_tag, is_known
from infra.postgres.reader import Reader, View, log_positions
from infra.redis.client import RedisClient
from infra.settings import Settings

LIMIT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Services:
    """What the application has opened."""

    settings: Settings
    reader: Reader
    redis: RedisClient


def services_of(request: Request) -> Services:
    """The services of the application that answers."""
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(services_of)]

AccountQuery = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00]+$",
        description="One account; without it, all of them.",
        examples=["main"],
    ),
]
SymbolQuery = Annotated[
    str | None,
    Query(pattern=r"^[\w.-]{2,40}$", description="One symbol, as Binance names it.", examples=["BTCUSDT"]),
]


@dataclass(frozen=True, slots=True)
class Call:
    """One request for data, and the headers of its answer."""

    services: Services
    request: Request
    response: Response

    @asynccontextmanager
    async def view(
        self, account: str | None, *, depends_on: Literal["log", "prices", "points"] = "prices"
    ) -> AsyncIterator[View]:
        """Open a consistent view, and name its log positions in the header `X-Log-Position`.

        Args:
            account: The one account that is looked at; None: all of them.
            depends_on: What an answer is as old as: the log; the log and the prices; or also points of the equity
                curve, which may arrive late, so that the route calls `tag` itself when it has read them.

        Raises:
            ProblemError: There is no such account.
            NotModified: The client has this answer already.
        """
        async with self.services.reader.view(account) as view:
            if account is not None and not view.accounts and account != self.services.settings.account:
                raise ProblemError(
                    HTTPStatus.NOT_FOUND, f"There is no account {account!r}; leave `account` out to see all of them."
                )
            states = tuple(view.accounts.values())
            positions = quote(log_positions(states), safe="@:,")
            self.response.headers["X-Log-Position"] = positions
            if depends_on == "log":
                self.tag(positions)
            elif depends_on == "prices":
                self.tag(positions, *(state.valued_time_us for state in states))
            yield view

    def tag(self, *of: object) -> None:
        """Name what the answer was made of in its `ETag`.

        Raises:
            NotModified: The client has the answer that was made of the same.
        """
        settings, url = self.services.settings, self.request.url
        etag = entity_tag(
            self.request.app.version, settings.account, settings.reporting_currency, url.path, url.query, *of
        )
        self.response.headers["ETag"] = etag
        if is_known(etag, self.request.headers.getlist("If-None-Match")):
            raise NotModified({name: self.response.headers[name] for name in ("ETag", "X-Log-Position")})


def call_of(services: ServicesOf, request: Request, response: Response) -> Call:
    """The request for data that is being answered."""
    return Call(services, request, response)


CallOf = Annotated[Call, Depends(call_of)]


def common_reporting(services: Services, view: View) -> str:
    """The currency in which all accounts of the view are kept.

    Raises:
        ProblemError: They are kept in several, which cannot be added up.
    """
    kept_in = sorted({state.reporting for state in view.accounts.values()})
    if len(kept_in) > 1:
        raise ProblemError(
            HTTPStatus.CONFLICT,
            f"The accounts are kept in {' and '.join(kept_in)}, which cannot be added up; "
            f"choose one with `account`: {', '.join(view.accounts)}.",
        )
    return kept_in[0] if kept_in else services.settings.reporting_currency
