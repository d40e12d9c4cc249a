"""A run: the accounts trade, everything goes wrong, and then the log is compared with the exchange's books."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from cli.storm.agreement import Verdict, compare
from cli.storm.exchange import Operator, operator_of
from cli.storm.report import StormReport, WeightReport
from cli.storm.stack import StormStack
from cli.storm.trader import BATCH, Trader, symbols_to_trade
from infra.exchange.fault_plans import FaultPlan
from infra.settings import Settings

_FILLS_A_SECOND = 100
_FAULTS_A_SECOND = 1.0
_SHORTEST_S = 4.0
_START_TIMEOUT_S = 120.0
_SETTLE_TIMEOUT_S = 600.0
_POLL_S = 1.0
_FUNDS = {"USDT": "1000000", "BTC": "10", "ETH": "100", "BNB": "50"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StormOptions:
    """What is to happen.

    Attributes:
        seed: Decides which faults there are, when, and what is traded.
        faults: How many faults.
        fills: At least how many fills.
        symbols: On how many symbols.
        accounts: On how many accounts.
    """

    seed: int
    faults: int
    fills: int
    symbols: int = 30
    accounts: int = 3

    @property
    def account_names(self) -> tuple[str, ...]:
        """The accounts."""
        return tuple(f"account-{number}" for number in range(1, self.accounts + 1))

    @property
    def lasts_s(self) -> float:
        """For how long faults are spread out, and how long is traded at least."""
        return max(self.faults / _FAULTS_A_SECOND, self.fills / _FILLS_A_SECOND, _SHORTEST_S)

    @property
    def plan(self) -> FaultPlan:
        """The faults, of each kind in turn."""
        return FaultPlan(seed=self.seed, count=self.faults, seconds=self.lasts_s)


async def run_storm(options: StormOptions, settings: Settings, root: Path, say: Say) -> StormReport:
    """Run the gateway through its storm, and compare the log with the exchange's books.

    Args:
        options: What is to happen.
        settings: The settings in force; servers, ports, data directory and accounts are replaced.
        root: Where its data go; empty.
        say: Where progress goes.

    Raises:
        RemediableError: Something outside the service keeps a part from starting.
        NotReadyError: A part did not start.
        TimeoutError: The gateway was not live in time.
    """
    say("starting Kafka, Redis and the exchange")
    with StormStack(settings, root, options.account_names, say) as stack:
        async with operator_of(stack.settings.exchange_port) as operator:
            return await _Run(options, stack, operator, say).report()


class _Run:
    def __init__(self, options: StormOptions, stack: StormStack, operator: Operator, say: Say) -> None:
        self._options = options
        self._stack = stack
        self._operator = operator
        self._say = say
        self._symbols = symbols_to_trade(options.symbols)
        self._began_us = 0

    async def report(self) -> StormReport:
        """Do it all."""
        await self._prepare()
        began = time.monotonic()
        await self._operator.follow(msgspec.to_builtins(self._options.plan))
        await self._trade(began)
        ended = time.monotonic()
        struck = await self._operator.faults()
        await self._operator.heal()
        for symbol in self._symbols:
            await self._operator.halt_symbol(symbol)
        self._say(f"the storm is over after {ended - began:.0f} s; {sum(struck.values())} strikes: {struck}")
        verdicts = await self._settled()
        weight = await self._weight()
        return StormReport(
            seed=self._options.seed,
            symbols=len(self._symbols),
            accounts=self._options.accounts,
            faults=Counter(str(fault.kind) for fault in self._options.plan.schedule()),
            struck=struck,
            fills=sum(each.fills for each in verdicts),
            flows=sum(each.flows for each in verdicts),
            lost=sum(each.lost for each in verdicts),
            duplicated=sum(each.duplicated for each in verdicts),
            disordered=sum(each.disordered for each in verdicts),
            differences=[*(line for each in verdicts for line in each.differences), *self._faults_of_ours(weight)],
            weight=weight,
            lasted_s=round(ended - began, 1),
            settled_s=round(time.monotonic() - ended, 1),
        )

    async def _prepare(self) -> None:
        for symbol in self._symbols:
            await self._operator.list_symbol(symbol)
        for account in self._options.account_names:
            for asset, amount in _FUNDS.items():
                await self._operator.move("deposit", account=account, asset=asset, amount=amount)
        # What is there so far may be an opening balance for the log.
        self._began_us = time.time_ns() // 1000
        await asyncio.to_thread(self._stack.start_gateway)
        self._say("waiting until every account is live")
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not all(each.agrees for each in await self._verdicts()):
                self._require_gateway()
                await asyncio.sleep(_POLL_S)

    async def _trade(self, began: float) -> None:
        traders = [
            Trader(self._operator, account, self._symbols, random.Random(f"{self._options.seed} {account}"))  # noqa: S311 - repeatable, no secret
            for account in self._options.account_names
        ]
        pause_s = BATCH * len(traders) / _FILLS_A_SECOND
        async with asyncio.TaskGroup() as tasks:
            for trader in traders:
                tasks.create_task(self._keep_trading(trader, traders, began, pause_s))

    async def _keep_trading(self, trader: Trader, traders: Sequence[Trader], began: float, pause_s: float) -> None:
        told = 0
        while sum(each.fills for each in traders) < self._options.fills or time.monotonic() < (
            began + self._options.lasts_s
        ):
            await trader.act()
            await asyncio.sleep(pause_s)
            if trader is traders[0] and time.monotonic() - began > told:
                told += 20
                self._say(f"{time.monotonic() - began:5.0f} s: {sum(each.fills for each in traders)} fills")

    async def _settled(self) -> list[Verdict]:
        """The last comparison: the first that agrees, or what is left when the time is over."""
        ends = time.monotonic() + _SETTLE_TIMEOUT_S
        while True:
            verdicts = await self._verdicts()
            if all(each.agrees for each in verdicts) or time.monotonic() > ends:
                return verdicts
            if self._stack.gateway_exit_code is not None:
                return verdicts
            lost, wrong = sum(each.lost for each in verdicts), [line for each in verdicts for line in each.differences]
            self._say("; ".join([f"not yet: {lost} fills are missing, {len(wrong)} differences", *wrong[:1]]))
            await asyncio.sleep(_POLL_S)

    async def _verdicts(self) -> list[Verdict]:
        try:
            return [
                await compare(self._stack.settings, account, await self._operator.books(account), self._began_us)
                for account in self._options.account_names
            ]
        except (KafkaError, OSError) as error:
            return [Verdict(0, 0, 0, 0, 0, [f"cannot compare: {error!r}"])]

    async def _weight(self) -> dict[str, WeightReport]:
        limits = await self._operator.limits()
        reports: dict[str, Any] = {
            f"{kind} {address}": figures for kind, used in limits.items() for address, figures in used.items()
        }
        return msgspec.convert(reports, dict[str, WeightReport])

    def _faults_of_ours(self, weight: dict[str, WeightReport]) -> list[str]:
        beyond = [
            f"the weight of {address} passed its limit: {report}"
            for address, report in weight.items()
            if not report.is_within
        ]
        code = self._stack.gateway_exit_code
        return beyond if code is None else [*beyond, f"the gateway has ended with exit code {code}"]

    def _require_gateway(self) -> None:
        if self._stack.gateway_exit_code is not None:
            raise TimeoutError(f"the gateway has ended with exit code {self._stack.gateway_exit_code}")
