"""What each kind of rule reads of an account: how far it is to its threshold, and why, in words."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from portfolio.alerts.anomaly import distance, usual_bound
from portfolio.alerts.durations import duration_us, shown_duration
from portfolio.alerts.rules import (
    HUNDRED,
    BalanceAnomaly,
    DeadLetters,
    Drawdown,
    Loss,
    MissingAcquisition,
    PnlAnomaly,
    PositionLimit,
    PriceSources,
    Reconciliation,
    Rule,
    StaleData,
    SyncFailures,
    UnmatchedExecution,
)
from portfolio.alerts.views import AccountView, Oddity
from portfolio.money import ONE, ZERO, exact_arithmetic, plain, ratio

_SMALL: Final = Decimal(1)
_SUBJECTS_SHOWN: Final = 3
_PROBLEM_MAX: Final = 500


class Reading(NamedTuple):
    """What a rule reads of an account, for one subject."""

    subject: str
    """What of the account it is about: an asset, a topic, a flow; empty: the account as a whole."""
    level: Decimal
    """1 at the threshold, above it more, below it less."""
    text: str


def readings(rule: Rule, view: AccountView, now_us: int) -> list[Reading]:
    """What a rule reads of an account now; a subject that is not among them is well.

    Args:
        rule: The rule.
        view: What is known of the account.
        now_us: The time, epoch microseconds.
    """
    return list(_CONDITIONS[type(rule)](rule, view, now_us))


def _loss(rule: Loss, view: AccountView, _now_us: int) -> Iterator[Reading]:
    points, now = view.periods.get(rule.period), view.now
    if not points or now is None:
        return
    then = points[0]
    with exact_arithmetic():
        fallen = then.total_pnl - now.total_pnl
    share = _percentage(fallen, then.equity)
    levels = [ratio(fallen, rule.amount)] if rule.amount is not None else []
    if rule.percent is not None and share is not None:
        levels.append(ratio(share, rule.percent))
    if levels:
        shown_share = "" if share is None else f" ({_two_places(share)}% of equity)"
        since = "since midnight UTC" if rule.period == "day" else f"within {rule.period}"
        text = (
            f"total pnl fell by {_shown(fallen)} {view.reporting}{shown_share} {since}, "
            f"from {_shown(then.total_pnl)} to {_shown(now.total_pnl)}"
        )
        yield Reading(rule.period, max(levels), text)


def _drawdown(rule: Drawdown, view: AccountView, _now_us: int) -> Iterator[Reading]:
    with exact_arithmetic():
        percent = -view.drawdown * HUNDRED
    text = f"the return index is {_two_places(percent)}% below its peak"
    yield Reading("", ratio(percent, rule.percent), text)


def _position_limit(rule: PositionLimit, view: AccountView, _now_us: int) -> Iterator[Reading]:
    equity = ZERO if view.now is None else view.now.equity
    for asset, quantity in view.quantities.items():
        mark = view.marks.get(asset)
        is_meant = asset in rule.assets if rule.assets else asset != view.reporting
        if mark is None or not is_meant:
            continue
        with exact_arithmetic():
            value = quantity * mark
        levels = [ratio(value, rule.value)] if rule.value is not None else []
        share = _percentage(value, equity)
        if rule.percent is not None and share is not None:
            levels.append(ratio(share, rule.percent))
        if levels:
            shown_share = "" if share is None else f", {_two_places(share)}% of equity"
            text = f"{_shown(quantity)} {asset} are worth {_shown(value)} {view.reporting}{shown_share}"
            yield Reading(asset, max(levels), text)


def _sync_failures(rule: SyncFailures, view: AccountView, now_us: int) -> Iterator[Reading]:
    count = _within(view.failures_us, rule.period, now_us)
    if view.gateway_failure:
        # What a person must clear is not tried often enough to be counted.
        text = f"the gateway cannot follow the account: {view.gateway_failure[:_PROBLEM_MAX]}"
        yield Reading("", max(ONE, _of(count, rule.failures)), text)
        return
    text = f"{count} connections or syncs of the gateway failed within {rule.period}; its log says why"
    yield Reading("", _of(count, rule.failures), text)


def _balance_anomaly(rule: BalanceAnomaly, view: AccountView, now_us: int) -> Iterator[Reading]:
    for flow_id, odd in view.unexplained.items():
        if now_us - odd.time_us < duration_us(rule.forget):
            text = (
                f"{_signed(odd.quantity)} {odd.asset} that nothing explains, worth {_worth(odd, view)} (flow {flow_id})"
            )
            yield Reading(flow_id, _level(odd.value, rule.value), text)


def _missing_acquisition(rule: MissingAcquisition, view: AccountView, now_us: int) -> Iterator[Reading]:
    for asset, odd in view.missing.items():
        if now_us - odd.time_us < duration_us(rule.forget):
            text = (
                f"{_shown(odd.quantity)} {asset} went out that nothing brought in; costed at the market, "
                f"{_worth(odd, view)}. `portfolio adjust` gives it its true cost"
            )
            yield Reading(asset, _level(odd.value, rule.value), text)


def _stale_data(rule: StaleData, view: AccountView, now_us: int) -> Iterator[Reading]:
    if view.now is not None:
        age_us = max(0, now_us - view.now.time_us)
        text = f"nothing new was heard for {shown_duration(age_us)}; is the gateway running, and a worker?"
        yield Reading("", _of(age_us, duration_us(rule.after)), text)


def _reconciliation(rule: Reconciliation, view: AccountView, _now_us: int) -> Iterator[Reading]:
    for asset, gap in view.gaps.items():
        mark = ONE if asset == view.reporting else view.marks.get(asset)
        with exact_arithmetic():
            value = None if mark is None else abs(gap.difference * mark)
        worth = "" if value is None else f", worth {_shown(value)} {view.reporting}"
        text = f"the exchange has {_signed(gap.difference)} {asset} against the ledger{worth} ({gap.reason})"
        # What has no price is told whatever it is worth.
        yield Reading(asset, ONE if value is None else _level(value, rule.value), text)


def _dead_letters(rule: DeadLetters, view: AccountView, now_us: int) -> Iterator[Reading]:
    for topic, times_us in view.letters_us.items():
        count = _within(times_us, rule.period, now_us)
        text = f"{count} records of {topic} could not be read or booked within {rule.period}; `portfolio dead-letters`"
        yield Reading(topic, _of(count, rule.count), text)


def _pnl_anomaly(rule: PnlAnomaly, view: AccountView, _now_us: int) -> Iterator[Reading]:
    now, sample = view.now, view.usual.sample
    if now is None or sample is None:
        return
    with exact_arithmetic():
        change = now.total_pnl - sample.total_pnl
        least = abs(sample.equity) * rule.percent * _ONE_PERCENT
    bound = usual_bound(view.usual.changes, rule.deviations, least)
    if bound:
        far = distance(change, view.usual.changes)
        text = (
            f"total pnl jumped by {_signed(change)} {view.reporting}, where up to {_shown(bound)} is usual: "
            f"{_cause(view)}"
        )
        yield Reading("", ratio(far, bound), text)


def _unmatched_execution(rule: UnmatchedExecution, view: AccountView, _now_us: int) -> Iterator[Reading]:
    found = view.unmatched
    shown = "; ".join(f"{name}: {what}" for name, what in list(found.items())[:_SUBJECTS_SHOWN])
    text = f"{len(found)} executions and fills do not fit together. {shown}"
    yield Reading("", _of(len(found), rule.count), text)


def _price_sources(rule: PriceSources, view: AccountView, _now_us: int) -> Iterator[Reading]:
    for asset, polled in view.polled.items():
        mark = view.marks.get(asset)
        if mark is not None and polled > ZERO and asset in view.quantities:
            with exact_arithmetic():
                off = ratio(abs(mark - polled) * HUNDRED, polled)
            text = (
                f"{asset} is at {plain(mark)} by the stream and at {plain(polled)} when asked, {_two_places(off)}% off"
            )
            yield Reading(asset, ratio(off, rule.percent), text)


def _cause(view: AccountView) -> str:
    """The largest parts of a jump: which mark moved how far, or which symbol's fills realized what."""
    parts: dict[str, Decimal] = {}
    usual = view.usual
    for asset, quantity in view.quantities.items():
        then, mark = usual.marks.get(asset), view.marks.get(asset)
        if then is not None and mark is not None and then != mark:
            with exact_arithmetic():
                parts[f"the mark of {asset} went from {plain(then)} to {plain(mark)}"] = quantity * (mark - then)
    for symbol, realized in usual.realized.items():
        parts[f"fills of {symbol} up to trade {usual.last_trades[symbol]} realized it"] = realized
    largest = sorted(parts.items(), key=lambda part: abs(part[1]), reverse=True)[:_SUBJECTS_SHOWN]
    return "; ".join(f"{what} ({_signed(part)})" for what, part in largest if part) or "no mark and no fill explains it"


def _percentage(part: Decimal, whole: Decimal) -> Decimal | None:
    """None where there is nothing to have a part of."""
    if whole <= ZERO:
        return None
    with exact_arithmetic():
        return ratio(part * HUNDRED, whole)


def _within(times_us: list[int], period: str, now_us: int) -> int:
    begins_us = now_us - duration_us(period)
    return sum(1 for time_us in times_us if time_us > begins_us)


def _of(count: int, threshold: int) -> Decimal:
    return ratio(Decimal(count), Decimal(threshold))


def _level(value: Decimal, threshold: Decimal) -> Decimal:
    """A threshold of zero is reached by whatever there is."""
    return ratio(value, threshold) if threshold else ONE


def _worth(odd: Oddity, view: AccountView) -> str:
    return f"{_shown(odd.value)} {view.reporting}"


def _signed(number: Decimal) -> str:
    return f"+{_shown(number)}" if number > ZERO else _shown(number)


def _shown(number: Decimal) -> str:
    """A number for a person: cents where there is at least one, else up to eight places."""
    return _two_places(number) if abs(number) >= _SMALL else plain(Decimal(f"{number:.8f}"))


def _two_places(number: Decimal) -> str:
    return plain(Decimal(f"{number:.2f}"))


_ONE_PERCENT: Final = Decimal("0.01")
_CONDITIONS: Final[Mapping[type[Rule], Callable[[Any, AccountView, int], Iterator[Reading]]]] = {
    Loss: _loss,
    Drawdown: _drawdown,
    PositionLimit: _position_limit,
    SyncFailures: _sync_failures,
    BalanceAnomaly: _balance_anomaly,
    StaleData: _stale_data,
    Reconciliation: _reconciliation,
    MissingAcquisition: _missing_acquisition,
    DeadLetters: _dead_letters,
    PnlAnomaly: _pnl_anomaly,
    UnmatchedExecution: _unmatched_execution,
    PriceSources: _price_sources,
}
