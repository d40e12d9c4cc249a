"""What the rules look at: of each account, what was last heard of it, and as much of its past as they need.

A view is moved on by what is observed, in the order of the topics, and is the same whoever observes it. So it may be
kept, and observed further after a restart.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec

from portfolio.alerts.anomaly import CHANGES_KEPT
from portfolio.alerts.durations import DAY_US, SECOND_US, duration_us
from portfolio.alerts.rules import UTC_DAY
from portfolio.events import CostAdjustment, Fill, Flow, FlowKind, Reclassification
from portfolio.journal import Booked, Entry, EntryKind
from portfolio.money import ZERO, exact_arithmetic
from portfolio.snapshots import AccountSnapshot, BalanceSnapshot

_POINTS_PER_PERIOD: Final = 120
_SAMPLE_US: Final = 60 * SECOND_US
_KEPT_MAX: Final = 1_000


class PnlPoint(msgspec.Struct, frozen=True, array_like=True):
    """An account at one moment, reporting currency."""

    time_us: int
    total_pnl: Decimal
    equity: Decimal


class Gap(msgspec.Struct, frozen=True):
    """An asset of which ledger and exchange disagree."""

    difference: Decimal
    reason: str


class Oddity(msgspec.Struct, frozen=True):
    """Something that was booked for want of an explanation."""

    time_us: int
    asset: str
    quantity: Decimal
    value: Decimal
    """Market value, reporting currency; positive."""


class Usual(msgspec.Struct, kw_only=True):
    """How total pnl changes from minute to minute, and what it was made of at the last sample."""

    sample: PnlPoint | None = None
    changes: list[Decimal] = []
    marks: dict[str, Decimal] = {}
    realized: dict[str, Decimal] = {}
    """Symbol to what its fills realized since the sample."""
    last_trades: dict[str, int] = {}
    """Symbol to the last trade since the sample."""


class AccountView(msgspec.Struct, kw_only=True):
    """What is known of an account. Times are epoch microseconds, money is in the reporting currency."""

    account: str
    reporting: str = ""
    sequence: int = -1
    now: PnlPoint | None = None
    """The newest figures; None before the first."""
    drawdown: Decimal = ZERO
    marks: dict[str, Decimal] = {}
    quantities: dict[str, Decimal] = {}
    gaps: dict[str, Gap] = {}
    periods: dict[str, list[PnlPoint]] = {}
    usual: Usual = msgspec.field(default_factory=Usual)
    unexplained: dict[str, Oddity] = {}
    """Flow id to an unclassified flow."""
    missing: dict[str, Oddity] = {}
    """Asset to its newest missing acquisition."""
    sync_errors: int | None = None
    failures_us: list[int] = []
    gateway_failure: str = ""
    """What keeps the gateway from following the account until a person clears it; empty: nothing does."""
    letters_us: dict[str, list[int]] = {}
    """Topic to the times of dead letters from it."""
    polled: dict[str, Decimal] = {}
    """Asset to the price that another source gives."""
    unmatched: dict[str, str] = {}
    """An execution or a fill to what does not fit."""

    def see_account(self, snapshot: AccountSnapshot, periods: Iterable[str]) -> None:
        """Take in an account's figures; older ones than those known change nothing.

        Args:
            snapshot: The figures.
            periods: The periods of which losses are looked at.
        """
        point = PnlPoint(snapshot.valued_time_us, snapshot.total_pnl, snapshot.equity)
        before = self.now
        if before is not None and (snapshot.sequence, point.time_us) < (self.sequence, before.time_us):
            return
        self._sample(before)
        self.reporting, self.sequence, self.now = snapshot.reporting, snapshot.sequence, point
        self.drawdown, self.marks = snapshot.drawdown, snapshot.marks
        wanted = set(periods)
        for period in self.periods.keys() - wanted:
            del self.periods[period]
        for period in wanted:
            keep_reference(self.periods.setdefault(period, []), period, before, point)
        if self.usual.sample is None:
            self._begin_sample(point)

    def see_balance(self, snapshot: BalanceSnapshot) -> None:
        """Take in what is held of an asset, and how it compares with the exchange."""
        if snapshot.quantity:
            self.quantities[snapshot.asset] = snapshot.quantity
        else:
            self.quantities.pop(snapshot.asset, None)
        if snapshot.difference:
            self.gaps[snapshot.asset] = Gap(snapshot.difference, snapshot.reason)
        else:
            self.gaps.pop(snapshot.asset, None)

    def see_booked(self, booked: Booked) -> None:
        """Take in an event that was booked, after the figures of the account with it."""
        event = booked.event
        for entry in booked.entries:
            if entry.kind is EntryKind.OPENING:
                oddity = _oddity(entry, event.time_us)
                self.missing[oddity.asset] = oddity
        match event:
            case Fill():
                realized = self.usual.realized
                with exact_arithmetic():
                    booked_realized = sum((entry.realized for entry in booked.entries), ZERO)
                    realized[event.symbol] = realized.get(event.symbol, ZERO) + booked_realized
                self.usual.last_trades[event.symbol] = event.trade_id
            case Flow() if event.kind is FlowKind.UNCLASSIFIED and booked.entries:
                self.unexplained[event.id] = _oddity(booked.entries[0], event.time_us)
                while len(self.unexplained) > _KEPT_MAX:
                    del self.unexplained[next(iter(self.unexplained))]
            case Reclassification():
                self.unexplained.pop(event.flow_id, None)
            case CostAdjustment():
                self.missing.pop(event.asset, None)
            case _:
                pass

    def see_sync_errors(self, total: int, time_us: int) -> None:
        """Take in how many connections and syncs have failed since the gateway's start."""
        known = self.sync_errors
        if known is not None:
            fresh = total - known if total >= known else total
            self.failures_us = [*self.failures_us, *[time_us] * fresh][-_KEPT_MAX:]
        self.sync_errors = total

    def see_gateway_failed(self, problem: str) -> None:
        """Take in that the gateway cannot follow the account, and why."""
        self.gateway_failure = problem or "it does not say why"

    def see_gateway_live(self) -> None:
        """Take in that the gateway follows the account; that it tries again says nothing yet."""
        self.gateway_failure = ""

    def see_dead_letter(self, topic: str, time_us: int) -> None:
        """Take in that a record from a topic could not be read or booked."""
        self.letters_us[topic] = [*self.letters_us.get(topic, ()), time_us][-_KEPT_MAX:]

    def see_prices(self, prices: Mapping[str, Decimal]) -> None:
        """Take in the prices that another source gives for what is held."""
        self.polled = {asset: prices[asset] for asset in self.marks if asset in prices}

    def see_finding(self, identity: str, text: str | None) -> None:
        """Take in that an execution or a fill does not fit together with the other side; None: it does after all."""
        if text is None:
            self.unmatched.pop(identity, None)
        elif len(self.unmatched) < _KEPT_MAX:
            self.unmatched[identity] = text

    def _sample(self, before: PnlPoint | None) -> None:
        """Close the sample before something new comes, so that the new is compared with what was usual till then."""
        sample = self.usual.sample
        if sample is not None and before is not None and before.time_us - sample.time_us >= _SAMPLE_US:
            with exact_arithmetic():
                self.usual.changes = [*self.usual.changes, before.total_pnl - sample.total_pnl][-CHANGES_KEPT:]
            self._begin_sample(before)

    def _begin_sample(self, point: PnlPoint) -> None:
        usual = self.usual
        usual.sample, usual.marks, usual.realized, usual.last_trades = point, self.marks, {}, {}


def keep_reference(points: list[PnlPoint], period: str, before: PnlPoint | None, now: PnlPoint) -> None:
    """Keep, in as few points as needed, what an account was at the beginning of a period that ends now.

    Args:
        points: The points of the period, changed in place. The first is the one to compare with.
        period: A span of time, or `UTC_DAY`.
        before: What was known before.
        now: What is known now.
    """
    if period == UTC_DAY:
        if not points or points[0].time_us // DAY_US < now.time_us // DAY_US:
            # A day begins with what the one before ended with, as long as something was known then.
            begins_us = now.time_us - now.time_us % DAY_US
            points[:] = [now if before is None else PnlPoint(begins_us, before.total_pnl, before.equity)]
        return
    span_us = duration_us(period)
    if not points or now.time_us - points[-1].time_us >= span_us // _POINTS_PER_PERIOD:
        points.append(now)
    while len(points) > 1 and points[1].time_us <= now.time_us - span_us:
        del points[0]


def _oddity(entry: Entry, time_us: int) -> Oddity:
    posting = entry.postings[0]
    return Oddity(time_us, posting.asset, posting.quantity, entry.value)
