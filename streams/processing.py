"""How an agent goes through its events without losing one.

Measured on Faust 0.15.3: an exception that leaves an agent loses the event, because the stream acknowledges it in a
`finally`; a cancelled agent loses it the same way. So agents run over a stream without automatic acknowledgement
(`noack`), acknowledge what is done, and let nothing out: data that cannot be read is a matter of the agent's own
(dead letters), a dependency that is down is waited for, and anything else stops the worker. What was not acknowledged
is read again by whoever gets the partition next.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

import faust
from faust.types import EventT, StreamT

from infra.backoff import backoff_s

logger = logging.getLogger(__name__)

_AT_ONCE_MAX = 64
_POLL_S = 0.1
_FINISH_S = 2.0
"""How long an event in work may take to be finished when a rebalance or a stop has begun."""
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 10.0

Event: TypeAlias = EventT[bytes]
"""An event of a stream of raw records."""

Rest: TypeAlias = Awaitable[None]
"""What is still to be done with an event while the next one of its partition begins."""

Handle = Callable[[Event], Awaitable[Rest | None]]


class Abandoned(Exception):
    """The event is not to be finished now: it is read again, here or elsewhere."""


class Claim:
    """The right to work on an event, which ends with the partition's assignment.

    A rebalance and a graceful stop wait for events that are being processed. Whoever waits for a dependency
    therefore asks again and again whether the claim still holds, and gives up when it does not.
    """

    def __init__(self, app: faust.App, event: Event) -> None:
        self._app = app
        self._generation = event.message.generation_id
        self._ends = time.monotonic() + app.conf.broker_session_timeout
        self._gives_up_at: float | None = None

    def begin(self) -> None:
        """Begin to work on the event, unless a rebalance or a stop has begun.

        Raises:
            Abandoned: One has.
        """
        if not self._app.flow_control.is_active():
            raise Abandoned
        self.require()

    def renew(self) -> None:
        """Count the session timeout from now on, for work that takes longer than it; to be called often enough.

        Raises:
            Abandoned: The partition is not ours, or may not be: too much time has passed since the last time.
        """
        if self.is_old:
            raise Abandoned
        self.require()
        self._ends = time.monotonic() + self._app.conf.broker_session_timeout

    def require(self) -> None:
        """Go on only while the partition is ours.

        A rebalance and a stop wait for what is in work, so an event whose outputs are on their way is finished: else
        they would be published once more. Only where the brokers do not answer soon it is given up.

        Raises:
            Abandoned: It is not, or it has been asked back for too long.
        """
        if self._generation != self._app.consumer_generation_id:
            raise Abandoned
        if self._app.flow_control.is_active():
            return
        now = time.monotonic()
        self._gives_up_at = self._gives_up_at or now + _FINISH_S
        if now > self._gives_up_at:
            raise Abandoned

    @property
    def is_old(self) -> bool:
        """Whether so much time has passed that the partition may be another worker's without our knowing.

        A process that was suspended (SIGSTOP, a laptop asleep) goes on where it was, before it hears of the rebalance.
        """
        return time.monotonic() > self._ends

    async def wait_for(self, future: "asyncio.Future[None]") -> None:
        """Wait for a future, as long as the partition is ours; then cancel it.

        Raises:
            Abandoned: The partition is ours no more.
        """
        try:
            while not future.done():
                await asyncio.wait([future], timeout=_POLL_S)
                if not future.done():
                    self.require()
        finally:
            if not future.done():
                future.cancel()
        future.result()

    async def back_off(self, attempt: int) -> None:
        """Wait before another attempt: exponential with jitter, up to ten seconds.

        Args:
            attempt: How many attempts have failed.

        Raises:
            Abandoned: The partition is ours no more.
        """
        ends = time.monotonic() + backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
        while (left := ends - time.monotonic()) > 0:
            self.require()
            await asyncio.sleep(min(_POLL_S, left))
        self.require()


async def process(app: faust.App, stream: StreamT[bytes], handle: Handle) -> None:
    """Give each event to `handle`, which acknowledges it when it is done.

    The events of a partition are handled one after the other, those of different partitions at the same time: their
    records then share requests to the brokers, of which a producer has one at a time under way. What `handle` leaves
    for later, and returns, is waited for beside the events that follow. So many events are in work at most, with it.
    """
    partitions: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
    room = asyncio.Semaphore(_AT_ONCE_MAX)
    running: set[asyncio.Task[None]] = set()

    async def handle_in_turn(event: Event) -> None:
        try:
            async with partitions[event.message.partition]:
                rest = await handle(event)
            if rest is not None:
                await rest
        except Abandoned:
            release(app, event)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event must not be acknowledged
            await stop_worker(app, event, error)
        finally:
            room.release()

    async for event in cast("faust.Stream[bytes]", stream).noack().events():
        await room.acquire()
        # A task has a copy of the context, and with it the event that Faust's tables take their partition from.
        task = asyncio.create_task(handle_in_turn(event))
        running.add(task)
        task.add_done_callback(running.discard)


def release(app: faust.App, event: Event) -> None:
    """Let go of an event that is not acknowledged: rebalance and stop wait for it no longer, and it is read again."""
    logger.debug("%s was not processed: it will be read again", event.message)
    app.consumer.unacked.discard(event.message)


async def stop_worker(app: faust.App, event: Event, error: BaseException) -> None:
    """Stop the worker, with a non-zero exit code, before the event is acknowledged. Never returns."""
    message = event.message
    logger.critical(
        "stopping: record %s[%d]@%d cannot be processed (%s: %s); it was not acknowledged and will be read again",
        message.topic,
        message.partition,
        message.offset,
        type(error).__name__,
        error,
        exc_info=error,
    )
    await app.crash(error)
    await asyncio.Event().wait()
