"""Statistics of series: returns, ratios, drawdowns, round trips, benchmark."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import polars as pl
import pytest

import portfolio.performance
from portfolio.errors import InvalidAmount
from portfolio.performance import (
    DAY_US,
    EquityPoint,
    Metric,
    UndefinedError,
    alpha,
    beta,
    cagr,
    calmar_ratio,
    daily_returns,
    downside_risk,
    drawdowns,
    expectancy,
    exposure,
    growth_index,
    information_ratio,
    link_points,
    max_drawdown,
    omega_ratio,
    period_return,
    profit_factor,
    same_flows_into,
    sharpe_ratio,
    sortino_ratio,
    total_return,
    turnover,
    volatility,
    win_rate,
)

HOUR_US = 3_600_000_000
RETURNS = [0.01, -0.03, 0.1, -0.02, 0.001, 0.0, -0.005]


def point(time_us: int, equity: str, inflow: str = "0", outflow: str = "0") -> EquityPoint:
    return EquityPoint(time_us, Decimal(equity), Decimal(inflow), Decimal(outflow))


def money(*values: str) -> list[Decimal]:
    return [Decimal(value) for value in values]


def naive_deviation(returns: Sequence[float]) -> float:
    mean = sum(returns) / len(returns)
    return math.sqrt(sum((value - mean) ** 2 for value in returns) / (len(returns) - 1))


def naive_drawdown(returns: Sequence[float]) -> float:
    index, peak, deepest = 1.0, 1.0, 0.0
    for value in returns:
        index *= 1 + value
        peak = max(peak, index)
        deepest = min(deepest, index / peak - 1)
    return deepest


def test_exports_are_what_is_announced() -> None:
    names = portfolio.performance.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(portfolio.performance, name) for name in names)


class TestPeriodReturn:
    @pytest.mark.parametrize(
        ("start", "end", "inflow", "outflow", "expected"),
        [
            ("100", "110", "0", "0", 0.1),
            ("100", "165", "50", "0", 0.1),  # paid in at the start: it earned too
            ("100", "60", "0", "50", 0.1),  # paid out at the end: it had earned before
            ("0", "100", "100", "0", 0.0),  # the first deposit is no profit
            ("0", "110", "100", "0", 0.1),
            ("100", "0", "0", "120", 0.2),  # everything taken out
            ("100", "0", "0", "0", -1.0),  # everything lost
            ("0", "0", "0", "0", None),
            ("0", "5", "0", "0", None),  # a gift to an empty account is on no capital
        ],
    )
    def test_counts_inflow_at_the_start_and_outflow_at_the_end(
        self, start: str, end: str, inflow: str, outflow: str, expected: float | None
    ) -> None:
        assert period_return(*money(start, end, inflow, outflow)) == expected

    @pytest.mark.parametrize(("start", "end"), [("-1", "10"), ("10", "-1")])
    def test_negative_equity_has_no_return(self, start: str, end: str) -> None:
        with pytest.raises(UndefinedError, match="negative"):
            period_return(*money(start, end, "0", "0"))

    def test_keeps_the_digits_of_a_tiny_gain_on_a_large_capital(self) -> None:
        value = period_return(*money("123456789012.00000001", "123456789012.00000002", "0", "0"))
        assert value == pytest.approx(1e-8 / 123456789012, rel=1e-12)


class TestLinkPoints:
    def test_waits_while_the_account_is_empty(self) -> None:
        linked = link_points(
            [
                point(0, "0"),
                point(1, "0"),
                point(2, "100", inflow="100"),
                point(3, "110"),
                point(4, "0", outflow="110"),
                point(5, "0"),
                point(9, "50", inflow="50"),
                point(10, "55"),
            ]
        )
        assert linked["start_time_us"].to_list() == [2, 2, 3, 9, 9]
        assert linked["return"].to_list() == pytest.approx([0, 0.1, 0, 0, 0.1])

    def test_refuses_points_out_of_order(self) -> None:
        with pytest.raises(ValueError, match="order of time"):
            link_points([point(2, "1"), point(1, "1")])

    @pytest.mark.parametrize("flow", ["inflow", "outflow"])
    def test_refuses_a_negative_flow(self, flow: str) -> None:
        with pytest.raises(ValueError, match="negative"):
            point(0, "1", **{flow: "-1"})

    def test_refuses_an_equity_that_is_no_money(self) -> None:
        with pytest.raises(InvalidAmount):
            point(0, "NaN")


class TestDailyReturns:
    def test_links_the_points_of_a_day_and_gives_midnight_to_the_day_before(self) -> None:
        linked = link_points(
            [
                point(10 * HOUR_US, "100"),
                point(12 * HOUR_US, "110"),
                point(24 * HOUR_US, "121"),
                point(30 * HOUR_US, "60.5"),
                point(48 * HOUR_US, "121"),
            ]
        )
        assert daily_returns(linked).to_list() == pytest.approx([0.21, 0.0])

    def test_leaves_the_unfinished_day_out(self) -> None:
        points = [point(0, "100"), point(DAY_US, "110"), point(DAY_US + HOUR_US, "999")]
        assert daily_returns(link_points(points)).to_list() == pytest.approx([0.1])

    def test_a_day_without_a_point_did_not_change(self) -> None:
        points = [point(0, "100"), point(3 * DAY_US + 1, "110"), point(4 * DAY_US, "110")]
        assert daily_returns(link_points(points)).to_list() == pytest.approx([0, 0, 0, 0.1])

    def test_days_without_capital_are_not_days_without_change(self) -> None:
        points = [
            point(0, "100"),
            point(DAY_US, "110"),
            point(DAY_US + HOUR_US, "0", outflow="110"),
            point(5 * DAY_US, "0"),
            point(7 * DAY_US + HOUR_US, "50", inflow="50"),
            point(8 * DAY_US, "55"),
        ]
        assert daily_returns(link_points(points)).to_list() == pytest.approx([0.1, 0.0, 0.1])

    def test_capital_that_arrives_at_midnight_belongs_to_the_day_that_begins(self) -> None:
        points = [point(0, "0"), point(3 * DAY_US, "100", inflow="100"), point(4 * DAY_US, "110")]
        assert daily_returns(link_points(points)).to_list() == pytest.approx([0.1])

    def test_nothing_from_nothing(self) -> None:
        assert daily_returns(link_points([])).to_list() == []


class TestAgainstPlainLoops:
    def test_total_return_and_index(self) -> None:
        product = 1.0
        index = [1.0]
        for value in RETURNS:
            product *= 1 + value
            index.append(product)
        assert total_return(RETURNS).value == pytest.approx(product - 1, rel=1e-12)
        assert growth_index(RETURNS).to_list() == pytest.approx(index)

    def test_volatility(self) -> None:
        assert volatility(RETURNS).value == pytest.approx(naive_deviation(RETURNS) * math.sqrt(365), rel=1e-12)

    def test_sharpe(self) -> None:
        free = 1.05 ** (1 / 365) - 1
        excess = [value - free for value in RETURNS]
        expected = sum(excess) / len(excess) / naive_deviation(excess) * math.sqrt(365)
        assert sharpe_ratio(RETURNS, risk_free_rate=0.05).value == pytest.approx(expected, rel=1e-10)

    def test_sortino_and_downside(self) -> None:
        downside = math.sqrt(sum(min(value, 0) ** 2 for value in RETURNS) / len(RETURNS))
        expected = sum(RETURNS) / len(RETURNS) / downside * math.sqrt(365)
        assert sortino_ratio(RETURNS).value == pytest.approx(expected, rel=1e-12)
        assert downside_risk(RETURNS).value == pytest.approx(downside * math.sqrt(365), rel=1e-12)

    def test_max_drawdown(self) -> None:
        assert max_drawdown(RETURNS).value == pytest.approx(naive_drawdown(RETURNS), rel=1e-12)

    def test_beta_alpha_and_information_ratio(self) -> None:
        market = [0.02, -0.01, 0.05, -0.03, 0.0, 0.01, 0.002]
        mean_r, mean_b = sum(RETURNS) / 7, sum(market) / 7
        together = sum((r - mean_r) * (b - mean_b) for r, b in zip(RETURNS, market, strict=True))
        expected_beta = together / sum((b - mean_b) ** 2 for b in market)
        active = [r - b for r, b in zip(RETURNS, market, strict=True)]
        free = 1.03 ** (1 / 365) - 1
        assert beta(RETURNS, market).value == pytest.approx(expected_beta, rel=1e-12)
        expected_alpha = ((mean_r - free) - expected_beta * (mean_b - free)) * 365
        assert alpha(RETURNS, market, risk_free_rate=0.03).value == pytest.approx(expected_alpha, rel=1e-10)
        expected_ratio = sum(active) / 7 / naive_deviation(active) * math.sqrt(365)
        assert information_ratio(RETURNS, market).value == pytest.approx(expected_ratio, rel=1e-12)


class TestUndefined:
    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            (lambda: total_return([]), "no returns"),
            (lambda: total_return([None]), "no returns"),
            (lambda: total_return([math.nan]), "not a finite"),
            (lambda: total_return([math.inf]), "not a finite"),
            (lambda: total_return([-1.01]), "more than everything"),
            (lambda: total_return([1e200, 1e200]), "out of the range"),
            (lambda: max_drawdown([]), "no returns"),
            (lambda: volatility([0.1]), "two or more"),
            (lambda: sharpe_ratio([0.1]), "two or more"),
            (lambda: sharpe_ratio([0.1, 0.1, 0.1]), "do not vary"),
            (lambda: sharpe_ratio([0.0, 0.0]), "do not vary"),
            (lambda: sharpe_ratio([1.01**2 / 1.01 - 1, 1.01**3 / 1.01**2 - 1, 0.01]), "do not vary"),
            (lambda: sortino_ratio([0.1, 0.0]), "no return is negative"),
            (lambda: sortino_ratio([]), "no returns"),
            (lambda: calmar_ratio(0.1, 0.0), "no drawdown"),
            (lambda: calmar_ratio(Metric(None, "because"), -0.1), "because"),
            (lambda: omega_ratio([0.1]), "below the threshold"),
            (lambda: cagr(0.1, 0), "no time"),
            (lambda: cagr(1e9, 1e-3), "out of the range"),
            (lambda: cagr(-1.5, 10), "more than everything"),
            (lambda: win_rate([]), "no closed round trips"),
            (lambda: expectancy([]), "no closed round trips"),
            (lambda: profit_factor([]), "no closed round trips"),
            (lambda: profit_factor(money("1", "0")), "lost money"),
            (lambda: turnover(*money("1", "1", "0")), "not positive"),
            (lambda: exposure([0], money("1"), money("1")), "no capital for any time"),
            (lambda: exposure([0, 1], money("1", "1"), money("-1", "1")), "negative"),
            (lambda: beta([0.1, 0.2], [0.1, 0.1]), "do not vary"),
            (lambda: beta([0.1, None], [None, 0.1]), "two or more"),
            (lambda: information_ratio([0.1, 0.2], [0.05, 0.15]), "more than a constant"),
        ],
    )
    def test_says_why(self, result: Callable[[], Metric], reason: str) -> None:
        measured = result()
        assert measured.value is None
        assert measured.undefined is not None
        assert reason in measured.undefined

    def test_required_hands_the_reason_on(self) -> None:
        with pytest.raises(UndefinedError, match="no returns"):
            total_return([]).required()


class TestExtremes:
    @pytest.mark.parametrize("scale", [1e-9, 1e100, 1e200])
    def test_statistics_of_huge_and_tiny_returns_are_finite_and_right(self, scale: float) -> None:
        returns = [scale, 2 * scale, 3 * scale]
        assert volatility(returns, 1).value == pytest.approx(scale, rel=1e-9)
        assert sharpe_ratio(returns, 1).value == pytest.approx(2, rel=1e-9)
        assert beta(returns, returns).value == pytest.approx(1, rel=1e-9)

    def test_total_loss_is_minus_one(self) -> None:
        returns = [0.5, -1.0]
        assert total_return(returns).value == -1
        assert max_drawdown(returns).value == -1
        assert cagr(total_return(returns), 2).value == -1

    def test_no_drawdown_has_no_sign(self) -> None:
        assert str(max_drawdown([0.1, 0.0]).value) == "0.0"

    def test_nulls_are_not_counted(self) -> None:
        with_nulls: list[float | None] = [None, *RETURNS, None]
        assert volatility(with_nulls) == volatility(RETURNS)
        assert sortino_ratio(pl.Series(with_nulls)) == sortino_ratio(RETURNS)


class TestDrawdowns:
    def test_lists_each_with_its_dates(self) -> None:
        returns = [0.1, -0.1, -0.1, 0.5, 0.0, -0.2, 0.1]
        first, second = drawdowns([0, 10, 20, 30, 40, 50, 60, 70], returns)
        assert [first.depth, second.depth] == pytest.approx([0.81 - 1, -0.2])
        assert (first.peak_time_us, first.trough_time_us, first.recovery_time_us) == (10, 30, 40)
        assert (second.peak_time_us, second.trough_time_us, second.recovery_time_us) == (50, 60, None)

    def test_a_loss_in_the_first_period_counts(self) -> None:
        assert drawdowns([0, 1], [-0.25])[0].peak_time_us == 0

    def test_none_when_the_index_never_falls(self) -> None:
        assert drawdowns([0, 1, 2], [0.1, 0.0]) == []

    def test_wants_the_start_too(self) -> None:
        with pytest.raises(ValueError, match="give the start"):
            drawdowns([1], [0.1])


class TestTrades:
    def test_break_even_is_a_trip_but_no_win(self) -> None:
        pnls = money("10", "0", "-5", "1")
        assert win_rate(pnls).value == 0.5
        assert profit_factor(pnls).value == 2.2
        assert expectancy(pnls).value == 1.5

    def test_only_losses(self) -> None:
        assert win_rate(money("-1")).value == 0
        assert profit_factor(money("-1")).value == 0

    def test_sums_are_exact(self) -> None:
        assert expectancy(money("100000000000000000000", "0.0000003", "-100000000000000000000")).value == 1e-7

    def test_exposure_weighs_by_time_and_skips_the_time_without_capital(self) -> None:
        times_us = [0, 10, 40, 50]
        assert exposure(times_us, money("50", "100", "0", "9"), money("100", "100", "0", "9")).value == 0.875

    def test_exposure_refuses_times_out_of_order(self) -> None:
        with pytest.raises(ValueError, match="order"):
            exposure([1, 0], money("1", "1"), money("1", "1"))

    def test_turnover_is_of_the_lesser_side(self) -> None:
        assert turnover(*money("300", "100", "50")).value == 2


class TestSameFlows:
    def test_buys_and_sells_units_at_the_price_of_each_point(self) -> None:
        points = [point(0, "100"), point(1, "190", inflow="100"), point(2, "150", outflow="50")]
        equities = [invested.equity for invested in same_flows_into(points, money("10", "20", "40"))]
        # 10 units; 5 more at 20; 1.25 fewer at 40.
        assert equities == money("100", "300", "550")

    def test_is_undefined_when_more_was_paid_out_than_it_was_worth(self) -> None:
        points = [point(0, "100"), point(1, "100", outflow="100")]
        with pytest.raises(UndefinedError, match="more was paid out"):
            same_flows_into(points, money("10", "5"))

    def test_refuses_prices_that_are_none(self) -> None:
        with pytest.raises(ValueError, match="price is positive"):
            same_flows_into([point(0, "100")], money("0"))
        with pytest.raises(ValueError, match="one for each"):
            same_flows_into([point(0, "100")], [])

    def test_refuses_a_benchmark_of_another_length(self) -> None:
        with pytest.raises(ValueError, match="one for each period"):
            beta([0.1, 0.2], [0.1])
