"""What a monitoring system sees: metrics that are scraped, traces that are received, lines of logs."""

import json
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of the series of a name that have these labels."""
        return [
            sample.value for sample in self._samples if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        return sum(self.values(name, **labels))

    def processes(self) -> set[str]:
        return {sample.labels["process"] for sample in self._samples}


class SpanSeen(NamedTuple):
    service: str
    name: str
    trace_id: str
    parent_id: str
    span_id: str


@dataclass
class Collector:
    """An OpenTelemetry collector that keeps what it gets."""

    url: str
    spans: list[SpanSeen] = field(default_factory=list)

    def traces(self) -> Mapping[str, list[SpanSeen]]:
        """The spans of each trace."""
        traces: defaultdict[str, list[SpanSeen]] = defaultdict(list)
        for span in list(self.spans):
            traces[span.trace_id].append(span)
        return traces

    def whole_traces(self, names: Iterable[str]) -> list[str]:
        """The traces that have spans of all these names."""
        return [trace for trace, spans in self.traces().items() if set(names) <= {span.name for span in spans}]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    collector = Collector("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self._body())
            collector.spans.extend(_spans(request))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[SpanSeen]:
    for resource in request.resource_spans:
        named = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                ids = (span.trace_id.hex(), span.parent_span_id.hex(), span.span_id.hex())
                yield SpanSeen(named["service.name"], span.name, *ids)


def json_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a log, each of which must be an object."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    assert all(isinstance(line, dict) for line in lines)
    return lines
