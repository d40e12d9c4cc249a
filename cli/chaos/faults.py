"""How each kind of fault is brought about and taken back, and when its part does its work again."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import httpx

from cli.chaos.disk import Disk
from cli.chaos.exchange import ExchangeClient
from cli.chaos.plan import FaultKind, PlannedFault
from cli.chaos.stack import Stack
from cli.chaos.watch import PnlWatch
from cli.pipeline import api_url

_POLL_S = 0.1
_REQUEST_TIMEOUT_S = 5.0

_NEW_PROCESS = frozenset({FaultKind.KILL, FaultKind.WIPE, FaultKind.LEAVE})
"""Faults after which the part is another process."""
_BY_THE_EXCHANGE = frozenset({FaultKind.DISCONNECT, FaultKind.SILENCE, FaultKind.CLOCK_JUMP})
"""Faults that the exchange itself brings about."""


class Faults:
    """Brings faults about on one stack."""

    def __init__(self, stack: Stack, exchange: ExchangeClient, disk: Disk, watch: PnlWatch) -> None:
        """Nothing happens yet.

        Args:
            stack: What is disturbed.
            exchange: Its exchange.
            disk: Its disk.
            watch: What comes out of it.
        """
        self._stack = stack
        self._exchange = exchange
        self._disk = disk
        self._watch = watch

    def why_not(self, fault: PlannedFault) -> str | None:
        """Why this machine does not allow a fault; None where it does."""
        return self._disk.cannot_be_full if fault.kind is FaultKind.FULL_DISK else None

    async def until_possible(self, fault: PlannedFault) -> None:
        """Wait until there is something to disturb: a part may still be down from the fault before."""
        if fault.target in self._stack.process_ids():
            await _until(lambda: self._stack.process_id(fault.target) is not None)
        if fault.kind in _BY_THE_EXCHANGE:
            while not await self._exchange.answers():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(_POLL_S)

    async def bring_about(self, fault: PlannedFault) -> None:
        """Let the fault happen, for as long as it lasts, and take it back."""
        name, stack = fault.target, self._stack
        match fault.kind:
            case FaultKind.KILL:
                stack.kill(name)
            case FaultKind.WIPE:
                await asyncio.to_thread(stack.wipe, name)
            case FaultKind.HANG:
                go_on = stack.suspend(name)
                await _after(fault.for_s, go_on)
            case FaultKind.LEAVE:
                await asyncio.to_thread(stack.leave, name)
                await _after(fault.for_s, lambda: stack.join(name))
            case FaultKind.JOIN:
                await asyncio.to_thread(stack.join, name)
                await asyncio.sleep(fault.for_s)
                await asyncio.to_thread(stack.leave, name)
            case FaultKind.FULL_DISK:
                make_room = await asyncio.to_thread(self._disk.fill)
                await _after(fault.for_s, make_room)
            case FaultKind.DISCONNECT:
                await self._exchange.disconnect()
            case FaultKind.SILENCE:
                await self._exchange.silence()
            case FaultKind.CLOCK_JUMP:
                await self._exchange.jump(fault.jump_s)
                await asyncio.sleep(fault.for_s)
                await self._exchange.heal()

    async def recovery(self, fault: PlannedFault, before: int | None) -> None:
        """Wait until the part does its work again.

        For Postgres: every account is there as it was told of on the pnl topic when the part was back. For Redis: the
        API reaches it. For all others: each account has had a pnl record of a new event since; after a lost connection,
        of one that happened since, for others may have been on their way.

        Args:
            fault: What happened.
            before: The process that the part was then.
        """
        await self._back(fault, before)
        moment, sequences = time.monotonic(), dict(self._watch.sequences)
        # The exchange runs on this machine, and its clock is wrong only while it jumps.
        moment_us = time.time_ns() // 1_000
        if fault.target == "postgres":
            await self._until_answered(lambda client: self._has_stored(client, sequences))
        elif fault.target == "redis":
            await self._until_answered(_reaches_redis)
        elif fault.kind in {FaultKind.DISCONNECT, FaultKind.SILENCE}:
            await _until(lambda: self._watch.tells_of_events_after(moment_us))
        else:
            await _until(lambda: self._watch.has_news_since(moment))

    async def _back(self, fault: PlannedFault, before: int | None) -> None:
        if fault.kind is FaultKind.FULL_DISK:
            await _until(lambda: None not in self._stack.process_ids().values())
        elif fault.kind is not FaultKind.JOIN:
            gone = {None, before} if fault.kind in _NEW_PROCESS else {None}
            await _until(lambda: self._stack.process_id(fault.target) not in gone)

    async def _until_answered(self, is_so: Callable[[httpx.AsyncClient], Awaitable[bool]]) -> None:
        address = api_url(self._stack.settings)
        async with httpx.AsyncClient(base_url=address, timeout=_REQUEST_TIMEOUT_S, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if await is_so(client):
                        return
                await asyncio.sleep(_POLL_S)

    async def _has_stored(self, client: httpx.AsyncClient, sequences: dict[str, int]) -> bool:
        for account, sequence in sequences.items():
            answer = await client.get("/portfolio/overview", params={"account": account})
            if not answer.is_success or answer.json()["sequence"] < sequence:
                return False
        return True


async def _reaches_redis(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/admin/status")
    return answer.is_success and answer.json()["redis_connection"] == "connected"


async def _after(seconds: float, take_back: Callable[[], None]) -> None:
    """Take a fault back after a time, also when the run is given up before."""
    try:
        await asyncio.sleep(seconds)
    finally:
        take_back()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
        await asyncio.sleep(_POLL_S)
