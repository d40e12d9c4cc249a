"""Every event that Binance documents is understood; whatever else comes is refused by name, and does no harm."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.binance.decoder import (
    Notice,
    NoticeKind,
    ReportedBalances,
    ReportedFill,
    ReportedFlow,
    decode_user_event,
)
from portfolio.events import ExecutionKind
from tests.support.binance_decoders import CATALOGUE, decode_everywhere, documented
from tests.support.fuzzing import fuzz

EVENTS, CONDITIONAL_FIELDS = documented()
REPORT = next(sample["event"] for sample in EVENTS if sample["event"]["e"] == "executionReport")
EXECUTION_TYPES = ("NEW", "CANCELED", "REPLACED", "REJECTED", "TRADE", "EXPIRED", "TRADE_PREVENTION")
"""All that Binance's `enums.md` lists."""

TRADED = {"x": "TRADE", "X": "FILLED", "t": 77, "l": "0.5", "L": "0.1", "Y": "0.05", "n": "0.1", "N": "BNB"}


def report(**changes: object) -> bytes:
    return json.dumps({"subscriptionId": 0, "event": REPORT | changes}).encode()


def test_each_documented_event_is_understood() -> None:
    expected: dict[str, type] = {
        "outboundAccountPosition": ReportedBalances,
        "balanceUpdate": ReportedFlow,
        "executionReport": Notice,
        "listStatus": Notice,
        "eventStreamTerminated": Notice,
        "externalLockUpdate": Notice,
        "serverShutdown": Notice,
    }
    assert {sample["event"]["e"] for sample in EVENTS} == expected.keys()
    for sample in EVENTS:
        event = decode_user_event(json.dumps(sample), CATALOGUE)
        assert isinstance(event, expected[sample["event"]["e"]])
        assert not isinstance(event, Notice) or event.kind is not NoticeKind.UNKNOWN


@pytest.mark.parametrize("execution_type", EXECUTION_TYPES)
def test_each_execution_type_is_understood(execution_type: str) -> None:
    event = decode_user_event(
        report(**TRADED, v=None) if execution_type == "TRADE" else report(x=execution_type), CATALOGUE
    )
    assert isinstance(event, ReportedFill) == (execution_type == "TRADE")


@pytest.mark.parametrize("name", sorted(CONDITIONAL_FIELDS))
def test_no_conditional_field_confuses_a_trade(name: str) -> None:
    plain = decode_user_event(report(**TRADED), CATALOGUE)
    assert decode_user_event(report(**TRADED, **{name: CONDITIONAL_FIELDS[name]}), CATALOGUE) == plain


def test_all_conditional_fields_at_once() -> None:
    transfer = decode_user_event(report(x="TRADE_PREVENTION", V="TRANSFER", **CONDITIONAL_FIELDS), CATALOGUE)
    assert isinstance(transfer, ReportedFill)
    assert (transfer.fill.execution, transfer.fill.trade_id) == (ExecutionKind.PREVENTION, CONDITIONAL_FIELDS["v"])
    allocation = decode_user_event(report(**(TRADED | CONDITIONAL_FIELDS | {"t": -1})), CATALOGUE)
    assert isinstance(allocation, ReportedFill)
    assert (allocation.fill.execution, allocation.fill.trade_id) == (ExecutionKind.ALLOCATION, CONDITIONAL_FIELDS["a"])


SAMPLES = [json.dumps(sample).encode() for sample in EVENTS] + [
    report(**TRADED),
    json.dumps(
        {"symbol": "BTCUSDT", "id": 1, "orderId": 2, "price": "4", "qty": "1", "quoteQty": "4", "commission": "1",
         "commissionAsset": "BNB", "time": 1499865549590, "isBuyer": True, "isMaker": False}
    ).encode(),
    json.dumps({"updateTime": 1, "balances": [{"asset": "BTC", "free": "1", "locked": "0"}]}).encode(),
    json.dumps({"id": "1", "amount": "1", "coin": "BTC", "status": 1, "insertTime": 1499865549590}).encode(),
]  # fmt: skip
STRANGE: tuple[object, ...] = (
    None,
    True,
    -1,
    2**63,
    10**30,
    1.5,
    "",
    "NaN",
    "sNaN",
    "-Infinity",
    "1e400",
    "9" * 100,
    [],
    {},
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample that was cut off, that lost or gained some bytes, or two that ran into each other."""
    data = draw(st.sampled_from(SAMPLES))
    match draw(st.integers(0, 2)):
        case 0:
            return data[: draw(st.integers(0, len(data)))]
        case 1:
            start = draw(st.integers(0, len(data)))
            end = draw(st.integers(start, min(len(data), start + 20)))
            return data[:start] + draw(st.binary(max_size=6)) + data[end:]
        case _:
            return data[: draw(st.integers(0, len(data)))] + draw(st.sampled_from(SAMPLES))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sample with other values in some of its fields, or without them."""
    document: dict[str, Any] = json.loads(draw(st.sampled_from(SAMPLES)))
    holder = document.get("event", document)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(holder)))
        if draw(st.booleans()):
            holder[name] = draw(st.sampled_from(STRANGE))
        elif len(holder) > 1:
            del holder[name]
    return json.dumps(document).encode()


@settings(max_examples=300, deadline=None)
@given(damaged() | mutated() | st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b'{"event":' * 50_000)
@example(b'{"event":{"e":"balanceUpdate","E":1,"a":"BTC","d":"NaN"}}')
def test_only_the_documented_errors_leave_a_decoder(data: bytes) -> None:
    decode_everywhere(data)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None)
@given(damaged() | mutated() | st.binary(max_size=200))
def test_only_the_documented_errors_leave_a_decoder_long(data: bytes) -> None:
    decode_everywhere(data)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fuzzer_that_follows_the_branches_finds_no_other_error(tmp_path: Path) -> None:
    fuzz("fuzz_binance_decoders.py", SAMPLES, tmp_path, runs=100_000, length_max=2048)
