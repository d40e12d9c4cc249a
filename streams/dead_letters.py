"""Dead letters: what could not be read, as it came, with the reason."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from streams import topics
from streams.processing import Abandoned, Claim, Event, Rest
from streams.publishing import Output
from streams.records import DeadLetter, dead_letters

logger = logging.getLogger(__name__)

KEPT_BYTES_MAX = 8 * 1024 * 1024
"""What is kept of key and value, each: in base64 they must fit into one record. The log itself has the whole."""


_TELL_INTERVAL_S = 5.0


class _Told:
    """What the worker's log says of dead letters: the first at once, then how many more there were in an interval."""

    def __init__(self) -> None:
        self._counts_until_s = 0.0
        self._more = 0
        self._last = ""

    def tell(self, where: str, reason: str) -> None:
        """Tell of a letter, or count it."""
        now_s = time.monotonic()
        if now_s >= self._counts_until_s:
            logger.error("record %s goes to %s: %s", where, topics.DEAD_LETTERS.name, reason)
            self._more = 0
            self._counts_until_s = now_s + _TELL_INTERVAL_S
            return
        if not self._more:
            wait_s = self._counts_until_s - now_s
            # In a context of its own: what is counted is not of the account of the first alone.
            asyncio.get_running_loop().call_later(wait_s, self._tell_count, context=Context())
        self._more += 1
        self._last = f"{where}: {reason}"

    def _tell_count(self) -> None:
        if self._more:
            logger.error("%d more records go to %s, the last %s", self._more, topics.DEAD_LETTERS.name, self._last)
            self._more = 0
            self._counts_until_s = time.monotonic() + _TELL_INTERVAL_S


_told = _Told()


def dead_letter(event: Event, reason: str) -> Output:
    """The dead letter for an event, told in the worker's log."""
    message = event.message
    where = f"{message.topic}[{message.partition}]@{message.offset}"
    _told.tell(where, reason)
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


class Run:
    """Records of a partition, one behind the other, whose dead letters are sent together.

    Attributes:
        claim: The claim to the first of them, which ends before the others'.
        events: The records.
        letters: Their dead letters.
    """

    def __init__(self, claim: Claim, before: "Run | None") -> None:
        """Begin a run.

        Args:
            claim: The claim to its first record.
            before: The run that precedes it, if that is not done yet.
        """
        self.claim = claim
        self.events: list[Event] = []
        self.letters: list[Output] = []
        self.is_open = True
        """Whether it takes more records."""
        self._before = before
        self._done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def begin(self) -> None:
        """Wait until the records before are done; from now on the run takes no more.

        Raises:
            Abandoned: One of them was given up.
        """
        before, self._before = self._before, None
        if before is not None:
            await before.settle()
        self.is_open = False

    async def bury(self, bury: "Bury") -> None:
        """Do what is to be done with the run."""
        is_done = False
        try:
            await bury(self)
            is_done = True
        finally:
            self.is_open = False
            self._done.set_result(is_done)

    async def settle(self) -> None:
        """Wait until its records are done.

        Raises:
            Abandoned: They were given up.
        """
        await asyncio.wait([self._done])  # by itself it would be cancelled with whoever waits for it
        if not self._done.result():
            raise Abandoned

    @property
    def is_pending(self) -> bool:
        """Whether its records are neither done nor given up."""
        return not self._done.done()


Bury = Callable[[Run], Awaitable[None]]
"""Waits for `Run.begin`, sends the letters of a run and notes that its records are done, or raises Abandoned.

What was given up must be taken back by then: the fence lets nothing pass beyond it.
"""


class Burials:
    """Records that go to the dead letters, in runs: while the letters of one are on their way, the next one gathers.

    A dead letter depends on nothing but its record, so a record need not wait until the brokers have the letter of the
    one before. A run costs about what a single letter costs: one request to the brokers and one entry in the
    changelog. The first is sent at once, so nothing waits for others to come.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int | None, Run]] = {}
        """Generation of the assignment, and the last run, of each partition."""

    async def settle(self, event: Event) -> None:
        """Wait until the records that precede an event are done.

        Raises:
            Abandoned: One of them was given up.
        """
        before = self._before(event)
        if before is not None:
            await before.settle()

    def follow(self, event: Event, claim: Claim, letter: Output, bury: Bury) -> Rest:
        """Put a record behind those whose letters are on their way.

        Args:
            event: The record.
            claim: The claim to it.
            letter: Its dead letter.
            bury: What is to be done with the run that it may begin.

        Returns:
            What is still to be done, to be awaited beside the records that follow. It raises Abandoned where the run
            was given up, and for one of its records whatever `bury` does.
        """
        before = self._before(event)
        if before is not None and before.is_open:
            run, rest = before, before.settle()
        else:
            run = Run(claim, before)
            rest = run.bury(bury)
            self._last[event.message.partition] = (event.message.generation_id, run)
        run.events.append(event)
        run.letters.append(letter)
        return rest

    def _before(self, event: Event) -> Run | None:
        generation, last = self._last.get(event.message.partition, (None, None))
        is_before = last is not None and last.is_pending and generation == event.message.generation_id
        return last if is_before else None
