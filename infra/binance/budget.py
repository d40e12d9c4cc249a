"""Request weight, held back ahead of time: a request waits here rather than be refused by the exchange.

Binance adds up the weights of an address in whole minutes of its own clock. Here they are added up over a window that
slides: a request counts from the moment it is sent until one window after its answer. Whichever way the exchange
aligns its minutes, each of them lies inside such a window, so no minute can hold more than the limit. That needs no
clock that agrees with the exchange's, and knows no boundary at which two halves could add up.

What others use behind the same address is known only from what the exchange tells with an answer; until the end of
its minute that is a floor for what is used.
"""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum

log = logging.getLogger(__name__)

MINUTE_S = 60.0
BACKFILL_SHARE = 0.8
"""Of what may be used, history takes no more than this, so that what is live never waits for it."""

_MARGIN_S = 0.5
"""Clocks that run at different speeds differ by far less than this in a window."""

_TOLD_AFTER_S = 1.0


class Priority(IntEnum):
    """Who goes first when weight is short."""

    LIVE = 0
    """What the books of this moment need: balances, clock, subscriptions."""
    BACKFILL = 1
    """History. It stops at `BACKFILL_SHARE` of the limit, and lets whoever is live pass."""


class Reservation:
    """Weight that one request holds.

    Attributes:
        weight: How much.
        sent_s: When the request was let through; monotonic.
        ended_s: When its outcome was known; infinite before. Monotonic.
        is_told: Whether the exchange has told a sum that has it in it.
    """

    __slots__ = ("ended_s", "is_told", "sent_s", "weight")

    def __init__(self, weight: int, sent_s: float) -> None:
        self.weight = weight
        self.sent_s = sent_s
        self.ended_s = math.inf
        self.is_told = False


class WeightBudget:
    """The weight that may be used in a window, by everybody who shares it; one object for one address.

    Attributes:
        limit: What the exchange allows everybody behind this address.
        used: What the exchange counted when it last told; zero before.
    """

    def __init__(
        self,
        limit: int,
        *,
        name: str = "request weight",
        share: float = 1.0,
        window_s: float = MINUTE_S,
        now: Callable[[], float] = time.monotonic,
        minute_left_s: Callable[[], float] = lambda: MINUTE_S,
    ) -> None:
        """Start with nothing used.

        Args:
            limit: What the exchange allows in a window.
            name: What is counted, for the log.
            share: The part of it that may be used here, above 0 and up to 1; the rest is left to other processes.
            window_s: Length of the exchange's window.
            now: Monotonic seconds.
            minute_left_s: Seconds until the exchange's window ends, as far as its clock is known.
        """
        self.limit = limit
        self.used = 0
        self._name = name
        self._share = share
        self._window_s = window_s
        self._now = now
        self._minute_left_s = minute_left_s
        self._held: deque[Reservation] = deque()
        self._told_weight = 0
        self._told_with: Reservation | None = None
        self._told_until_s = 0.0
        self._blocked_until_s = 0.0
        self._queues: dict[Priority, deque[object]] = {priority: deque() for priority in Priority}
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def hold(self, weight: int, priority: Priority = Priority.LIVE) -> AsyncIterator[Reservation]:
        """Wait until a request of this weight can be sent, and count it; the body sends it and takes the answer.

        A request whose outcome is unknown has been counted all the same.
        """
        reservation = await self.reserve(weight, priority)
        try:
            yield reservation
        finally:
            self.release(reservation)

    async def reserve(self, weight: int, priority: Priority = Priority.LIVE) -> Reservation:
        """As `hold`, where request and answer are not in one place; `release` it when the answer is there, or lost."""
        ticket = object()
        queue = self._queues[priority]
        queue.append(ticket)
        told_after_s = self._now() + _TOLD_AFTER_S
        try:
            while (wait_s := self._wait_s(ticket, weight, priority)) > 0:
                if self._now() + wait_s >= told_after_s:
                    told_after_s = math.inf
                    log.info("%s: %d of %d are used; waiting", self._name, self.spent(), self.limit)
                await self._pause(wait_s)
            reservation = Reservation(weight, self._now())
            self._held.append(reservation)
            return reservation
        finally:
            queue.remove(ticket)
            self._wake()

    def release(self, reservation: Reservation) -> None:
        """The outcome is known, or never will be: from now on the weight is on its way out of the window."""
        reservation.ended_s = min(reservation.ended_s, self._now())
        self._wake()

    def learn(self, reservation: Reservation, used: int) -> None:
        """The exchange has told what it counted, in the answer to a request."""
        self.used = used
        now_s = self._now()
        left_s = self._minute_left_s()
        if now_s - reservation.sent_s >= self._window_s - left_s - _MARGIN_S:
            # Around the turn of its window nobody can say which one it counted in.
            return
        reservation.is_told = True
        if now_s < self._told_until_s and used < self._told_weight:
            # Counted before the one with the larger sum, though answered after it.
            return
        self._told_weight, self._told_with = used, reservation
        self._told_until_s = now_s + left_s + _MARGIN_S

    def block(self, seconds: float) -> None:
        """The exchange refuses requests of this address for so long: nobody sends before."""
        self._blocked_until_s = max(self._blocked_until_s, self._now() + seconds)
        self._wake()

    @property
    def blocked_s(self) -> float:
        """How long the exchange still refuses every request; zero when it does not."""
        return max(0.0, self._blocked_until_s - self._now())

    def set_limit(self, limit: int) -> None:
        """The exchange has told its limit."""
        if limit != self.limit:
            log.info("the exchange allows %s of %d in %.0f s", self._name, limit, self._window_s)
            self.limit = limit
            self._wake()

    def own(self) -> int:
        """What was sent here and still counts."""
        return sum(each.weight for each in self._counting())

    def spent(self) -> int:
        """What everybody behind this address has sent, as far as it is known and still counts."""
        held = self._counting()
        own = sum(each.weight for each in held)
        told = self._told_with
        if told is None or self._now() >= self._told_until_s:
            return own
        # What had not ended when that request was sent, and was not told since, may not be in the sum.
        since = sum(each.weight for each in held if each.ended_s > told.sent_s and not each.is_told)
        return max(own, self._told_weight + since)

    def _counting(self) -> list[Reservation]:
        counts_from_s = self._now() - self._window_s - _MARGIN_S
        while self._held and self._held[0].ended_s <= counts_from_s:
            self._held.popleft()
        return [each for each in self._held if each.ended_s > counts_from_s]

    def _wait_s(self, ticket: object, weight: int, priority: Priority) -> float:
        """How long to wait before looking again; zero: send now."""
        blocked_s = self.blocked_s
        if blocked_s > 0:
            return blocked_s
        is_next = self._queues[priority][0] is ticket
        if not is_next or any(self._queues[ahead] for ahead in Priority if ahead < priority):
            return self._window_s
        return 0.0 if self._fits(weight, priority) else self._next_release_s()

    def _fits(self, weight: int, priority: Priority) -> bool:
        """Whether our share holds it, and the limit that it is a share of; one request alone is always let through."""
        part = BACKFILL_SHARE if priority is Priority.BACKFILL else 1.0
        spent = self.spent()
        is_ours = self.own() + weight <= self.limit * self._share * part
        return spent == 0 or (is_ours and spent + weight <= self.limit * part)

    def _next_release_s(self) -> float:
        """Seconds until something counts no more."""
        now_s = self._now()
        ends = [each.ended_s + self._window_s + _MARGIN_S for each in self._held if each.ended_s < math.inf]
        if self._told_until_s > now_s:
            ends.append(self._told_until_s)
        return max(0.01, min(ends, default=now_s + self._window_s) - now_s)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until something has changed."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _wake(self) -> None:
        self._changed.set()
