"""What holds for every account, whatever it earned and whatever was paid in and out."""

import itertools
import math
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from portfolio.performance import (
    DAY_US,
    Candle,
    EquityPoint,
    Metric,
    Performance,
    candles,
    daily_returns,
    drawdowns,
    expectancy,
    growth_index,
    link_points,
    max_drawdown,
    measure_performance,
    money_weighted_return,
    profit_factor,
    roi_percent,
    same_flows_into,
    sharpe_ratio,
    sortino_ratio,
    total_return,
    volatility,
    win_rate,
    xirr,
)

HOUR_US = 3_600_000_000
PLACES = Decimal("1e-12")

growths = st.lists(st.decimals("0.5", "2", places=4), min_size=1, max_size=30)
amounts = st.decimals("0", "1000000", places=2)
funded = st.decimals("1", "1000000", places=2)
anything = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12)
Path: TypeAlias = list[EquityPoint]


def path_of(opening: Decimal, steps: list[tuple[Decimal, Decimal, Decimal]], step_us: int = DAY_US) -> Path:
    """Points of an account: at each step the inflow, then the growth, then a share of what is there paid out."""
    points = [EquityPoint(0, opening)]
    for at, (growth, inflow, share_out) in enumerate(steps, start=1):
        grown = ((points[-1].equity + inflow) * growth).quantize(PLACES)
        outflow = (grown * share_out).quantize(PLACES)
        points.append(EquityPoint(at * step_us, grown - outflow, inflow, outflow))
    return points


steps = st.lists(
    st.tuples(st.decimals("0.5", "2", places=4), amounts, st.decimals("0", "0.9", places=2)), min_size=1, max_size=30
)
paths = st.builds(path_of, funded, steps)


def measure(points: Path) -> Performance:
    with_flows = points[1:]
    net = sum((point.inflow - point.outflow for point in with_flows), Decimal(0))
    pnl = points[-1].equity - points[0].equity - net
    return measure_performance(
        points,
        round_trip_pnls=[],
        total_pnl=pnl,
        realized_pnl=pnl,
        unrealized_pnl=Decimal(0),
        start_time_us=0,
        end_time_us=points[-1].time_us,
    )


def close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


@given(funded, steps)
def test_flows_do_not_change_the_time_weighted_return(
    opening: Decimal, flows: list[tuple[Decimal, Decimal, Decimal]]
) -> None:
    with_flows = path_of(opening, flows)
    without = path_of(opening, [(growth, Decimal(0), Decimal(0)) for growth, _, _ in flows])
    assert growth_index(link_points(with_flows)["return"]).to_list() == pytest.approx(
        growth_index(link_points(without)["return"]).to_list(), rel=1e-6
    )


@given(paths, st.decimals("0.001", "1000", places=3))
def test_the_size_of_the_account_changes_nothing(points: Path, factor: Decimal) -> None:
    assume(factor > 0)
    scaled = [
        EquityPoint(point.time_us, point.equity * factor, point.inflow * factor, point.outflow * factor)
        for point in points
    ]
    before, after = measure(points), measure(scaled)
    for name in ("total_return", "max_drawdown", "volatility", "sharpe_ratio", "money_weighted_return", "roi_percent"):
        assert close(getattr(after, name), getattr(before, name)), name


@given(paths, amounts)
def test_a_deposit_is_no_profit_and_no_drawdown(points: Path, deposit: Decimal) -> None:
    last = points[-1]
    paid_in = EquityPoint(last.time_us, last.equity + deposit, inflow=deposit)
    before = link_points(points)["return"]
    after = link_points([*points, paid_in])["return"]
    assert total_return(after) == total_return(before)
    assert max_drawdown(after) == max_drawdown(before)
    assert measure([*points, paid_in]).total_pnl == measure(points).total_pnl


@given(paths, st.decimals("0", "1", places=4))
def test_a_withdrawal_is_no_drawdown(points: Path, share: Decimal) -> None:
    last = points[-1]
    paid = (last.equity * share).quantize(PLACES)
    withdrawn = EquityPoint(last.time_us, last.equity - paid, outflow=paid)
    assert max_drawdown(link_points([*points, withdrawn])["return"]) == max_drawdown(link_points(points)["return"])


@given(paths)
def test_a_point_in_between_changes_nothing_but_the_count(points: Path) -> None:
    """A valuation in the middle of a stretch, at its starting value before any flow, is no event."""
    split = [points[0]]
    for before, after in itertools.pairwise(points):
        split += [EquityPoint(before.time_us + HOUR_US, before.equity), after]
    assert total_return(link_points(split)["return"]).value == pytest.approx(
        total_return(link_points(points)["return"]).value, rel=1e-12
    )
    assert daily_returns(link_points(split)).to_list() == pytest.approx(daily_returns(link_points(points)).to_list())


@given(st.lists(st.floats(-1, 10), min_size=1, max_size=50))
def test_a_drawdown_is_between_nothing_and_everything(returns: list[float]) -> None:
    deepest = max_drawdown(returns).required()
    assert -1 <= deepest <= 0
    listed = drawdowns(range(len(returns) + 1), returns)
    assert min((drawdown.depth for drawdown in listed), default=0.0) == pytest.approx(deepest, abs=1e-15)
    for drawdown in listed:
        assert drawdown.peak_time_us < drawdown.trough_time_us
        assert drawdown.recovery_time_us is None or drawdown.trough_time_us < drawdown.recovery_time_us
    for before, after in itertools.pairwise(listed):
        assert before.recovery_time_us is not None
        assert before.recovery_time_us <= after.peak_time_us


@given(st.floats(-0.9, 5), st.lists(amounts, min_size=1, max_size=20), st.integers(1, 400))
def test_xirr_recovers_the_rate_that_the_flows_earned(rate: float, paid: list[Decimal], days_apart: int) -> None:
    assume(sum(paid) > 1)
    last = len(paid) * days_apart
    value = sum(float(amount) * (1 + rate) ** ((last - at * days_apart) / 365) for at, amount in enumerate(paid))
    assume(1e-2 < value < 1e20)
    flows = [(at * days_apart * DAY_US, -amount) for at, amount in enumerate(paid)]
    found = xirr([*flows, (last * DAY_US, Decimal(repr(value)))])
    assert found.value == pytest.approx(rate, rel=1e-6, abs=1e-6)


@given(st.floats(-0.5, 2), st.lists(st.tuples(amounts, st.decimals("0", "0.5", places=2)), min_size=2, max_size=15))
def test_an_account_at_a_constant_rate_earns_that_rate_whatever_the_flows(
    rate: float, flows: list[tuple[Decimal, Decimal]]
) -> None:
    """Inflows at the end of a stretch, so that flows and valuations are at the same moment."""
    growth = Decimal(repr((1 + rate) ** (30 / 365)))
    points = [EquityPoint(0, Decimal(1000))]
    for at, (inflow, share_out) in enumerate(flows, start=1):
        grown = (points[-1].equity * growth).quantize(PLACES)
        outflow = (grown * share_out).quantize(PLACES)
        points.append(EquityPoint(at * 30 * DAY_US, grown + inflow - outflow, inflow, outflow))
    assert money_weighted_return(points).value == pytest.approx(rate, rel=1e-6, abs=1e-6)


@given(paths)
def test_without_flows_every_return_is_the_same(points: Path) -> None:
    quiet = [EquityPoint(point.time_us, point.equity + 1) for point in points]
    simple = float(quiet[-1].equity / quiet[0].equity) - 1
    performance = measure(quiet)
    assert performance.total_return == pytest.approx(simple, rel=1e-9, abs=1e-12)
    assert performance.roi_percent == pytest.approx(100 * simple, rel=1e-9, abs=1e-9)
    assert close(performance.money_weighted_return, performance.cagr)


@given(paths, st.data())
def test_the_same_flows_into_itself_is_itself(points: Path, data: st.DataObject) -> None:
    prices = data.draw(st.lists(st.decimals("1", "100", places=2), min_size=len(points), max_size=len(points)))
    only_in = [EquityPoint(point.time_us, point.equity, point.inflow) for point in points]
    invested = same_flows_into(only_in, prices)
    again = same_flows_into(invested, prices)
    assert [float(point.equity) for point in again] == pytest.approx([float(point.equity) for point in invested])


@given(anything, st.sampled_from([total_return, max_drawdown, volatility, sharpe_ratio, sortino_ratio]))
def test_a_statistic_is_a_finite_number_or_a_reason(
    returns: list[float], statistic: Callable[[list[float]], Metric]
) -> None:
    check_number_or_reason(statistic(returns))


@given(
    st.lists(st.decimals("-1e20", "1e20", places=8), max_size=10),
    st.sampled_from([win_rate, profit_factor, expectancy]),
)
def test_a_statistic_of_trades_is_a_finite_number_or_a_reason(
    pnls: list[Decimal], statistic: Callable[[list[Decimal]], Metric]
) -> None:
    check_number_or_reason(statistic(pnls))


@given(st.lists(st.tuples(st.integers(0, 10**16), st.decimals("-1e20", "1e20", places=8)), max_size=12))
def test_xirr_of_anything_is_a_rate_that_solves_it_or_a_reason(cash_flows: list[tuple[int, Decimal]]) -> None:
    check_number_or_reason(xirr(cash_flows))


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.decimals("-1000", "100000", places=2), amounts, amounts), max_size=20),
    st.decimals("-1e6", "1e6", places=2),
)
def test_a_report_is_numbers_or_reasons(rows: list[tuple[int, Decimal, Decimal, Decimal]], pnl: Decimal) -> None:
    points = [
        EquityPoint(seconds * 1_000_000, equity, inflow, outflow) for seconds, equity, inflow, outflow in sorted(rows)
    ]
    performance = measure_performance(
        points,
        round_trip_pnls=[pnl],
        total_pnl=pnl,
        realized_pnl=pnl,
        unrealized_pnl=Decimal(0),
        start_time_us=0,
        end_time_us=10**13,
    )
    for name in performance.__struct_fields__:
        value = getattr(performance, name)
        assert not isinstance(value, float) or math.isfinite(value)
        if name not in {"start_time_us", "end_time_us", "deepest_drawdown", "undefined"}:
            assert (value is None) == (name in performance.undefined)
    check_number_or_reason(roi_percent(pnl, points))


def check_number_or_reason(measured: Metric) -> None:
    if measured.value is None:
        assert measured.undefined
    else:
        assert math.isfinite(measured.value)
        assert measured.undefined is None


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.decimals("-1000", "1000", places=2)), min_size=1, max_size=40),
    st.sampled_from(["1m", "5m", "15m", "1h", "4h", "1d"]),
)
def test_candles_join_without_gaps_and_hold_every_point(rows: list[tuple[int, Decimal]], timeframe: str) -> None:
    points = [(seconds * 1_000_000, value) for seconds, value in sorted(rows, key=lambda row: row[0])]
    built: list[Candle] = candles(points, timeframe)
    assert sum(candle.points for candle in built) == len(points)
    assert built[-1].close == points[-1][1]
    assert max(candle.high for candle in built) == max(value for _, value in points)
    assert min(candle.low for candle in built) == min(value for _, value in points)
    assert len({after.open_time_us - before.open_time_us for before, after in itertools.pairwise(built)}) <= 1
    for candle in built:
        assert candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
