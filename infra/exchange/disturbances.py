"""What an armed fault does to the messages of one connection."""

import asyncio
from collections.abc import Callable

from infra.exchange.faults import Fault, FaultKind, Faults, Target

# A message that waits to be overtaken goes out alone when nothing else comes.
_LONGEST_OVERTAKING_S = 1.0
# Not allowed anywhere in JSON, neither between values nor in a text.
_CONTROL_CHARACTER = b"\x01"


class DisturbedStream:
    """Sends messages, as the faults that are armed let it.

    Args:
        send: Sends an encoded message as it is.
        faults: What goes wrong.
        target: Which messages these are.
    """

    def __init__(self, send: Callable[[bytes], None], faults: Faults, target: Target) -> None:
        self._send = send
        self._faults = faults
        self._target = target
        self._late: list[bytes] | None = None
        self._overtaken: bytes | None = None

    def send(self, message: bytes, account: str = "") -> None:
        """Send a message of an account, or one that is for everybody."""
        fault = self._faults.on_message(self._target, account)
        messages = [message] if fault is None else self._disturb(fault, message)
        if messages and self._overtaken is not None:
            messages.append(self._overtaken)
            self._overtaken = None
        for each in messages:
            self._emit(each)

    def _disturb(self, fault: Fault, message: bytes) -> list[bytes]:
        match fault.kind:
            case FaultKind.DROP:
                return []
            case FaultKind.DUPLICATE:
                return [message, message]
            case FaultKind.TRUNCATE:
                return [message[: self._faults.choices.randrange(1, len(message))]]
            case FaultKind.MALFORM:
                at = self._faults.choices.randrange(len(message))
                return [message[:at] + _CONTROL_CHARACTER + message[at + 1 :]]
            case FaultKind.REORDER if self._overtaken is None:
                self._overtaken = message
                asyncio.get_running_loop().call_later(_LONGEST_OVERTAKING_S, self._release_overtaken, message)
                return []
            case FaultKind.DELAY if self._late is None:
                self._late = []
                asyncio.get_running_loop().call_later(fault.duration_s, self._release_late)
        return [message]

    def _emit(self, message: bytes) -> None:
        if self._late is None:
            self._send(message)
        else:
            # TCP keeps the order: what comes after a delayed message waits behind it.
            self._late.append(message)

    def _release_late(self) -> None:
        late, self._late = self._late or [], None
        for message in late:
            self._send(message)

    def _release_overtaken(self, message: bytes) -> None:
        if self._overtaken is message:
            self._overtaken = None
            self._emit(message)
