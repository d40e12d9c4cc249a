"""Traces: what a record's headers say, and what they cannot break."""

import subprocess
import sys
from typing import Any

import pytest

from infra.telemetry.traces import cause_of, is_traced, span, trace_headers

TRACEPARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_cause_is_passed_on_also_by_who_sends_no_traces() -> None:
    with span("ledger", parent=cause_of([("traceparent", TRACEPARENT)])):
        headers = dict(trace_headers() or [])
    assert headers["traceparent"].split(b"-")[1] == b"0af7651916cd43dd8448eb211c80319c"


def test_outside_of_a_trace_records_have_no_headers() -> None:
    assert trace_headers() is None
    with span("valuation"):
        assert trace_headers() is None


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        {},
        [("traceparent", b"")],
        [("traceparent", b"\xff\xfe")],
        [("traceparent", None)],
        [("traceparent", TRACEPARENT.replace(b"0af7", b"zzzz"))],
        [("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01")],
        [("other", TRACEPARENT)],
    ],
)
def test_headers_that_say_nothing_readable_are_no_cause(headers: Any) -> None:
    assert not is_traced(cause_of(headers))


def test_headers_may_be_a_mapping() -> None:
    assert is_traced(cause_of({"traceparent": TRACEPARENT}))


def test_a_collector_that_is_away_does_not_keep_a_process_from_ending() -> None:
    code = """
import time
from infra.settings import Settings
from infra.telemetry.traces import configure_tracing, span
configure_tracing(Settings(_env_file=None, otlp_endpoint="http://127.0.0.1:1"), "gateway")
for _ in range(100):
    with span("gateway"):
        pass
print("done", flush=True)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "done\n"
    assert "Traceback" not in ended.stderr
