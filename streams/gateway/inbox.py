"""Live events that wait: held back during a sync, and while a record is on its way to Kafka."""

import asyncio
from collections import deque
from collections.abc import Iterable

from infra.binance.decoder import ReportedBalances, ReportedFill, ReportedFlow, UserEvent
from infra.binance.errors import StreamLost
from infra.binance.times import milliseconds
from portfolio.events import BalanceReport, Fill, Flow

EVENTS_MAX = 100_000
"""Events that may wait; beyond it the connection is given up, and what was missed is read over REST later."""

_POLL_S = 0.02
_CLOCK_ERROR_MAX_US = 1_000_000

Item = UserEvent | BalanceReport
"""An event of the stream, or a complete balance report that was read over REST meanwhile."""


class Inbox:
    """A queue of events, in the order of their arrival.

    Attributes:
        last_update_us: Time of the last account update that the stream told of.
    """

    def __init__(self, opened_us: int) -> None:
        """Start empty.

        Args:
            opened_us: When the subscription began, by the exchange's clock: what was earlier is never told.
        """
        self.last_update_us = 0
        self._opened_us = opened_us
        self._items: deque[Item] = deque()
        self._arrived = asyncio.Event()
        self._end: Exception | None = None

    def put(self, item: Item) -> None:
        """Add at the end.

        Raises:
            StreamLost: Too many wait already.
        """
        if len(self._items) >= EVENTS_MAX:
            raise StreamLost(f"more than {EVENTS_MAX} events wait for Kafka")
        if isinstance(item, ReportedBalances):
            self.last_update_us = max(self.last_update_us, item.report.time_us)
        self._items.append(item)
        self._arrived.set()

    def end(self, error: Exception) -> None:
        """Nothing more will come; whoever takes from an empty inbox gets the error."""
        self._end = error
        self._arrived.set()

    def require_open(self) -> None:
        """Raise what was given to `end`, if it was."""
        if self._end is not None:
            raise self._end

    async def take(self, count: int, timeout_s: float) -> list[Item]:
        """The next items, as many as wait, up to `count`; empty when none came in time.

        Raises:
            Exception: The one given to `end`, once the inbox is empty.
        """
        if not self._items and self._end is None:
            self._arrived.clear()
            try:
                async with asyncio.timeout(max(0.0, timeout_s)):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        if not self._items and self._end is not None:
            raise self._end
        return [self._items.popleft() for _ in range(min(count, len(self._items)))]

    async def caught_up(self, update_time_us: int, timeout_s: float) -> bool:
        """Wait until the stream has told of an account update at or after a time; False when it did not in time."""
        if update_time_us < self._opened_us - _CLOCK_ERROR_MAX_US:
            return True
        deadline = asyncio.get_running_loop().time() + timeout_s
        while milliseconds(self.last_update_us) < milliseconds(update_time_us):
            if self._end is not None or asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def up_to(self, update_time_us: int) -> tuple[list[Fill], list[Flow]]:
        """The fills and flows waiting that a balance of this time already contains; they stay in the inbox."""
        fills, flows = [], []
        for item in self._up_to(update_time_us):
            if isinstance(item, ReportedFill):
                fills.append(item.fill)
            elif isinstance(item, ReportedFlow):
                flows.append(item.flow)
        return fills, flows

    def drop_up_to(self, update_time_us: int) -> None:
        """Remove what a balance of this time contains."""
        covered = {id(item) for item in self._up_to(update_time_us)}
        self._items = deque(item for item in self._items if id(item) not in covered)

    def _up_to(self, update_time_us: int) -> Iterable[Item]:
        limit_ms = milliseconds(update_time_us)
        # A flow does not say when the account was updated; the balances that follow it, with the same event time, do.
        updates = {
            item.event_time_us: item.report.time_us for item in self._items if isinstance(item, ReportedBalances)
        }
        for item in self._items:
            match item:
                case ReportedFill():
                    time_us = item.fill.time_us
                case ReportedFlow():
                    time_us = updates.get(item.event_time_us, item.event_time_us)
                case ReportedBalances():
                    time_us = item.report.time_us
                case _:
                    continue
            if milliseconds(time_us) <= limit_ms:
                yield item
