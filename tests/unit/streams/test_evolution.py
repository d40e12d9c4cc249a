"""What was written stays readable: a log and a book of the first version, kept as they were then.

`tests/fixtures/log/version-1.jsonl` is one record of the log a line, `book-version-1.msgpack` the book of them all.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portfolio import Book, LogPosition, Outcome, decode_book, encode_book, value_book
from streams.account_log import fold_record, partition_of
from streams.records import account_events
from tests.support.worker import TIME_US, fill, record

FIXTURES = Path(__file__).parents[2] / "fixtures" / "log"
RECORDS = (FIXTURES / "version-1.jsonl").read_bytes().splitlines()
STORED = (FIXTURES / "book-version-1.msgpack").read_bytes()
HOME = partition_of("main", 8)


def folded(records: list[bytes], book: Book | None = None, start: int = 0) -> Book:
    for offset, value in enumerate(records, start):
        step = fold_record(b"main", value, position=LogPosition(HOME, offset), book=book, partitions=8)
        assert isinstance(step, Outcome), step
        book = step.book
    assert book is not None
    return book


def test_a_log_of_the_first_version_folds_to_the_same_book_to_the_byte() -> None:
    """A new field of a book must have a default and be left out while it has it, or every stored book would change."""
    book = folded(RECORDS)
    assert encode_book(book) == STORED
    assert (book.sequence, book.net_flows + book.realized) == (
        21,
        sum((holding.cost for holding in book.holdings.values()), Decimal(0)),
    )
    assert value_book(book).identity_error == 0


def test_a_stored_book_of_the_first_version_goes_on() -> None:
    book = decode_book(STORED)
    assert (book.corrections, book.revision) == ({}, 0)
    after = folded([record("main", fill(100, time_us=TIME_US * 2))], book, len(RECORDS))
    assert after.sequence == book.sequence + 1
    assert folded([*RECORDS, record("main", fill(100, time_us=TIME_US * 2))]) == after


def _with_unknown_fields(value: Any) -> Any:
    if isinstance(value, dict):
        plain = {name: _with_unknown_fields(one) for name, one in value.items()}
        is_struct = "type" in value or "schema" in value
        return plain | {"added_later": {"of": ["any", 1, None]}} if is_struct else plain
    return [_with_unknown_fields(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("line", range(len(RECORDS)))
def test_a_record_of_a_newer_writer_is_read_without_what_is_new(line: int) -> None:
    newer = json.dumps(_with_unknown_fields(json.loads(RECORDS[line]))).encode()
    assert account_events.decode(newer) == account_events.decode(RECORDS[line])


def test_a_book_of_a_newer_worker_is_read_without_what_is_new() -> None:
    newer = msgspec.msgpack.encode(msgspec.msgpack.decode(STORED) | {"added_later": 1})
    assert decode_book(newer) == decode_book(STORED)
