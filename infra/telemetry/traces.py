"""Traces: the way of an event from the exchange to Postgres, for an OpenTelemetry collector.

Spans are made everywhere and cost next to nothing until `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector. What belongs
together is told by the W3C `traceparent` in the headers of Kafka's records. OpenTelemetry's own variables
(`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`) have their usual effect.
"""

import atexit
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from infra.settings import Settings

logger = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]
"""The headers of a record, as clients of Kafka take them."""

_EXPORT_TIMEOUT_S: Final = 3
"""A collector that is away must not keep a process from ending."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_tracer: Final = trace.get_tracer("portfolio")


def configure_tracing(settings: Settings, process: str) -> None:
    """Send this process's spans to the collector of the settings; without one, or without the exporter, send none.

    Args:
        settings: Where the collector is.
        process: What the process is; the spans' service is `portfolio-<process>`.
    """
    if settings.otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but what sends traces is not installed; install the extra `tracing`"
        )
        return
    endpoint = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"portfolio-{process}"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)))
    trace.set_tracer_provider(provider)
    atexit.register(provider.shutdown)
    # While the collector is away it writes a traceback every few seconds; one line less says as much.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logger.info("traces go to %s", endpoint)


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    parent: Context | None = None,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span]:
    """A span around what is done inside.

    Args:
        name: What is done.
        kind: Whether a record is consumed or produced.
        parent: What caused it, see `cause_of`; None: the span that is open here.
        attributes: What is known of it; never a secret.
    """
    with _tracer.start_as_current_span(name, context=parent, kind=kind, attributes=dict(attributes or {})) as opened:
        yield opened


def note_span(
    name: str, kind: SpanKind, *, parent: Context, began_ns: int, ended_ns: int, attributes: Mapping[str, str | int]
) -> None:
    """Note afterwards what was done for many causes at once.

    Args:
        name: What was done.
        kind: Whether a record was consumed or produced.
        parent: One of the causes.
        began_ns: When it began; epoch nanoseconds.
        ended_ns: When it ended.
        attributes: What is known of it.
    """
    noted = _tracer.start_span(name, context=parent, kind=kind, start_time=began_ns, attributes=dict(attributes))
    noted.end(ended_ns)


def is_traced(cause: Context) -> bool:
    """Whether a cause is part of a trace."""
    return trace.get_current_span(cause).get_span_context().is_valid


def cause_of(headers: Iterable[tuple[str, object]] | Mapping[str, object] | None) -> Context:
    """What caused a record, as its headers say; an empty context where they say nothing, or nothing readable."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    carrier = {name: value.decode(errors="replace") for name, value in pairs if isinstance(value, bytes)}
    return _PROPAGATOR.extract(carrier, context=Context())


def trace_headers() -> Headers | None:
    """The headers that tell a record's readers what caused it; None outside of any trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return [(name, value.encode()) for name, value in carrier.items()] or None
