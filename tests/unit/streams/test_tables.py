"""What a table makes of its changelog: the newest book wins, wherever in the changelog it is."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from faust.types import TP

from portfolio import LogPosition, encode_book, new_book
from streams.tables import BookTable, applied_key, is_older

CHANGELOG = "portfolio-books-changelog"
PARTITION = 3


def book(offset: int, account: str = "alice") -> bytes:
    made = new_book(account, "USDT")
    made.position = LogPosition(PARTITION, offset)
    return encode_book(made)


class RecordingTable(BookTable[bytes, bytes]):
    """The table, with a list in place of the broker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[tuple[int, bytes, bytes]] = []

    def send_changelog(self, *args: Any, **_kwargs: Any) -> Any:
        self.sent.append(cast("tuple[int, bytes, bytes]", args))


@pytest.fixture
def table(tmp_path: Path) -> RecordingTable:
    app = faust.App("portfolio", store="rocksdb://?driver=rocksdict", datadir=str(tmp_path), Table=RecordingTable)
    made = app.Table("books", partitions=8, key_type=bytes, value_type=bytes)
    app.finalize()
    return cast("RecordingTable", made)


def read(table: RecordingTable, entries: Sequence[tuple[bytes, bytes | None]], first: int = 0) -> None:
    """The entries as a recovery or a standby reads them."""
    tp = TP(CHANGELOG, PARTITION)
    events = [
        SimpleNamespace(message=SimpleNamespace(tp=tp, partition=PARTITION, offset=offset, key=key, value=value))
        for offset, (key, value) in enumerate(entries, first)
    ]
    table.apply_changelog_batch(cast("Any", events))


def stored(table: RecordingTable, key: bytes) -> bytes | None:
    return table._stored(PARTITION, key)


def test_an_old_book_of_a_worker_that_had_lost_the_partition_undoes_nothing(table: RecordingTable) -> None:
    """Suspended, or cut off from the brokers, between its check of the clock and the delivery of the write."""
    fence = applied_key(PARTITION)
    read(table, [(b"alice", book(7)), (fence, b"7"), (b"alice", book(9)), (fence, b"9")])
    read(table, [(b"alice", book(8)), (fence, b"8")], first=4)

    assert stored(table, b"alice") == book(9)
    assert stored(table, fence) == b"9"
    assert table.data.persisted_offset(TP(CHANGELOG, PARTITION)) == 5


def test_within_one_batch_too_and_accounts_do_not_mix(table: RecordingTable) -> None:
    read(table, [(b"alice", book(9)), (b"bob", book(4, "bob")), (b"alice", book(8)), (b"bob", book(5, "bob"))])

    assert stored(table, b"alice") == book(9)
    assert stored(table, b"bob") == book(5, "bob")


async def test_what_was_overwritten_is_written_again_so_that_compaction_keeps_it(table: RecordingTable) -> None:
    read(table, [(b"alice", book(9)), (b"alice", book(8)), (b"bob", book(1, "bob"))])
    changelog = TP(CHANGELOG, PARTITION)

    await table.on_recovery_completed(set(), {changelog})
    assert table.sent == []  # a standby is not the one to write
    await table.on_recovery_completed({changelog}, set())
    await table.on_recovery_completed({changelog}, set())

    assert table.sent == [(PARTITION, b"alice", book(9))]


async def test_what_was_put_right_meanwhile_is_left_alone(table: RecordingTable) -> None:
    read(table, [(b"alice", book(9)), (b"alice", book(8))])
    read(table, [(b"alice", book(10))], first=2)

    await table.on_recovery_completed({TP(CHANGELOG, PARTITION)}, set())

    assert stored(table, b"alice") == book(10)
    assert table.sent == []


@pytest.mark.parametrize(
    ("new", "known", "expected"),
    [
        (book(8), book(9), True),
        (book(9), book(9), False),  # a rebuild of the same record
        (book(9), None, False),
        (None, book(9), False),  # a tombstone
        (b"no book", book(9), False),  # to be noticed, not hidden
        (book(1), b"no book", False),
    ],
)
def test_which_entry_is_older(new: bytes | None, known: bytes | None, expected: bool) -> None:
    assert is_older(b"alice", new, known) is expected
