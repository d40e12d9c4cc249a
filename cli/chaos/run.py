"""A run: trade, disturb, wait until everything is back, compare."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from aiokafka.errors import KafkaError

from cli.chaos.agreement import Verdict, compare
from cli.chaos.exchange import ExchangeClient, exchange_client
from cli.chaos.plan import FaultKind, PlannedFault, plan_faults
from cli.chaos.report import ChaosReport, FaultReport
from cli.chaos.stack import Stack, settings_of_its_own
from cli.chaos.watch import PnlWatch, watched_pnl
from cli.pipeline import api_url
from infra.settings import Settings

_LIVE_TIMEOUT_S = 90.0
_RECOVERY_TIMEOUT_S = 90.0
_AGREEMENT_TIMEOUT_S = 90.0
_POLL_S = 0.1
_COMPARE_INTERVAL_S = 1.0
_ORDERS_A_SECOND_MAX = 50.0
"""Below the request weight that the exchange allows an address in a minute, with room for the gateway."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What is to happen.

    Attributes:
        seed: Decides which faults there are, when, and what is traded.
        faults: How many faults.
        fills: At least how many fills; trading goes on until the last fault is over.
        workers: How many workers.
    """

    seed: int
    faults: int
    fills: int
    workers: int = 2


async def run_chaos(options: ChaosOptions, settings: Settings, root: Path, say: Say) -> ChaosReport:
    """Run the stack through its faults, and compare its books.

    Args:
        options: What is to happen.
        settings: The settings in force; servers, ports, data directory and account keys are replaced.
        root: Where its data go; empty.
        say: Where progress goes.

    Raises:
        RemediableError: Something outside the service keeps the stack from starting.
        NotReadyError: A part did not start.
    """
    own = settings_of_its_own(settings, root)
    say("starting the stack")
    with Stack(own, options.workers, say) as stack:
        async with exchange_client(own.exchange_port) as exchange, watched_pnl(own) as watch:
            await _until_live(stack)
            return await _Run(options, stack, exchange, watch, say).report()


async def _until_live(stack: Stack) -> None:
    async with asyncio.timeout(_LIVE_TIMEOUT_S), httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                answer = await client.get(f"{api_url(stack.settings)}/admin/status")
                if answer.is_success and answer.json()["sync_status"] == "live":
                    return
            await asyncio.sleep(_POLL_S)


class _Run:
    def __init__(
        self, options: ChaosOptions, stack: Stack, exchange: ExchangeClient, watch: PnlWatch, say: Say
    ) -> None:
        self._options = options
        self._stack = stack
        self._exchange = exchange
        self._watch = watch
        self._say = say
        self._plan = plan_faults(options.seed, options.faults, stack.workers)
        self._began = time.monotonic()
        self._watch.begin()
        self._fills = 0

    async def report(self) -> ChaosReport:
        """Do it all."""
        recovered = asyncio.Event()
        trading = asyncio.create_task(self._trade(recovered))
        try:
            faults = await asyncio.gather(*(self._disturb(fault) for fault in self._plan))
            recovered.set()
            await trading
        finally:
            trading.cancel()
        silence_s = self._watch.longest_silence_s
        self._say(f"all faults are over after {self._now_s():.0f} s and {self._fills} fills; comparing")
        verdict = await self._agreement()
        late = [f"{each.kind} of {each.target}: did not recover" for each in faults if each.recovered_s is None]
        gave_up = [] if self._stack.failure is None else [self._stack.failure]
        return ChaosReport(
            seed=self._options.seed,
            faults=list(faults),
            fills=verdict.fills,
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            differences=[*verdict.differences, *late, *gave_up],
            longest_silence_s=round(silence_s, 3),
        )

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    async def _trade(self, recovered: asyncio.Event) -> None:
        dice = random.Random(self._options.seed)  # noqa: S311 - repeatable, no secret
        lasts_s = max((fault.at_s + fault.for_s for fault in self._plan), default=0.0)
        pause_s = max(1 / _ORDERS_A_SECOND_MAX, lasts_s / max(1, self._options.fills))
        while self._fills < self._options.fills or not recovered.is_set():
            self._fills += await self._exchange.order(dice)
            await asyncio.sleep(pause_s)

    async def _disturb(self, fault: PlannedFault) -> FaultReport:
        await asyncio.sleep(max(0.0, fault.at_s - self._now_s()))
        name = fault.target
        async with _deadline(_RECOVERY_TIMEOUT_S):
            # It may still be down from the fault before.
            await _until(lambda: self._stack.process_id(name) is not None)
        report = FaultReport(kind=fault.kind.value, target=name, at_s=round(self._now_s(), 3))
        self._say(
            f"{report.at_s:7.1f} s  {fault.kind.value} {name}" + (f" for {fault.for_s:.1f} s" * bool(fault.for_s))
        )
        began = time.monotonic()
        old = self._stack.process_id(name)
        await self._inflict(fault)
        async with _deadline(_RECOVERY_TIMEOUT_S):
            await self._recovery(fault, old)
            report.recovered_s = round(time.monotonic() - began, 3)
            self._say(f"{self._now_s():7.1f} s  {fault.kind.value} {name}: recovered in {report.recovered_s:.1f} s")
        return report

    async def _inflict(self, fault: PlannedFault) -> None:
        match fault.kind:
            case FaultKind.KILL:
                self._stack.kill(fault.target)
            case FaultKind.WIPE:
                await asyncio.to_thread(self._stack.wipe, fault.target)
            case FaultKind.HANG:
                go_on = self._stack.suspend(fault.target)
                try:
                    await asyncio.sleep(fault.for_s)
                finally:
                    go_on()
            case FaultKind.DISCONNECT:
                await self._exchange.disconnect()

    async def _recovery(self, fault: PlannedFault, old: int | None) -> None:
        """Wait until the part is back, the API is ready, and something new has come out as pnl since."""
        is_new = fault.kind in {FaultKind.KILL, FaultKind.WIPE}
        gone = {None, old} if is_new else {None}
        await _until(lambda: self._stack.process_id(fault.target) not in gone)
        back = time.monotonic()
        await _until(lambda: self._watch.last_book_at > back)
        await _until_ready(self._stack.settings)

    async def _agreement(self) -> Verdict:
        """The last comparison: the first that agrees, or what is left when the time is over."""
        ends = time.monotonic() + _AGREEMENT_TIMEOUT_S
        while True:
            try:
                verdict = await compare(self._stack.settings, self._exchange)
            except (httpx.HTTPError, KafkaError, OSError, asyncpg.PostgresError) as error:
                verdict = Verdict(0, 0, 0, [f"cannot compare: {error!r}"])
            if verdict.agrees or time.monotonic() > ends:
                return verdict
            self._say(f"not yet: {verdict.lost} lost, {len(verdict.differences)} differences")
            await asyncio.sleep(_COMPARE_INTERVAL_S)


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """Give up after so many seconds, and go on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
        await asyncio.sleep(_POLL_S)


async def _until_ready(settings: Settings) -> None:
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(f"{api_url(settings)}/health/ready")).is_success:
                    return
            await asyncio.sleep(_POLL_S)
