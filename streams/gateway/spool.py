"""Fills of many symbols, sorted by time, on disk rather than in memory.

The first sync must know the whole history before it can publish the first event (what was held before it follows from
what is held after it), and a history may have millions of fills.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

import msgspec

from portfolio.events import Fill

_SCHEMA = """
CREATE TABLE fill (
    symbol TEXT, execution TEXT, trade_id INTEGER, order_id INTEGER, sort_time_us INTEGER, event BLOB,
    PRIMARY KEY (symbol, execution, trade_id, order_id)
) WITHOUT ROWID
"""
_ORDERED = """
SELECT event FROM fill ORDER BY sort_time_us, symbol, execution, trade_id, order_id
"""
_ROWS_AT_ONCE = 1_000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Fill)


class FillSpool:
    """A temporary store of fills; each is kept once, whoever brings it first."""

    def __init__(self) -> None:
        # An empty name is a private database that SQLite keeps on disk as far as it must, and removes at the end.
        self._database = sqlite3.connect("")
        self._database.execute(_SCHEMA)
        self._latest_us: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def __len__(self) -> int:
        with closing(self._database.execute("SELECT count(*) FROM fill")) as cursor:
            return int(cursor.fetchone()[0])

    def add(self, fills: Iterable[Fill]) -> None:
        """Keep fills that are not kept yet; those of a symbol come in the order of their id."""
        rows = []
        for fill in fills:
            # Within a symbol the id is the order, whatever the times say: the ledger rejects what steps back in it.
            sort_time_us = max(fill.time_us, self._latest_us.get(fill.symbol, 0))
            self._latest_us[fill.symbol] = sort_time_us
            rows.append(
                (fill.symbol, fill.execution, fill.trade_id, fill.order_id, sort_time_us, _encoder.encode(fill))
            )
        with self._database:
            self._database.executemany("INSERT OR IGNORE INTO fill VALUES (?, ?, ?, ?, ?, ?)", rows)

    def ordered(self) -> Iterator[Fill]:
        """All fills by time, those of a symbol by id."""
        with closing(self._database.execute(_ORDERED)) as cursor:
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                for (event,) in rows:
                    yield _decoder.decode(event)
