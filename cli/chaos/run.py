"""A run: trade, disturb, wait until everything is back, compare."""

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from aiokafka.errors import KafkaError

from cli.chaos.agreement import Verdict, compare
from cli.chaos.corrector import Corrector
from cli.chaos.disk import Disk
from cli.chaos.exchange import ExchangeClient, exchange_client
from cli.chaos.faults import Faults
from cli.chaos.plan import PlannedFault, plan_faults
from cli.chaos.report import ChaosReport, FaultReport, SkippedFault
from cli.chaos.stack import Stack, settings_of_its_own
from cli.chaos.watch import PnlWatch, watched_pnl
from cli.pipeline import api_url
from infra.cancellation import end
from infra.errors import RemediableError
from infra.postgres.errors import DatabaseError
from infra.postgres.rebuilding import side_schema
from infra.settings import Settings
from streams.rebuilding import rebuild_account

_LIVE_TIMEOUT_S = 90.0
_RECOVERY_TIMEOUT_S = 240.0
_AGREEMENT_TIMEOUT_S = 480.0
_POLL_S = 0.1
_COMPARE_INTERVAL_S = 1.0
_ORDERS_A_SECOND_MAX = 50.0
"""Below the request weight that the exchange allows an address in a minute, with room for the gateway."""
_ORDERS_PER_FLOW = 80
_AT_ONCE_MAX = 8
"""Faults that are not recovered from yet; with more, a small machine would only ever start what was killed."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What is to happen.

    Attributes:
        seed: Decides which faults there are, when, and what is traded.
        faults: How many faults.
        fills: At least how many fills; trading goes on until the last fault is over.
        workers: How many workers.
        accounts: How many accounts.
    """

    seed: int
    faults: int
    fills: int
    workers: int = 2
    accounts: int = 3

    @property
    def account_names(self) -> tuple[str, ...]:
        """The accounts."""
        return tuple(f"account-{number}" for number in range(1, self.accounts + 1))


async def run_chaos(options: ChaosOptions, settings: Settings, root: Path, disk: Disk, say: Say) -> ChaosReport:
    """Run the stack through its faults, and compare its books.

    Args:
        options: What is to happen.
        settings: The settings in force; servers, ports, data directory and accounts are replaced.
        root: Where the data of the exchange go; empty.
        disk: Where all other data go.
        say: Where progress goes.

    Raises:
        RemediableError: Something outside the service keeps the stack from starting.
        NotReadyError: A part did not start.
        TimeoutError: The accounts were not live in time.
    """
    own = settings_of_its_own(settings, root, disk.path, options.account_names)
    say("starting the stack")
    with Stack(own, options.workers, say) as stack:
        async with exchange_client(own.exchange_port) as exchange, watched_pnl(own, options.account_names) as watch:
            await _until_live(stack)
            faults = Faults(stack, exchange, disk, watch)
            return await _Run(options, stack, exchange, watch, faults, say).report()


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
        self,
        options: ChaosOptions,
        stack: Stack,
        exchange: ExchangeClient,
        watch: PnlWatch,
        faults: Faults,
        say: Say,
    ) -> None:
        self._options = options
        self._stack = stack
        self._exchange = exchange
        self._watch = watch
        self._faults = faults
        self._say = say
        self._plan = plan_faults(options.seed, options.faults, stack.workers, stack.spare)
        # One thing at a time happens to a part; what happens to others overlaps.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._began = time.monotonic()
        self._watch.begin()
        self._fills = 0
        self._correctors = [
            Corrector(stack.settings, account, random.Random(f"{options.seed} {account} corrections"))  # noqa: S311 - repeatable, no secret
            for account in options.account_names
        ]

    async def report(self) -> ChaosReport:
        """Do it all."""
        recovered = asyncio.Event()
        possible = [fault for fault in self._plan if self._faults.why_not(fault) is None]
        async with asyncio.TaskGroup() as tasks:
            for corrector in self._correctors:
                tasks.create_task(self._live(corrector, recovered))
            faults = await self._disturb_all(possible)
            self._say(f"all faults are over after {self._now_s():.0f} s and {self._fills} fills")
            recovered.set()
        silence_s, account_silence_s = self._watch.longest_silence_s, self._watch.longest_account_silence_s
        self._say(f"comparing after {self._now_s():.0f} s and {self._fills} fills")
        verdict = await self._agreement()
        if verdict.agrees:
            verdict += await self._rebuilt()
        late = [f"{each.kind} of {each.target}: did not recover" for each in faults if each.recovered_s is None]
        gave_up = [] if self._stack.failure is None else [self._stack.failure]
        return ChaosReport(
            seed=self._options.seed,
            faults=faults,
            skipped=self._skipped(),
            accounts=self._options.accounts,
            fills=verdict.fills,
            flows=verdict.flows,
            corrections=sum(corrector.done for corrector in self._correctors),
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            differences=[*verdict.differences, *late, *gave_up],
            longest_silence_s=round(silence_s, 3),
            longest_account_silence_s=round(account_silence_s, 3),
            lasted_s=round(self._now_s(), 1),
        )

    def _skipped(self) -> list[SkippedFault]:
        reasons = [(fault, self._faults.why_not(fault)) for fault in self._plan]
        return [
            SkippedFault(kind=fault.kind.value, target=fault.target, reason=reason)
            for fault, reason in reasons
            if reason is not None
        ]

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    async def _live(self, corrector: Corrector, recovered: asyncio.Event) -> None:
        """Trade an account, while somebody corrects it."""
        correcting = asyncio.create_task(corrector.run())
        try:
            await self._trade(corrector.account, recovered)
        finally:
            await end([correcting])
        await corrector.restore()

    async def _trade(self, account: str, recovered: asyncio.Event) -> None:
        """Trade one account at random, and move something in or out of it now and then."""
        dice = random.Random(f"{self._options.seed} {account}")  # noqa: S311 - repeatable, no secret
        accounts = self._options.accounts
        lasts_s = max((fault.at_s + fault.for_s for fault in self._plan), default=0.0)
        pause_s = accounts * max(1 / _ORDERS_A_SECOND_MAX, lasts_s / max(1, self._options.fills))
        next_at = time.monotonic()
        await self._exchange.move(account, dice)
        while self._fills < self._options.fills or not recovered.is_set():
            filled = await self._exchange.order(account, dice)
            self._fills += filled
            if dice.randrange(_ORDERS_PER_FLOW) == 0:
                await self._exchange.move(account, dice)
            next_at = max(next_at + pause_s, time.monotonic())
            await asyncio.sleep(next_at - time.monotonic())

    async def _disturb_all(self, faults: Sequence[PlannedFault]) -> list[FaultReport]:
        """Let faults happen with the pauses of the plan, a few at once: on a slow machine everything takes longer."""
        room = asyncio.Semaphore(_AT_ONCE_MAX)
        at_s = 0.0
        async with asyncio.TaskGroup() as tasks:
            reports = []
            for fault in faults:
                await asyncio.sleep(fault.at_s - at_s)
                at_s = fault.at_s
                await room.acquire()
                report = tasks.create_task(self._disturb(fault))
                report.add_done_callback(lambda _done: room.release())
                reports.append(report)
        return [report.result() for report in reports]

    async def _disturb(self, fault: PlannedFault) -> FaultReport:
        async with self._turns[fault.target]:
            async with _deadline(_RECOVERY_TIMEOUT_S):
                await self._faults.until_possible(fault)
            name = f"{fault.kind.value} {fault.target}"
            report = FaultReport(kind=fault.kind.value, target=fault.target, at_s=round(self._now_s(), 3))
            self._say(f"{report.at_s:7.1f} s  {name}" + (f" for {fault.for_s:.1f} s" * bool(fault.for_s)))
            before = self._stack.process_ids().get(fault.target)
            try:
                await self._faults.bring_about(fault)
            except (httpx.HTTPError, OSError) as error:
                self._say(f"{self._now_s():7.1f} s  {name}: could not be brought about: {error!r}")
                return report
        async with _deadline(_RECOVERY_TIMEOUT_S):
            await self._faults.recovery(fault, before)
            report.recovered_s = round(self._now_s() - report.at_s, 3)
            self._say(f"{self._now_s():7.1f} s  {name}: recovered in {report.recovered_s:.1f} s")
        return report

    async def _agreement(self) -> Verdict:
        """The last comparison: the first that agrees, or what is left when the time is over."""
        ends = time.monotonic() + _AGREEMENT_TIMEOUT_S
        while True:
            verdict = await self._compared(self._options.account_names)
            if verdict.agrees or time.monotonic() > ends:
                return verdict
            self._say(f"not yet: {verdict.lost} lost, {len(verdict.differences)} differences")
            await asyncio.sleep(_COMPARE_INTERVAL_S)

    async def _rebuilt(self) -> Verdict:
        """What the log leads to, from its start, against the tables that were kept through it all."""
        self._say("rebuilding")
        settings, names = self._stack.settings, self._options.account_names
        try:
            async with side_schema(settings.database_dsn) as connection:
                rebuilt = [
                    await rebuild_account(
                        settings, connection, name, accept=False, actor="chaos", on_progress=lambda *_progress: None
                    )
                    for name in names
                ]
        except (RemediableError, DatabaseError) as error:
            return Verdict(differences=[f"nothing can be rebuilt: {error}"])
        return Verdict(
            differences=[
                f"{one.account}: a rebuild is not what the tables were: {table.table}: {table.samples}"
                for one in rebuilt
                for table in one.differences
            ]
        )

    async def _compared(self, accounts: Sequence[str]) -> Verdict:
        total = Verdict()
        for account in accounts:
            try:
                total += await compare(self._stack.settings, account, self._exchange)
            except (httpx.HTTPError, KafkaError, OSError, asyncpg.PostgresError) as error:
                total += Verdict(differences=[f"{account} cannot be compared: {error!r}"])
        return total


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """Give up after so many seconds, and go on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
