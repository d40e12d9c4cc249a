"""Fills of many symbols, sorted by time, on disk rather than in memory; with them, how far each symbol was read.

The first sync must know the whole history before it can publish the first event (what was held before it follows from
what is held after it), and a history may have millions of fills. So what was read is kept: whoever is killed meanwhile
goes on where it was. What is published is in the log and leaves the spool.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from portfolio.duplicates import fingerprint
from portfolio.events import ExecutionKind, Fill
from streams.gateway.published import Published

log = logging.getLogger(__name__)

_VERSION = 3
_SCHEMA = """
CREATE TABLE fill (
    symbol TEXT, execution TEXT, trade_id INTEGER, order_id INTEGER, time_us INTEGER, event BLOB,
    PRIMARY KEY (symbol, execution, trade_id, order_id)
) WITHOUT ROWID;
CREATE TABLE symbol (symbol TEXT PRIMARY KEY, next_id INTEGER, whole_at_us INTEGER) WITHOUT ROWID;
CREATE TABLE about (origin TEXT);
"""
_TABLES = ("fill", "symbol", "about")
_ORDERED = """
SELECT event FROM (
    SELECT *, max(time_us) OVER (PARTITION BY symbol, execution ORDER BY trade_id, order_id) AS place_us FROM fill
) ORDER BY place_us, symbol, execution, trade_id, order_id
"""
"""Within a symbol the id is the order, whatever the times say and whichever was read first: the ledger takes what steps
back in it for a duplicate."""

_ROWS_AT_ONCE = 1_000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Fill)


class FillSpool:
    """A store of fills that are to be published; each is kept once, whoever brings it first."""

    def __init__(self, path: Path | None = None, *, origin: str = "") -> None:
        """Open the spool that was left behind, or an empty one.

        Args:
            path: Where it is kept; None, or where that is not possible: in a private database that goes with it.
            origin: Whose fills they are: what was kept for another exchange or account is forgotten.
        """
        self._database = _open(path)
        if self._read_origin() != origin:
            self._make(origin)

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
        """Keep fills that are not kept yet."""
        with self._database:
            self._insert(fills)

    def add_page(self, symbol: str, fills: Iterable[Fill], *, next_id: int, whole_at_us: int | None) -> int:
        """Keep a page of a symbol's history, and where the next one begins, in one step; returns how many are new.

        Args:
            symbol: The symbol.
            fills: What is new of the page.
            next_id: The id from which to go on.
            whole_at_us: Of the last page: the time of the account's last update, known before it was asked for.
        """
        with self._database:
            count = self._insert(fills)
            self._database.execute("INSERT OR REPLACE INTO symbol VALUES (?, ?, ?)", (symbol, next_id, whole_at_us))
        return count

    def next_id(self, symbol: str) -> int | None:
        """The id from which to go on with a symbol; None where nothing of it was read."""
        with closing(self._database.execute("SELECT next_id FROM symbol WHERE symbol = ?", (symbol,))) as cursor:
            row = cursor.fetchone()
        return None if row is None else int(row[0])

    @property
    def symbols(self) -> set[str]:
        """The symbols of the fills that are kept."""
        with closing(self._database.execute("SELECT DISTINCT symbol FROM fill")) as cursor:
            return {symbol for (symbol,) in cursor}

    def whole_symbols(self, update_us: int) -> set[str]:
        """The symbols whose history was read to its end when this was the account's last update already."""
        query = "SELECT symbol FROM symbol WHERE whole_at_us = ?"
        with closing(self._database.execute(query, (update_us,))) as cursor:
            return {symbol for (symbol,) in cursor}

    def has(self, fill: Fill) -> bool:
        """Whether this fill is kept, with what it moves."""
        key = (fill.symbol, fill.execution, fill.trade_id, fill.order_id)
        query = "SELECT event FROM fill WHERE symbol = ? AND execution = ? AND trade_id = ? AND order_id = ?"
        with closing(self._database.execute(query, key)) as cursor:
            row = cursor.fetchone()
        return row is not None and fingerprint(_decoder.decode(row[0])) == fingerprint(fill)

    def forget(self, symbol: str) -> None:
        """Forget what was read of a symbol."""
        with self._database:
            self._database.execute("DELETE FROM fill WHERE symbol = ?", (symbol,))
            self._database.execute("DELETE FROM symbol WHERE symbol = ?", (symbol,))

    def drop_published(self, published: Published) -> None:
        """Remove what the log has."""
        cursors = [
            (symbol, execution, published.next_id(symbol, execution))
            for symbol in published.symbols
            for execution in ExecutionKind
        ]
        done = [fill for cursor in cursors for fill in self._at(*cursor) if not published.is_new(fill)]
        with self._database:
            self._database.executemany("DELETE FROM fill WHERE symbol = ? AND execution = ? AND trade_id < ?", cursors)
            self._database.executemany(
                "DELETE FROM fill WHERE symbol = ? AND execution = ? AND trade_id = ? AND order_id = ?",
                [(fill.symbol, fill.execution, fill.trade_id, fill.order_id) for fill in done],
            )

    def clear(self) -> None:
        """Everything is published: forget it all."""
        with self._database:
            self._database.execute("DELETE FROM fill")
            self._database.execute("DELETE FROM symbol")

    def ordered(self) -> Iterator[Fill]:
        """All fills by time, those of a symbol by id."""
        with closing(self._database.execute(_ORDERED)) as cursor:
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                for (event,) in rows:
                    yield _decoder.decode(event)

    @property
    def first_time_us(self) -> int | None:
        """Time of the oldest fill; None where there is none."""
        with closing(self._database.execute("SELECT min(time_us) FROM fill")) as cursor:
            time_us = cursor.fetchone()[0]
        return None if time_us is None else int(time_us)

    def _at(self, symbol: str, execution: ExecutionKind, trade_id: int) -> list[Fill]:
        query = "SELECT event FROM fill WHERE symbol = ? AND execution = ? AND trade_id = ?"
        with closing(self._database.execute(query, (symbol, execution, trade_id))) as cursor:
            return [_decoder.decode(event) for (event,) in cursor]

    def _insert(self, fills: Iterable[Fill]) -> int:
        rows = [
            (fill.symbol, fill.execution, fill.trade_id, fill.order_id, fill.time_us, _encoder.encode(fill))
            for fill in fills
        ]
        cursor = self._database.executemany("INSERT OR IGNORE INTO fill VALUES (?, ?, ?, ?, ?, ?)", rows)
        return max(0, cursor.rowcount)

    def _read_origin(self) -> str | None:
        if self._database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            return None
        row = self._database.execute("SELECT origin FROM about").fetchone()
        return None if row is None else str(row[0])

    def _make(self, origin: str) -> None:
        for table in _TABLES:
            self._database.execute(f"DROP TABLE IF EXISTS {table}")
        self._database.executescript(_SCHEMA)
        self._database.execute("INSERT INTO about VALUES (?)", (origin,))
        self._database.execute(f"PRAGMA user_version = {_VERSION}")
        self._database.commit()


def _open(path: Path | None) -> sqlite3.Connection:
    """The database of a path; without one, a private database that SQLite keeps on disk as far as it must."""
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _open_file(path)
        except (OSError, sqlite3.OperationalError) as error:
            log.warning("%s cannot be used (%s): a backfill that is interrupted will begin anew", path, error)
        except sqlite3.DatabaseError as error:
            log.warning("%s is damaged (%s): it is begun anew", path, error)
            path.unlink()
            return _open_file(path)
    return sqlite3.connect("")


def _open_file(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0)
    try:
        _prepare(database)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    for statement in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
        database.execute(f"PRAGMA {statement}").fetchall()
    if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("it fails its check")
    # One gateway at a time: writing takes the lock, which is kept to the end.
    database.execute(f"PRAGMA user_version = {database.execute('PRAGMA user_version').fetchone()[0]}")
