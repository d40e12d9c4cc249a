"""Performance statistics against the numbers that other systems' tests expect.

Every vector of the kinds `metrics` and `twr` has a check below. Most numbers are equal as they stand; where a
convention differs from ours the check derives the number under ours, and its docstring says why.
"""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from portfolio.performance import (
    DAY_US,
    EquityPoint,
    Metric,
    cagr,
    downside_risk,
    drawdowns,
    expectancy,
    growth_index,
    link_points,
    max_drawdown,
    omega_ratio,
    profit_factor,
    roi_percent,
    sharpe_ratio,
    sortino_ratio,
    total_return,
    volatility,
    win_rate,
    xirr,
)

Vector: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[Vector], None]

VECTORS: dict[str, Vector] = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
    if vector["kind"] in {"metrics", "twr"}
}


def time_us(day: str, days_later: int = 0) -> int:
    return (date.fromisoformat(day).toordinal() + days_later) * DAY_US


def decimals(values: Sequence[float | str]) -> list[Decimal]:
    return [Decimal(str(value)) for value in values]


def returns_of(values: Sequence[float]) -> list[float]:
    return [after / before - 1 for before, after in itertools.pairwise(values)]


def same(vector: Vector, name: str, result: Metric | float) -> None:
    value = result.value if isinstance(result, Metric) else result
    assert value == pytest.approx(vector["expected"][name], rel=0, abs=vector["tolerance"])


def points_of(equity: Sequence[Decimal], flows: Sequence[Decimal]) -> list[EquityPoint]:
    """Daily points; the first flow is the opening deposit."""
    return [
        EquityPoint(time_us=day * DAY_US, equity=value, inflow=max(flow, Decimal(0)), outflow=max(-flow, Decimal(0)))
        for day, (value, flow) in enumerate(zip(equity, flows, strict=True))
    ]


def check_cagr_of_balances(vector: Vector) -> None:
    given = vector["input"]
    same(vector, "cagr", cagr(given["end"] / given["start"] - 1, given["days"]))


def check_cagr_of_total(vector: Vector) -> None:
    given = vector["input"]
    same(vector, "cagr", cagr(given["total_return"], given["days"], given["periods"]))


def check_drawdown_of_trades(vector: Vector) -> None:
    """Differs in sign: a drawdown is a negative fraction here, theirs is its size."""
    start = vector["input"]["starting_balance"]
    equity = list(itertools.accumulate(vector["input"]["pnls"], initial=start))
    returns = returns_of(equity)
    same(vector, "max_drawdown_rel", -max_drawdown(returns).required())
    deepest = min(drawdowns(range(len(equity)), returns), key=lambda drawdown: drawdown.depth)
    lost = equity[deepest.peak_time_us] - equity[deepest.trough_time_us]
    same(vector, "max_drawdown_abs_at_point", lost)


def check_roi(vector: Vector) -> None:
    """Differs in unit: ours is in percent, and over invested capital, which here is the cost of the position."""
    cost, quantity, price = decimals([vector["input"][name] for name in ("avg_cost", "qty", "price")])
    points = [EquityPoint(0, cost * quantity), EquityPoint(DAY_US, price * quantity)]
    same(vector, "roi", roi_percent((price - cost) * quantity, points).required() / 100)


def check_sharpe(vector: Vector) -> None:
    returns = vector["input"]["returns"]
    same(vector, "sharpe_raw", sharpe_ratio(returns, 1))
    same(vector, "sharpe_ann_252", sharpe_ratio(returns, 252))


def check_sortino_with_risk_free_rate(vector: Vector) -> None:
    given = vector["input"]
    annual = sortino_ratio(given["returns"], given["periods"], given["rf_annual"])
    same(vector, "sortino_ann", annual)
    same(vector, "sortino_raw", annual.required() / math.sqrt(given["periods"]))


def check_sortino(vector: Vector) -> None:
    same(vector, "sortino", sortino_ratio(vector["input"]["returns"], vector["input"]["periods"]))


def check_volatility(vector: Vector) -> None:
    same(vector, "volatility", volatility(vector["input"]["daily_returns"], vector["input"]["periods"]))


def check_drawdown(vector: Vector) -> None:
    given = vector["input"]
    same(vector, "max_drawdown", max_drawdown(given.get("daily_returns") or given["returns"]))


def check_drawdown_of_cumulative_returns(vector: Vector) -> None:
    """Differs in sign: a drawdown is a negative fraction here, theirs is its size."""
    values = [1.0, *(1 + value for value in vector["input"]["cumulative_returns"])]
    same(vector, "max_drawdown", -max_drawdown(returns_of(values)).required())


def check_win_rate(vector: Vector) -> None:
    same(vector, "win_rate", win_rate(decimals(vector["input"]["trade_pnls"])))


def check_profit_factor(vector: Vector) -> None:
    same(vector, "profit_factor", profit_factor(decimals(vector["input"]["values"])))


def check_expectancy(vector: Vector) -> None:
    """Equal as it stands; a break-even trip would differ.

    Theirs leaves break-even trips out of the count. Ours is the mean of all round trips, because a trip that earned
    nothing is a trip that was made: the expectancy times the number of trips is what was earned.
    """
    pnls = decimals(vector["input"]["trade_pnls"])
    same(vector, "expectancy", expectancy(pnls))
    with_break_even = [*pnls, Decimal(0)]
    assert expectancy(with_break_even).required() * len(with_break_even) == pytest.approx(float(sum(pnls)))


def check_total_return(vector: Vector) -> None:
    same(vector, "cum_return", total_return(vector["input"]["returns"]))


def check_annual_return_with_a_gap(vector: Vector) -> None:
    """Differs in the length of time: theirs counts the period whose return is not known, ours does not.

    The cumulative return is that of 8 known periods, so 8 is the time in which it was earned. With their length of 9
    our formula gives their number.
    """
    returns, periods = vector["input"]["returns"], vector["input"]["periods"]
    total = total_return(returns)
    same(vector, "cagr", cagr(total, len(returns), periods))
    known = [value for value in returns if value is not None]
    expected_here = math.prod(1 + value for value in known) ** (periods / 8) - 1
    assert len(known) == 8
    assert cagr(total, len(known), periods).value == pytest.approx(expected_here, rel=1e-12)


def check_downside_risk(vector: Vector) -> None:
    same(vector, "downside_risk", downside_risk(vector["input"]["returns"], vector["input"]["periods"]))


def check_omega(vector: Vector) -> None:
    same(vector, "omega", omega_ratio(vector["input"]["returns"], vector["input"]["rf_period"]))


def check_irr_of_purchases(vector: Vector) -> None:
    """The valuation is at the end of its day, which is the next date."""
    flows = vector["input"]["flows"]
    for until, expected in vector["expected"]["irr_to"]:
        bought = [flow for flow in flows if flow[0] <= until]
        price_now = Decimal(bought[-1][3])
        value = price_now * sum(quantity for _, _, quantity, _ in bought)
        cash_flows = [(time_us(day), -Decimal(quantity * price)) for day, _, quantity, price in bought]
        rate = xirr([*cash_flows, (time_us(until, 1), value)])
        assert rate.value == pytest.approx(expected, abs=vector["tolerance"])


def check_irr_with_fee(vector: Vector) -> None:
    """The valuation is at the end of its day, which is the next date."""
    paid_day, paid = vector["input"]["outflow"]
    for until, expected in vector["expected"]["irr_to"]:
        value = [mark for day, mark in vector["input"]["marks"] if day <= until][-1]
        rate = xirr([(time_us(paid_day), -Decimal(paid)), (time_us(until, 1), Decimal(value))])
        assert rate.value == pytest.approx(expected, abs=vector["tolerance"])


def check_irr(vector: Vector) -> None:
    same(vector, "irr", xirr([(time_us(day), Decimal(paid)) for day, paid in vector["input"]["cash_flows"]]))


def check_drawdown_through_sale(vector: Vector) -> None:
    """The sale pays its proceeds out, so it is an outflow; the index does not see it."""
    (_, _, held, price), (sale_day, _, sold, sale_price) = vector["input"]["flows"]
    days = ["2020-01-01"]
    equity, flows = [Decimal(held * price)], [Decimal(held * price)]
    marks = dict(vector["input"]["marks"]) | {sale_day: sale_price}
    for day in sorted(marks):
        held -= sold if day == sale_day else 0
        days.append(day)
        equity.append(Decimal(held * marks[day]))
        flows.append(Decimal(-sold * sale_price if day == sale_day else 0))
    returns = link_points(points_of(equity, flows))["return"]
    same(vector, "max_drawdown", max_drawdown(returns))
    index = growth_index(returns).to_list()
    below = {day: at / peak - 1 for day, at, peak in zip(days, index, itertools.accumulate(index, max), strict=True)}
    for day, expected in vector["expected"]["series"]:
        assert below[day] == pytest.approx(expected, abs=vector["tolerance"])


def check_daily_and_cumulative(vector: Vector) -> None:
    equity = [Decimal(vector["input"]["start_deposit"][1])]
    flows = [equity[0]]
    for _, flow, pnl in vector["input"]["days"]:
        flows.append(Decimal(flow))
        equity.append(equity[-1] + Decimal(flow) + Decimal(pnl))
    returns = link_points(points_of(equity, flows))["return"]
    assert returns.to_list() == pytest.approx(vector["expected"]["daily"], abs=vector["tolerance"])
    cumulative = [value - 1 for value in growth_index(returns).to_list()[1:]]
    assert cumulative == pytest.approx(vector["expected"]["cumulative"], abs=vector["tolerance"])


def check_deposit_is_neutral(vector: Vector) -> None:
    (_, _, deposit), (_, _, pnl), (_, _, second) = vector["input"]["events"]
    equity = decimals([deposit, deposit + pnl, deposit + pnl, deposit + pnl + second])
    returns = link_points(points_of(equity, decimals([deposit, 0, 0, second])))["return"]
    same(vector, "cumulative_at_2012-01-09", total_return(returns[:-1]))
    same(vector, "cumulative_at_2012-01-10", total_return(returns))


def check_invariance(vector: Vector) -> None:
    target = decimals(vector["input"]["target_cumulative"])
    growths = [(1 + after) / (1 + before) for before, after in itertools.pairwise(target)]
    for name in ("flows_a", "flows_b"):
        flows = decimals(vector["input"][name])
        equity = [flows[0]]
        for growth, flow in zip(growths, flows[1:], strict=True):
            equity.append((equity[-1] + max(flow, Decimal(0))) * growth + min(flow, Decimal(0)))
        rounded = [value.quantize(Decimal("1e-12")) for value in equity]
        index = growth_index(link_points(points_of(rounded, flows))["return"])
        cumulative = [value - 1 for value in index.to_list()]
        assert cumulative == pytest.approx([float(value) for value in target], abs=vector["tolerance"])


CHECKS: dict[str, Check] = {
    "ft-cagr-464": check_cagr_of_balances,
    "ft-cagr-465": check_cagr_of_balances,
    "ft-cagr-466": check_cagr_of_balances,
    "ft-mdd-by-rel": check_drawdown_of_trades,
    "bb-roi": check_roi,
    "bb-sharpe": check_sharpe,
    "bb-sortino": check_sortino_with_risk_free_rate,
    "nt-vol": check_volatility,
    "nt-mdd-0": check_drawdown,
    "nt-mdd-1": check_drawdown,
    "nt-mdd-2": check_drawdown,
    "nt-winrate-2": check_win_rate,
    "nt-pf-158": check_profit_factor,
    "nt-pf-134": check_profit_factor,
    "nt-expectancy-122": check_expectancy,
    "nt-expectancy-134": check_expectancy,
    "nt-cagr-half-year": check_cagr_of_total,
    "em-cum": check_total_return,
    "em-mdd-allneg": check_drawdown,
    "em-mdd-udu": check_drawdown,
    "em-mdd-pos": check_drawdown,
    "em-annual-return": check_annual_return_with_a_gap,
    "em-downside": check_downside_risk,
    "em-sortino-neg": check_sortino,
    "em-omega": check_omega,
    "fv-irr-daily": check_irr_of_purchases,
    "fv-irr-fee": check_irr_with_fee,
    "fv-irr-truncated": check_irr,
    "fv-mdd-through-sale": check_drawdown_through_sale,
    "pp-twr-flows-8days": check_daily_and_cumulative,
    "pp-twr-deposit-last-day": check_deposit_is_neutral,
    "pp-twr-invariance": check_invariance,
    "pp-irr-1": check_irr,
    "pp-drawdown": check_drawdown_of_cumulative_returns,
}


@pytest.mark.parametrize("identifier", sorted(VECTORS))
def test_vector(identifier: str) -> None:
    CHECKS[identifier](VECTORS[identifier])


def test_every_check_has_its_vector() -> None:
    assert set(CHECKS) == set(VECTORS)
