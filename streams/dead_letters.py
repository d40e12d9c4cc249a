"""Dead letters: what could not be read, as it came, with the reason."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from streams import topics
from streams.processing import Abandoned, Event, Rest
from streams.publishing import Output
from streams.records import DeadLetter, dead_letters

logger = logging.getLogger(__name__)

KEPT_BYTES_MAX = 8 * 1024 * 1024
"""What is kept of key and value, each: in base64 they must fit into one record. The log itself has the whole."""


def dead_letter(event: Event, reason: str) -> Output:
    """The dead letter for an event, and a line in the worker's log."""
    message = event.message
    where = f"{message.topic}[{message.partition}]@{message.offset}"
    logger.error("record %s goes to %s: %s", where, topics.DEAD_LETTERS.name, reason)
    key, value = message.key, message.value
    if value is not None and len(value) > KEPT_BYTES_MAX:
        reason += f" (cut to {KEPT_BYTES_MAX} of {len(value)} bytes; the record itself is at {where})"
        value = value[:KEPT_BYTES_MAX]
    letter = DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        reason=reason,
        time_us=time.time_ns() // 1_000,
        key=key,
        value=value,
    )
    # Kafka partitions by the key, and a long one is no use for that.
    return Output(topics.DEAD_LETTERS.name, None if key is None else key[:1024], dead_letters.encode(letter))


class Burials:
    """Records whose dead letters are on their way: sent beside each other, done one after the other.

    A dead letter depends on nothing but its record, so the next one need not wait until the brokers have it: waiting
    for each made 80 records a second of one partition, with the other accounts of the partition behind them. But no
    record may count as done before those that precede it.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int | None, asyncio.Future[bool]]] = {}
        """Generation of the assignment, and whether the last record was done, of each partition."""

    async def settle(self, event: Event) -> None:
        """Wait until the records that precede an event are done.

        Raises:
            Abandoned: One of them was given up.
        """
        await _settle(self._before(event))

    def follow(self, event: Event, send: Awaitable[None], write: Callable[[], None]) -> Rest:
        """Put a record behind those whose letters are on their way.

        Args:
            event: The record.
            send: Sends its letter.
            write: Notes that the record is done; called when the letter is sent and the records before are done.

        Returns:
            What is still to be done, to be awaited beside the records that follow. It raises Abandoned where a record
            before was given up, and whatever `send` and `write` do.
        """
        before = self._before(event)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._last[event.message.partition] = (event.message.generation_id, done)
        return _bury(before, send, write, done)

    def _before(self, event: Event) -> "asyncio.Future[bool] | None":
        generation, last = self._last.get(event.message.partition, (None, None))
        # One that was given up before this event came has been taken back: the fence lets nothing pass beyond it.
        is_pending = last is not None and not last.done() and generation == event.message.generation_id
        return last if is_pending else None


async def _bury(
    before: "asyncio.Future[bool] | None",
    send: Awaitable[None],
    write: Callable[[], None],
    done: "asyncio.Future[bool]",
) -> None:
    is_done = False
    try:
        await send
        await _settle(before)
        write()
        is_done = True
    finally:
        done.set_result(is_done)


async def _settle(last: "asyncio.Future[bool] | None") -> None:
    if last is None:
        return
    await asyncio.wait([last])  # by itself it would be cancelled with whoever waits for it
    if not last.result():
        raise Abandoned
