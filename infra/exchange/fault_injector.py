"""Carries faults out: at once where they are of that kind, else by arming them."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from infra.exchange.engine import Exchange
from infra.exchange.fault_plans import FaultPlan
from infra.exchange.faults import CONNECTION_KINDS, Fault, FaultKind, Faults, Target
from infra.exchange.sockets import ClientSocket

_SECOND_US = 1_000_000


class Connection(Protocol):
    """A client's connection, as a fault sees it."""

    socket: ClientSocket

    def announce_shutdown(self) -> None:
        """Send `serverShutdown`."""

    def terminate_stream(self, account: str) -> None:
        """End the subscriptions of an account, or all, with `eventStreamTerminated`."""


class Connections(Protocol):
    """All connections of a kind."""

    def connections_of(self, account: str) -> Iterable[Connection]:
        """Those that carry an account's events; all that carry any for no account."""


class FaultInjector:
    """Carries faults out.

    Args:
        exchange: Whose clock jumps and whose books are wiped.
        faults: Where the others wait.
        user: Connections to the WebSocket API.
        market: Connections to the market streams.
    """

    def __init__(self, exchange: Exchange, faults: Faults, user: Connections, market: Connections) -> None:
        self.faults = faults
        self._exchange = exchange
        self._connections = {Target.USER: user, Target.MARKET: market}
        self._plans: set[asyncio.Task[None]] = set()

    def inject(self, fault: Fault) -> None:
        """Let a fault happen.

        Raises:
            FaultError: It makes no sense.
        """
        fault.check()
        if fault.kind in CONNECTION_KINDS:
            self._strike_connections(fault)
        elif fault.kind is FaultKind.CLOCK_JUMP:
            self._exchange.clock_skew_us += round(fault.duration_s * _SECOND_US)
            self.faults.note(fault, "exchange", f"{fault.duration_s:+} s")
        elif fault.kind is FaultKind.WIPE:
            self._wipe(fault)
        else:
            self.faults.arm(fault)

    def follow(self, plan: FaultPlan) -> int:
        """Start a plan; returns how many faults it has.

        Raises:
            FaultError: One makes no sense.
        """
        schedule = plan.schedule()

        async def run() -> None:
            start_s = asyncio.get_running_loop().time()
            for fault in schedule:
                await asyncio.sleep(max(0.0, start_s + fault.at_s - asyncio.get_running_loop().time()))
                self.inject(fault)

        task = asyncio.create_task(run(), name="exchange-faults")
        self._plans.add(task)
        task.add_done_callback(self._plans.discard)
        return len(schedule)

    def heal(self) -> None:
        """End every plan, disarm what waits, set the clock right; what is silent stays so."""
        for plan in self._plans:
            plan.cancel()
        self.faults.disarm()
        self._exchange.clock_skew_us = 0

    async def close(self) -> None:
        """End every plan, for a shutdown."""
        plans = list(self._plans)
        for plan in plans:
            plan.cancel()
        await asyncio.gather(*plans, return_exceptions=True)

    def _strike_connections(self, fault: Fault) -> None:
        for target in fault.targets:
            for connection in list(self._connections[target].connections_of(fault.account)):
                self.faults.note(fault, target, fault.account)
                _strike(connection, fault)

    def _wipe(self, fault: Fault) -> None:
        self._exchange.wipe()
        self.faults.note(fault, "exchange", "")
        for connection in list(self._connections[Target.USER].connections_of("")):
            connection.socket.abort()


def _strike(connection: Connection, fault: Fault) -> None:
    match fault.kind:
        case FaultKind.DISCONNECT:
            connection.socket.abort()
        case FaultKind.SILENCE:
            connection.socket.fall_silent(fault.seconds)
        case FaultKind.SERVER_SHUTDOWN:
            connection.announce_shutdown()
            asyncio.get_running_loop().call_later(fault.duration_s, connection.socket.abort)
        case _:
            connection.terminate_stream(fault.account)
