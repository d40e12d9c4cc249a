"""One record of the log, applied as a pure function."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from msgspec.structs import replace

from portfolio import BalanceReport, InvalidBook, LogPosition, amount, decode_book
from portfolio.events import Balance
from streams import topics
from streams.account_log import Applied, NeedsRefold, Rejected, apply_record, partition_of, read_account
from streams.records import UnreadableRecord, journal_records, pnl_records
from tests.support.worker import TIME_US, fill, record

ACCOUNT = "main"
PARTITIONS = 8
HOME = partition_of(ACCOUNT, PARTITIONS)


def apply(value: bytes | None, offset: int = 0, stored: bytes | None = None) -> Applied | Rejected | NeedsRefold:
    return apply_record(
        ACCOUNT.encode(), value, position=LogPosition(HOME, offset), stored=stored, partitions=PARTITIONS
    )


def applied(value: bytes, offset: int = 0, stored: bytes | None = None) -> Applied:
    step = apply(value, offset, stored)
    assert isinstance(step, Applied)
    return step


def test_a_record_becomes_a_book_and_outputs_in_the_accounts_partition() -> None:
    step = applied(record(ACCOUNT, fill(1)))
    assert decode_book(step.stored) == step.book
    assert step.book.position == LogPosition(HOME, 0)
    assert [output.topic for output in step.outputs] == [
        topics.JOURNAL.name,
        topics.POSITIONS.name,
        *[topics.BALANCES.name] * 3,
        topics.PNL.name,
    ]
    assert {output.partition for output in step.outputs} == {HOME}
    journal = journal_records.decode(step.outputs[0].value).update
    pnl = pnl_records.decode(step.outputs[-1].value)
    assert journal.snapshot == pnl.snapshot
    assert journal.position == LogPosition(HOME, 0)


def test_a_record_that_the_book_has_seen_publishes_nothing_but_is_stored_again() -> None:
    first = applied(record(ACCOUNT, fill(1)))
    again = applied(record(ACCOUNT, fill(1)), stored=first.stored)
    assert again.outputs == ()
    assert again.stored == first.stored


def test_duplicates_in_a_new_record_move_the_position_and_are_told() -> None:
    first = applied(record(ACCOUNT, fill(1)))
    second = applied(record(ACCOUNT, fill(1)), offset=1, stored=first.stored)
    assert replace(second.book, position=first.book.position) == first.book
    assert journal_records.decode(second.outputs[0].value).update.duplicates == 1


def test_another_reporting_currency_is_rejected() -> None:
    first = applied(record(ACCOUNT, fill(1)))
    step = apply(record(ACCOUNT, fill(2)).replace(b'"reporting":"USDT"', b'"reporting":"EUR"'), 1, first.stored)
    assert isinstance(step, Rejected)
    assert "EUR" in step.reason


def test_nothing_of_a_page_is_applied_when_one_event_cannot_be() -> None:
    step = apply(record(ACCOUNT, fill(1), replace(fill(2), fee_asset="XYZ")))
    assert isinstance(step, Rejected)
    assert "rates" in step.reason


def test_what_changes_too_much_for_a_record_is_rejected() -> None:
    report = BalanceReport(
        time_us=TIME_US, balances={f"{number:0>100}": Balance(amount("1")) for number in range(50_000)}
    )
    step = apply(record(ACCOUNT, report))
    assert isinstance(step, Rejected)
    assert "smaller pages" in step.reason


@pytest.mark.parametrize("time_us", [0, 1_700_000_000, 1_700_000_000_000])
def test_times_in_seconds_or_milliseconds_are_rejected(time_us: int) -> None:
    step = apply(record(ACCOUNT, fill(1), replace(fill(2), time_us=time_us)))
    assert isinstance(step, Rejected)
    assert "times are epoch microseconds" in step.reason


def test_a_record_without_events_changes_nothing() -> None:
    assert applied(record(ACCOUNT)).book.sequence == 0


@pytest.mark.parametrize("name", ["symbol", "fee_asset", "strategy"])
def test_names_that_no_database_would_keep_are_rejected(name: str) -> None:
    """The sink would stand still before them, and with it the copy of every account."""
    for text, reason in (("BTC\0USDT", "NUL"), ("x" * 10_000, "length")):
        step = apply(record(ACCOUNT, replace(fill(1, symbol="BTC"), **{name: text})))
        assert isinstance(step, Rejected)
        assert reason in step.reason


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert applied(record(ACCOUNT, replace(fill(1), strategy="a\\u0000"))).book.sequence == 1


def test_a_stored_value_that_is_no_book_is_not_the_records_fault() -> None:
    with pytest.raises(InvalidBook):
        apply(record(ACCOUNT, fill(1)), stored=b"garbage")


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"~applied:0", b"a:b", b" main", b"x" * 101, b"main\n"])
def test_keys_that_name_no_account(key: bytes | None) -> None:
    with pytest.raises(UnreadableRecord):
        read_account(key)


@pytest.mark.parametrize("account", ["main", "acc0", "a.b-c_d@e"])
def test_the_partition_is_the_one_that_kafkas_own_producer_chooses(account: str) -> None:
    chosen = DefaultPartitioner()(account.encode(), list(range(PARTITIONS)), list(range(PARTITIONS)))
    assert partition_of(account, PARTITIONS) == chosen


def test_other_cash_assets_than_the_books_are_rejected_and_none_go_by_the_books() -> None:
    first = applied(record(ACCOUNT, fill(1)).replace(b'"cash_assets":null', b'"cash_assets":["USDC","USDT"]'))
    assert first.book.cash_assets == ("USDC",)
    step = apply(
        record(ACCOUNT, fill(2)).replace(b'"cash_assets":null', b'"cash_assets":["DAI","USDC"]'), 1, first.stored
    )
    assert isinstance(step, Rejected)
    assert "cash cannot change" in step.reason
    assert applied(record(ACCOUNT, fill(2)), 1, first.stored).book.sequence == 2
    same = record(ACCOUNT, fill(2)).replace(b'"cash_assets":null', b'"cash_assets":["USDC"]')
    assert applied(same, 1, first.stored).book.sequence == 2
