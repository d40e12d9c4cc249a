"""What waits for one reader. A slow one is told the newest state of each thing, not every state on the way."""

import asyncio
from collections import deque
from typing import Final

from api.live.messages import HEARTBEAT, Message
from infra.telemetry.metrics import API_LIVE_LEFT_OUT

EVENTS_MAX: Final = 1_000
"""Events of their own (trades, alerts) that wait for a reader; beyond it the oldest are left out, and that is told."""

_HEARTBEAT: Final = Message.about_stream(HEARTBEAT)


class Subscription:
    """The messages that one reader wants, kept until it takes them.

    What waits is bounded: one message for each position, balance and account, and `EVENTS_MAX` events.
    """

    def __init__(self, topics: frozenset[str], accounts: frozenset[str] | None) -> None:
        """Want messages.

        Args:
            topics: Of these topics; what is said of the stream itself comes always.
            accounts: Of these accounts; None: of all.
        """
        self._topics = topics
        self._accounts = accounts
        self._states: dict[tuple[str, str], Message] = {}
        self._events: dict[tuple[int, int], Message] = {}
        self._notices: deque[Message] = deque(maxlen=EVENTS_MAX)
        self._left_out = 0
        self._arrived = asyncio.Event()
        self._last = (0, 0)
        self._is_quiet = True
        self.is_closed = False

    def offer(self, message: Message) -> None:
        """Put a message where the reader finds it, if it wants it."""
        if not message.id:
            self._notices.append(message)
        elif not self._wants(message) or message.place <= self._last:
            return
        elif message.key:
            self._keep_newest(message)
        else:
            self._keep_event(message)
        self._arrived.set()

    def _keep_newest(self, message: Message) -> None:
        held = self._states.get((message.topic, message.key))
        # Who resumes is offered what it missed beside what happens meanwhile.
        if held is None or held.place < message.place:
            self._states[message.topic, message.key] = message

    def _keep_event(self, message: Message) -> None:
        self._events[message.place] = message
        if len(self._events) > EVENTS_MAX:
            del self._events[next(iter(self._events))]
            self._left_out += 1
            API_LIVE_LEFT_OUT.inc()

    def beat(self) -> None:
        """Put a heartbeat where the reader finds it, if it took nothing since the last call and nothing waits."""
        if self._is_quiet and not self._arrived.is_set():
            self.offer(_HEARTBEAT)
        self._is_quiet = True

    def close(self) -> None:
        """End it; the reader gets what waits, and then the end."""
        self.is_closed = True
        self._arrived.set()

    async def take(self) -> list[Message]:
        """What waits, in order, once something does; empty when nothing more will."""
        if not self.is_closed:
            await self._arrived.wait()
        self._arrived.clear()
        self._is_quiet = False
        taken = sorted([*self._states.values(), *self._events.values()], key=lambda message: message.place)
        notices = list(self._notices)
        if self._left_out:
            notices.append(Message.about_stream("gap", left_out=self._left_out, reason="the reader is too slow"))
        self._states.clear()
        self._events.clear()
        self._notices.clear()
        self._left_out = 0
        if taken:
            self._last = taken[-1].place
        return [*notices, *taken]

    def _wants(self, message: Message) -> bool:
        return message.topic in self._topics and (self._accounts is None or message.account in self._accounts)
