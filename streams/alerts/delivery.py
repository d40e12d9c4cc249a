"""Alerts on their way to people: each target has its own queue, which waits while the target does not answer.

What a target was told is kept as a place in `portfolio.alerts`. After a restart it is told what comes after that
place; what was under way at a crash may reach it twice.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from infra.alert_file import TargetTable, open_target
from infra.backoff import backoff_s
from infra.errors import RemediableError
from infra.notifications import Message, NotDelivered
from infra.telemetry.metrics import ALERTS_MESSAGES
from portfolio.alerts.durations import DAY_US
from portfolio.alerts.engine import Alert
from portfolio.alerts.rules import Severity

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S: Final = 2.0
_BACKOFF_MAX_S: Final = 300.0
_SHOWN_MAX: Final = 20
_TEXT_MAX: Final = 1_000
_ORDER: Final = tuple(Severity)


class Told(NamedTuple):
    """An alert, and its place in `portfolio.alerts`."""

    place: str
    """`topic:partition`."""
    offset: int
    alert: Alert


KeepOffsets = Callable[[str, dict[str, int]], Awaitable[None]]
"""Keeps, for the next start, up to where the target of a name was told."""


class Delivery:
    """Tells one target, until cancelled.

    Attributes:
        target: Where it is, and what it is told.
    """

    def __init__(
        self,
        name: str,
        target: TargetTable,
        next_offsets: dict[str, int],
        keep: KeepOffsets,
    ) -> None:
        """Prepare.

        Args:
            name: The target's name.
            target: Where it is, and what it is told.
            next_offsets: Place to the first offset that it was not told.
            keep: Keeps these offsets.
        """
        self.target = target
        self._name = name
        self._next_offsets = next_offsets
        self._keep = keep
        self._queue: asyncio.Queue[Told] = asyncio.Queue()

    def put(self, told: Told) -> None:
        """Tell of a change, unless it was told before or is not for this target."""
        if told.offset >= self._next_offsets.get(told.place, 0) and is_for(self._name, self.target, told.alert):
            self._queue.put_nowait(told)

    async def run(self) -> None:
        """Tell, in order; what gathers while the target does not answer goes in one message."""
        # At once, so that a target that is new now is not new again at the next start.
        await self._keep(self._name, self._next_offsets)
        while True:
            waiting = [await self._queue.get()]
            attempt = 0
            while True:
                while not self._queue.empty():
                    waiting.append(self._queue.get_nowait())
                fresh = [told.alert for told in waiting if told.alert.changed_time_us > _now_us() - DAY_US]
                if not fresh or await self._attempt(fresh, attempt):
                    break
                attempt += 1
            for told in waiting:
                self._next_offsets[told.place] = max(self._next_offsets.get(told.place, 0), told.offset + 1)
            await self._keep(self._name, self._next_offsets)

    async def _attempt(self, alerts: Sequence[Alert], attempt: int) -> bool:
        try:
            await asyncio.to_thread(send, self.target, message_of(alerts))
        except (NotDelivered, RemediableError) as error:
            ALERTS_MESSAGES.labels(self._name, "failed").inc()
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            log.warning(
                "target %s was not told of %d alerts (%s); again in %.0f s", self._name, len(alerts), error, wait_s
            )
            await asyncio.sleep(wait_s)
            return False
        ALERTS_MESSAGES.labels(self._name, "told").inc()
        log.info("target %s was told of %s", self._name, ", ".join(alert.id for alert in alerts))
        return True


def send(target: TargetTable, message: Message) -> None:
    """Send a message to a target, whose address is looked up now. It blocks.

    Raises:
        RemediableError: The target has no address.
        NotDelivered: It did not take the message.
    """
    open_target(target).send(message)


def is_for(name: str, target: TargetTable, alert: Alert) -> bool:
    """Whether a change of an alert is to be told to a target."""
    return (
        alert.tell
        and (not alert.targets or name in alert.targets)
        and (not target.accounts or alert.account in target.accounts)
        and _ORDER.index(alert.severity) >= _ORDER.index(target.least)
    )


def message_of(alerts: Sequence[Alert]) -> Message:
    """One message of one or more changes, the newest last."""
    shown = alerts[-_SHOWN_MAX:]
    left_out = len(alerts) - len(shown)
    paragraphs = [*([f"{left_out} older ones are left out."] if left_out else []), *map(_paragraph, shown)]
    title = _title(alerts[0]) if len(alerts) == 1 else f"{len(alerts)} alerts, the last: {_title(alerts[-1])}"
    return Message(title, "\n\n".join(paragraphs), is_failure=any(alert.is_open for alert in alerts))


def _title(alert: Alert) -> str:
    what = f"{alert.rule} {alert.subject}".strip()
    return f"[{alert.severity if alert.is_open else 'cleared'}] {alert.account or 'portfolio'}: {what}"


def _paragraph(alert: Alert) -> str:
    raised = _shown_time(alert.raised_time_us)
    if alert.is_open:
        last = f"Since {raised}. `portfolio alerts ack {alert.id}`"
    else:
        last = f"Raised {raised}, cleared {_shown_time(alert.changed_time_us)}. {alert.id}"
    return f"{_title(alert)}\n{alert.text[:_TEXT_MAX]}\n{last}"


def _shown_time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _now_us() -> int:
    return time.time_ns() // 1_000
