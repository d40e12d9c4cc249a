"""Dead letters in Postgres: what is told of each. The letter itself, with its bytes, is on its topic."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, Final

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

Connection = asyncpg.Connection | PoolConnectionProxy

_TEXT_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterLine:
    """What is told of a dead letter.

    Attributes:
        letter_partition: Where the letter itself is.
        letter_offset: Likewise.
        topic: Where what could not be read came from.
        partition: Likewise.
        log_offset: Likewise.
        time_us: When it was put away, epoch microseconds.
        key: The key of the record, as far as it is text.
        bytes: Size of the record's value, as far as it was kept.
        reason: Why it could not be read or booked.
    """

    letter_partition: int
    letter_offset: int
    topic: str
    partition: int
    log_offset: int
    time_us: int
    key: str
    bytes: int
    reason: str


class LetterKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The place of a letter in the list, newest first."""

    time_us: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    letter_partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    letter_offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


async def write_letters(connection: Connection, lines: Iterable[LetterLine]) -> None:
    """Store lines; one that is stored already changes nothing."""
    await connection.executemany(_INSERT, [_row(line) for line in lines])


async def newest_letters(
    connection: Connection, *, limit: int, after: LetterKey | None = None, topic: str | None = None
) -> Sequence[LetterLine]:
    """Lines, newest first.

    Args:
        connection: A connection that may read.
        limit: At most so many.
        after: Where the page before ended.
        topic: Only what came from this topic.
    """
    place = (None, 0, 0) if after is None else (after.time_us, after.letter_partition, after.letter_offset)
    rows = await connection.fetch(_SELECT, limit, topic, *place)
    return [LetterLine(**dict(row)) for row in rows]


def _row(line: LetterLine) -> tuple[object, ...]:
    return tuple(
        value.replace("\0", "\N{REPLACEMENT CHARACTER}")[:_TEXT_MAX] if isinstance(value, str) else value
        for value in astuple(line)
    )


_INSERT: Final = """
    INSERT INTO dead_letters
        (letter_partition, letter_offset, topic, partition, log_offset, time_us, key, bytes, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT DO NOTHING
"""
_SELECT: Final = """
    SELECT letter_partition, letter_offset, topic, partition, log_offset, time_us, key, bytes, reason
    FROM dead_letters
    WHERE ($2::text IS NULL OR topic = $2)
      AND ($3::bigint IS NULL OR (time_us, letter_partition, letter_offset) < ($3, $4, $5))
    ORDER BY time_us DESC, letter_partition DESC, letter_offset DESC
    LIMIT $1
"""
