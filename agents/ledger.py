"""The ledger agent: the log of record in, books and what they changed out.

The order of each step is what survives a crash at any moment (docs/topics.md has the proof):

1. The fence: a record beyond the next offset means that some were skipped; they are read again.
2. The record is folded into the account's book, or goes to the dead letters: those that come while others are on their
   way are sent together. They are done in order, and before the next record that is none. For a trade correction the
   account's whole log is folded anew, and what that changes is published page by page; only step 3 makes them count.
3. Journal, positions, balances and pnl are published, and the broker acknowledges them.
4. The book is written, also when nothing changed, and then the fence.
5. The event is acknowledged when the broker has both in the changelog.

A crash before 4 repeats 2 and 3 with the same result; a crash after 4 finds the book at the record's position and
publishes nothing. The other order, book first, could lose outputs: the book would say that they were made.
"""

import logging
import time
from collections.abc import Sequence
from functools import partial

from faust.types import TP, StreamT
from opentelemetry.trace import SpanKind

from infra.telemetry.logs import log_context
from infra.telemetry.metrics import LEDGER_REWINDS
from infra.telemetry.traces import cause_of, span
from portfolio import LogPosition
from streams.account_log import Applied, NeedsRefold, Rejected, apply_record
from streams.app import account_events, app, book_view, books
from streams.dead_letters import Burials, Run, dead_letter
from streams.fence import Fence, Rewinder, committed_offset
from streams.processing import Abandoned, Claim, Event, Rest, process
from streams.publishing import publish
from streams.restatement import restate
from streams.telemetry import note_applied, note_passed, note_rejected

logger = logging.getLogger(__name__)

_ACCOUNT_SHOWN_MAX = 100


class LogTruncated(Exception):
    """The log begins behind what the books have seen: records are gone that nobody has read."""


def _stop_on_gone(partition: TP, wanted: int, first: int) -> None:
    error = LogTruncated(
        f"{partition.topic}[{partition.partition}] begins at offset {first}, but the books have only seen what is "
        f"before {wanted}. Restore the log, or a changelog that is at least as new"
    )
    logger.critical("stopping: %s", error)
    app.add_future(app.crash(error))


fence = Fence(books, partial(committed_offset, app))
rewinder = Rewinder(app, _stop_on_gone)
burials = Burials()


@app.agent(account_events, name="ledger")
async def ledger(stream: StreamT[bytes]) -> None:
    """Fold the log of record into the books."""
    await process(app, stream, apply_event)


async def apply_event(event: Event) -> Rest | None:
    """Apply one record of the log, and acknowledge it when all that it caused is safe.

    Returns:
        For a record that goes to the dead letters, what is still to be done while the next record begins.
    """
    message = event.message
    place = f"{message.topic}[{message.partition}]@{message.offset}"
    account = (message.key or b"").decode(errors="replace")[:_ACCOUNT_SHOWN_MAX]
    known = {"account": account, "log_position": place}
    with log_context(**known), span("ledger", SpanKind.CONSUMER, parent=cause_of(message.headers), attributes=known):
        return await _apply(event)


async def _apply(event: Event) -> Rest | None:
    began_s = time.monotonic()
    claim = Claim(app, event)
    claim.begin()  # else a record behind one that was given up at a stop would look like a gap
    message, key = event.message, event.message.key
    next_offset = fence.next_offset(event)
    if message.offset > next_offset:
        LEDGER_REWINDS.inc()
        rewinder.rewind(message.topic, message.partition, next_offset)
        raise Abandoned
    if fence.has_passed(event):
        _write_back(event)
        fence.expect_next(event)
        note_passed(message)
        return None
    step = apply_record(
        key,
        message.value,
        position=LogPosition(message.partition, message.offset),
        stored=books.get(key) if key else None,
        partitions=app.conf.topic_partitions,
    )
    if not isinstance(step, Rejected):
        await burials.settle(event)
    if isinstance(step, NeedsRefold):
        try:
            step = await restate(app, event, claim, step)
        except Abandoned:
            if claim.is_old:
                rewinder.rewind(message.topic, message.partition, message.offset)
            raise
    if isinstance(step, Rejected):
        fence.expect_next(event)
        return burials.follow(event, claim, dead_letter(event, step.reason), _bury)
    await publish(app, step.outputs, claim)
    _write([event], claim, step)
    note_applied(message, step, time.monotonic() - began_s)
    return None


async def _bury(run: Run) -> None:
    """Publish the dead letters of a run of records, and note that these are done."""
    try:
        await run.begin()
        await publish(app, run.letters, run.claim)
        _write(run.events, run.claim)
    except Abandoned:
        for event in run.events:
            fence.expect_again(event)
        raise
    note_rejected([event.message for event in run.events])


def _write(events: Sequence[Event], claim: Claim, step: Applied | None = None) -> None:
    """Write what records came to, whose outputs the brokers have, and acknowledge them.

    Nothing waits in here: no rebalance and no other event comes in between.
    """
    message = events[0].message
    if claim.is_old:
        # Somebody else may have the partition by now. If not, the record comes again and finds its time.
        rewinder.rewind(message.topic, message.partition, message.offset)
        raise Abandoned
    claim.require()
    if step is not None and message.key is not None:
        books[message.key] = step.stored
        book_view.put(message.partition, step.book)
    fence.advance(events[-1])
    for event in events:
        books.acknowledge_after_changes(event)


def _write_back(event: Event) -> None:
    """Write a book again whose record was applied before.

    RocksDB may be ahead of the changelog after a crash. Without this the changelog would stay behind, and lose the
    event at the next failover.
    """
    key = event.message.key
    stored = books.get(key) if key else None
    if key is not None and stored is not None:
        books[key] = stored
    books.acknowledge_after_changes(event)
