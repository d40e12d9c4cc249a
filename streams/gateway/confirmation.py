"""Live events wait until the balances that the exchange reports confirm that none before them is missing.

A fill that was published cannot be followed by one with a lower id: the ledger takes that for a duplicate. A stream may
lose, damage, repeat or reorder messages, and ids of trades have gaps anyway. But each change of the account is followed
by the balances that it led to. So what is held, plus the events up to the time of a report, must be what it says.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from infra.binance.decoder import ReportedBalances, ReportedFill, ReportedFlow
from portfolio.events import ExecutionKind, Fill, Flow
from portfolio.money import ZERO
from streams.gateway.published import Quantities

Change = ReportedFill | ReportedFlow
Held = ReportedFill | ReportedFlow | ReportedBalances

PATIENCE_S = 2.0
"""How long an event may wait for one that it needs, before what is missing is read over REST."""


class _Waiting(NamedTuple):
    """An event that waits, with its place in the order of arrivals."""

    number: int
    arrived_s: float
    item: Held


class Confirmation:
    """Events that wait, and the balances that let them go."""

    def __init__(self, synced_us: int, *, now: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing waiting.

        Args:
            synced_us: Time of the account update up to which everything is published.
            now: Monotonic seconds.
        """
        self._waiting: list[_Waiting] = []
        self._arrivals = itertools.count()
        self._synced_us = synced_us
        self._confirmed_us: dict[str, int] = {}
        self._now = now

    def add(self, item: Held) -> None:
        """Let an event wait; one that waits already is not taken twice."""
        if isinstance(item, ReportedBalances):
            is_wanted = bool(self._open_assets(item))
        else:
            is_wanted = all(_identity(item) != _identity(change) for _, change in self._changes())
        if is_wanted:
            self._waiting.append(_Waiting(next(self._arrivals), self._now(), item))

    def release(self, held: Mapping[str, Decimal]) -> list[Held]:
        """Take out what is confirmed, in the order of the exchange.

        Args:
            held: What the log says is held of each asset.
        """
        released: list[Held] = []
        quantities = Quantities(held)
        for number, report in self._reports():
            assets = self._open_assets(report)
            if not assets:
                continue
            # A change that is missing shows in every asset that it touched, so it holds up only what touches those too.
            covered = self._covered(number, report, assets, quantities)
            if covered is None:
                continue
            quantities.apply(*(_event_of(change) for change in covered))
            released += [*covered, report]
            self._confirmed_us |= dict.fromkeys(assets, report.report.time_us)
            gone = {id(item) for item in (*covered, report)}
            self._waiting = [each for each in self._waiting if id(each.item) not in gone]
        self._waiting = [
            each
            for each in self._waiting
            if not isinstance(each.item, ReportedBalances) or self._open_assets(each.item)
        ]
        return released

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    @property
    def is_overdue(self) -> bool:
        """Whether something has waited for so long that what it waits for must have been lost."""
        return bool(self._waiting) and self._now() - self._waiting[0].arrived_s > PATIENCE_S

    def _changes(self) -> list[tuple[int, Change]]:
        return [(each.number, each.item) for each in self._waiting if not isinstance(each.item, ReportedBalances)]

    def _reports(self) -> list[tuple[int, ReportedBalances]]:
        """The reports that wait, by the time of the account's update."""
        reports = [(each.number, each.item) for each in self._waiting if isinstance(each.item, ReportedBalances)]
        return sorted(reports, key=lambda pair: (pair[1].report.time_us, pair[1].event_time_us))

    def _open_assets(self, report: ReportedBalances) -> set[str]:
        """The assets of a report of which nothing newer was confirmed: the newest time wins, not the last arrival."""
        time_us = report.report.time_us
        known_us = {asset: self._confirmed_us.get(asset, self._synced_us) for asset in report.report.balances}
        newer = {asset for asset, at_us in known_us.items() if time_us > at_us}
        # In milliseconds two updates may have one time; without a change that leads to it, it is the same one again.
        equal = {asset for asset, at_us in known_us.items() if time_us == at_us}
        return newer | {
            asset for asset in equal if any(_leads_to(change, report, {asset}) for _, change in self._changes())
        }

    def _covered(
        self, number: int, report: ReportedBalances, assets: set[str], quantities: Quantities
    ) -> list[Change] | None:
        """The changes that lead to a report; None while none do.

        Usually it is what came before the report; where messages were reordered it is what happened before it.
        """
        earlier = [(place, change) for place, change in self._changes() if _leads_to(change, report, assets)]
        came_before = [change for place, change in earlier if place < number]
        happened_before = sorted((change for _, change in earlier), key=_order)
        for chosen in (came_before, sorted(came_before, key=_order), happened_before):
            if _is_by_id(chosen) and _is_confirmed(chosen, report, assets, quantities):
                return chosen
        return None


def _is_confirmed(
    changes: Iterable[Change], report: ReportedBalances, assets: Iterable[str], quantities: Quantities
) -> bool:
    after = Quantities(quantities.held)
    after.apply(*(_event_of(change) for change in changes))
    balances = report.report.balances
    return not after.missing and all(after.held.get(asset, ZERO) == balances[asset].total for asset in assets)


def _is_by_id(changes: Iterable[Change]) -> bool:
    """Whether the fills of each symbol come by their id, as the log needs them."""
    last: dict[tuple[str, ExecutionKind], int] = {}
    for change in changes:
        if isinstance(change, ReportedFill):
            name = (change.fill.symbol, change.fill.execution)
            if change.fill.trade_id < last.get(name, change.fill.trade_id):
                return False
            last[name] = change.fill.trade_id
    return True


def _leads_to(change: Change, report: ReportedBalances, assets: set[str]) -> bool:
    """Whether a change happened before a report of balances, and to one of these assets."""
    if isinstance(change, ReportedFill):
        fill = change.fill
        return fill.time_us <= report.report.time_us and not assets.isdisjoint({fill.base, fill.quote, fill.fee_asset})
    # A flow does not say when the account was updated, but has the event time of the balances that follow it.
    return change.event_time_us <= report.event_time_us and change.flow.asset in assets


def _event_of(change: Change) -> Fill | Flow:
    return change.fill if isinstance(change, ReportedFill) else change.flow


def _order(change: Change) -> tuple[int, str, int, int]:
    if isinstance(change, ReportedFill):
        return change.fill.time_us, change.fill.symbol, change.fill.trade_id, change.fill.order_id
    return change.event_time_us, "", 0, 0


def _identity(change: Change) -> tuple[object, ...]:
    if isinstance(change, ReportedFill):
        return change.fill.symbol, change.fill.execution, change.fill.trade_id, change.fill.order_id
    return (change.flow.id,)
