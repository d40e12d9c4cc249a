"""The tables in Postgres made anew from the log, beside the live ones, and put in their place when they are right."""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import NamedTuple

import asyncpg
from aiokafka.errors import KafkaError

from infra.errors import RemediableError
from infra.postgres import rebuilding as side
from infra.postgres.audit import new_entry, record
from infra.postgres.errors import DatabaseError
from infra.postgres.rebuilding import TableDifference
from infra.postgres.statements import lock_account
from infra.postgres.writer import LogRef, Writer
from infra.settings import Settings
from portfolio import Book, Outcome
from portfolio.amendments import NO_AMENDMENTS
from portfolio.audit import AuditEntry, AuditKind
from portfolio.snapshots import LedgerUpdate, describe_update
from streams.account_log import NeedsRefold, partition_of
from streams.journal_gaps import Gap, look_for_gaps
from streams.log_reader import open_log
from streams.topics import ACCOUNT_EVENTS, JOURNAL
from streams.verification import accounts_of_log

_UPDATES_AT_ONCE = 200
_EVENTS_AT_ONCE = 5_000

OnProgress = Callable[[str, int, int], None]
"""Called with the account, the offset that was reached and the one to be reached."""


class Result(StrEnum):
    """What became of an account."""

    EQUAL = "equal"
    """The live tables are what the log leads to."""
    COMPLETED = "completed"
    """They lacked rows, and had no wrong ones; they were replaced."""
    REPLACED = "replaced"
    """They had wrong rows; they were replaced, as was wished."""
    DIFFERENT = "different"
    """They have wrong rows, and were left as they are."""


class Rebuilt(NamedTuple):
    """An account that was made anew."""

    account: str
    result: Result
    events: int
    log_offset: int
    live_offset: int | None
    """How far the live tables had come; None: they had nothing."""
    differences: list[TableDifference]


async def rebuild_account(
    settings: Settings,
    connection: asyncpg.Connection,
    account: str,
    *,
    accept: bool,
    actor: str,
    on_progress: OnProgress,
) -> Rebuilt:
    """Make the tables of an account anew in the side schema, compare, and replace what is to be replaced.

    Args:
        settings: How to reach Kafka and Postgres.
        connection: Of `side_schema`.
        account: The account.
        accept: Replace wrong rows too.
        actor: Who wants it; the audit trail tells.
        on_progress: Told how far the log was read.

    Raises:
        RemediableError: Kafka or Postgres does not answer, the log is not whole, or was corrected meanwhile.
    """
    try:
        async with Writer(side.side_dsn(settings.database_dsn)) as writer:
            copy = _Copy(settings, account, writer, on_progress)
            while True:
                await copy.catch_up()
                done = await _settle(connection, copy, accept=accept, actor=actor)
                if done is not None:
                    return done
    except (KafkaError, OSError, DatabaseError) as error:
        raise RemediableError(f"account {account}: {error!r}", "`portfolio doctor` says what is in the way") from error


async def gaps_of_journal(settings: Settings) -> dict[Gap, int]:
    """What `look_for_gaps` finds.

    Raises:
        RemediableError: Kafka or Postgres does not answer.
    """
    try:
        return await look_for_gaps(settings)
    except (KafkaError, OSError, DatabaseError) as error:
        raise RemediableError(f"the journal: {error!r}", "`portfolio doctor` says what is in the way") from error


async def close_gaps(
    settings: Settings, connection: asyncpg.Connection, gaps: Mapping[Gap, int], done: Collection[Rebuilt]
) -> list[int]:
    """Let the sink go on in partitions of the journal where every account is what the log leads to now.

    The tables have all that the journal had told before they were made.

    Args:
        settings: How to reach Kafka.
        connection: Of `side_schema`.
        gaps: What `gaps_of_journal` found before the first account was made anew.
        done: The accounts that were made anew since.

    Returns:
        The partitions where it goes on.

    Raises:
        RemediableError: Kafka does not answer.
    """
    if not gaps:
        return []
    right = {one.account for one in done if one.result is not Result.DIFFERENT}
    lacking = {partition_of(name, settings.partitions) for name in await accounts_of_log(settings) - right}
    offsets = {gap.partition: end for gap, end in gaps.items() if gap.partition not in lacking}
    await side.read_on_at(connection, JOURNAL.name, offsets)
    return sorted(offsets)


async def _settle(connection: asyncpg.Connection, copy: "_Copy", *, accept: bool, actor: str) -> Rebuilt | None:
    """Compare and replace in one transaction; None where the live tables have gone ahead meanwhile."""
    account = copy.account
    async with connection.transaction():
        await lock_account(connection, account)
        live_offset = await side.stored_offset(connection, account)
        if live_offset is not None and live_offset > copy.offset:
            return None
        is_behind = live_offset is None or live_offset < copy.offset
        differences = await side.compare(connection, account, is_behind=is_behind)
        has_wrong = any(one.live_only for one in differences)
        if not differences and not is_behind:
            result = Result.EQUAL
        elif has_wrong and not accept:
            result = Result.DIFFERENT
        else:
            await side.replace_account(connection, account, keep_marks_history=not has_wrong)
            result = Result.REPLACED if has_wrong else Result.COMPLETED
            await record(connection, _entry(actor, account, result, copy.offset, differences))
    return Rebuilt(account, result, copy.events, copy.offset, live_offset, differences)


def _entry(actor: str, account: str, result: Result, offset: int, differences: list[TableDifference]) -> AuditEntry:
    counts = {one.table: f"{one.live_only} wrong, {one.log_only} missing" for one in differences}
    details = counts | {"result": result.value, "log_offset": str(offset)}
    return new_entry(AuditKind.OPERATION, "rebuilt", actor=actor, account=account, subject="postgres", details=details)


class _Copy:
    """The account in the side schema.

    Attributes:
        offset: The last record of the log that it has; -1 before the first.
    """

    def __init__(self, settings: Settings, account: str, writer: Writer, on_progress: OnProgress) -> None:
        self.account = account
        self.offset = -1
        self._settings = settings
        self._writer = writer
        self._on_progress = on_progress
        self._book: Book | None = None

    @property
    def events(self) -> int:
        """How many events it has."""
        return 0 if self._book is None else self._book.sequence

    async def catch_up(self) -> None:
        """Fold on to where the log ends now."""
        partition = partition_of(self.account, self._settings.partitions)
        async with open_log(self._settings, partition) as log:
            if log.first > 0:
                raise RemediableError(
                    f"the log begins at offset {log.first}: what was before is lost", "Restore portfolio.account-events"
                )
            corrections = await log.corrections(self._settings.partitions) if self._book is None else {}
            amendments = corrections.get(self.account.encode(), NO_AMENDMENTS)
            updates: list[LedgerUpdate] = []
            events = 0
            async for record, step in log.steps(
                self.account, self._settings.partitions, book=self._book, start=self.offset + 1, amendments=amendments
            ):
                if isinstance(step, NeedsRefold):
                    raise RemediableError(f"account {self.account} was corrected meanwhile", "Rebuild it again")
                if isinstance(step, Outcome) and step.book.position is not None:
                    updates.append(describe_update(step, step.book.position))
                    self._book, self.offset = step.book, record.offset
                    events += len(step.booked)
                if len(updates) >= _UPDATES_AT_ONCE or events >= _EVENTS_AT_ONCE:
                    await self._write(updates)
                    events = 0
                    self._on_progress(self.account, record.offset, log.end)
            await self._write(updates)

    async def _write(self, updates: list[LedgerUpdate]) -> None:
        """Write updates and forget them."""
        if updates:
            refs = [LogRef(ACCOUNT_EVENTS.name, one.position.partition, one.position.offset) for one in updates]
            await self._writer.write(list(zip(refs, updates, strict=True)))
            updates.clear()
