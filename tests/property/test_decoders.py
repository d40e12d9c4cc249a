"""Whatever bytes come in, a decoder answers or raises the error that it names; anything else would stop a worker."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portfolio import (
    Balance,
    BalanceReport,
    CostAdjustment,
    CostTarget,
    Flow,
    FlowKind,
    LogPosition,
    Reclassification,
    ValuationPoint,
    amount,
    decode_book,
    encode_book,
)
from streams.account_log import Applied, apply_record
from streams.executions.records import ExecutionRecord, execution_records
from streams.records import DeadLetter, MarksPage, dead_letters, marks_pages
from tests.support.decoders import ACCOUNT, HOME, PARTITIONS, decode_everywhere
from tests.support.fuzzing import fuzz
from tests.support.worker import TIME_US, fill, record

EVENTS = (
    fill(1),
    Flow(
        time_us=TIME_US,
        id="f1",
        asset="BTC",
        quantity=amount("-0.001"),
        kind=FlowKind.WITHDRAWAL,
        rates={"BTC": amount("9")},
    ),
    BalanceReport(time_us=TIME_US, balances={"BTC": Balance(amount("1"), amount("2"))}, complete=True),
    ValuationPoint(time_us=TIME_US, rates={"BTC": amount("60000")}),
    CostAdjustment(
        time_us=TIME_US, id="a1", asset="BTC", amount=amount("5"), target=CostTarget.HOLDING, author="ada", reason="why"
    ),
    Reclassification(time_us=TIME_US, id="r1", flow_id="f1", kind=FlowKind.TRANSFER, author="ada"),
)


def _samples() -> list[bytes]:
    page = record(ACCOUNT, *EVENTS)
    step = apply_record(ACCOUNT.encode(), record(ACCOUNT, fill(1)), position=HOME, stored=None, partitions=PARTITIONS)
    assert isinstance(step, Applied)
    execution = ExecutionRecord(
        account=ACCOUNT,
        symbol="BTCUSDT",
        side=EVENTS[0].side,
        price=amount("1"),
        quantity=amount("1"),
        event_time_us=TIME_US,
    )
    letter = DeadLetter(topic="t", partition=0, offset=1, reason="r", time_us=TIME_US, key=b"k", value=b"v")
    return [
        page,
        step.stored,
        *[output.value for output in step.outputs],
        marks_pages.encode(MarksPage(time_us=TIME_US, rates={"USDT": {"BTC": amount("60000")}})),
        execution_records.encode(execution),
        dead_letters.encode(letter),
        b"Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n2024-01-01 00:00:00,BTCUSDT,BUY,1,1BTC,1USDT,0.1BNB\n",
        b"portfolio.dead-letters:0:17",
    ]


SAMPLES = _samples()
STRANGE = (None, True, -1, 0, 2**63, 10**30, 1.5, "", "NaN", "sNaN", "-Infinity", "1e400", "1e-400", "9" * 100)
WORDS = tuple(
    word.encode()
    for word in ("null", "NaN", "1e999999999", "-", "[", "{", '"', "\\u0000", "\\ud800", "\xff", "," * 50, "[" * 999)
)


@st.composite
def spoilt_bytes(draw: st.DrawFn) -> bytes:
    """A valid record with a few bytes left out, put in or replaced."""
    data = draw(st.sampled_from(SAMPLES))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        put = draw(st.one_of(st.sampled_from(WORDS), st.binary(max_size=6), st.just(b"")))
        data = data[:start] + put + data[end:]
    return data


@st.composite
def spoilt_json(draw: st.DrawFn) -> bytes:
    """A valid record with some of its values replaced by others that are JSON."""
    document = json.loads(draw(st.sampled_from([sample for sample in SAMPLES if sample.startswith(b"{")])))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = document
        while True:
            places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            if isinstance(holder[place], dict | list) and draw(st.integers(0, 3)):
                holder = holder[place]
                continue
            holder[place] = draw(st.one_of(st.sampled_from((*STRANGE, [], {})), st.text(max_size=4)))
            break
    return json.dumps(document).encode()


def test_the_samples_are_valid() -> None:
    """Else nothing but the refusal at the door would be tested."""
    step = apply_record(ACCOUNT.encode(), SAMPLES[0], position=HOME, stored=None, partitions=PARTITIONS)
    assert isinstance(step, Applied), step
    assert decode_book(SAMPLES[1]).position == LogPosition(HOME.partition, HOME.offset)
    assert encode_book(decode_book(SAMPLES[1])) == SAMPLES[1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(spoilt_bytes(), spoilt_json(), st.binary(max_size=60)))
@example(b"")
@example(SAMPLES[0].replace(b"account-events", b"\x80"))
@example(b"[" * 200_000)
@example(b'{"x":' * 50_000)
@example(b"\x81" * 100_000)  # MessagePack: a map in a map in a map
def test_only_the_named_errors_leave_a_decoder(data: bytes) -> None:
    decode_everywhere(data)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=5_000, deadline=None)
@given(st.one_of(spoilt_bytes(), spoilt_json(), st.binary(max_size=200)))
def test_only_the_named_errors_leave_a_decoder_long(data: bytes) -> None:
    decode_everywhere(data)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_fuzzer_that_follows_the_branches_finds_no_other_error(tmp_path: Path) -> None:
    fuzz("fuzz_decoders.py", SAMPLES, tmp_path, runs=20_000, length_max=4096)
