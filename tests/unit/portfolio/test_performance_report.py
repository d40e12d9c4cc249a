"""Money-weighted returns, periods, candles, and the whole report of an account."""

import itertools
import math
import re
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from portfolio.performance import (
    CANDLES_MAX,
    DAY_US,
    PERIOD_PATTERN,
    PERIODS,
    TIMEFRAMES_US,
    EquityPoint,
    Performance,
    candles,
    investor_cash_flows,
    measure_performance,
    money_weighted_return,
    period_start_time_us,
    roi_percent,
    xirr,
)

HOUR_US = 3_600_000_000
YEAR_US = 365 * DAY_US
MINUTE_US = 60_000_000


def point(time_us: int, equity: str, inflow: str = "0", outflow: str = "0") -> EquityPoint:
    return EquityPoint(time_us, Decimal(equity), Decimal(inflow), Decimal(outflow))


def flows(*amounts: str, every_us: int = YEAR_US) -> list[tuple[int, Decimal]]:
    return [(at * every_us, Decimal(amount)) for at, amount in enumerate(amounts)]


def measure(points: list[EquityPoint], pnl: str = "0", pnls: tuple[str, ...] = (), start_us: int = 0) -> Performance:
    return measure_performance(
        points,
        round_trip_pnls=[Decimal(value) for value in pnls],
        total_pnl=Decimal(pnl),
        realized_pnl=Decimal(pnl),
        unrealized_pnl=Decimal(0),
        start_time_us=start_us,
        end_time_us=10**18,
    )


class TestXirr:
    @pytest.mark.parametrize(
        ("cash_flows", "rate"),
        [
            (flows("-100", "110"), 0.1),
            (flows("-100", "50"), -0.5),
            (flows("-100", "0", "121"), 0.1),
            (flows("-100", "-100", "231"), 0.1),
            (flows("100", "-110"), 0.1),  # borrowed
            (flows("-100", "100"), 0.0),
            (flows("-100", "60", "60", "-30", "40"), None),  # several changes of sign, one rate
            (flows("-1000000000000", "1000000000"), -0.999),
            (list(reversed(flows("-100", "110"))), 0.1),
            ([*flows("-60", "110"), (0, Decimal(-40))], 0.1),
        ],
    )
    def test_solves_the_cash_flows(self, cash_flows: list[tuple[int, Decimal]], rate: float | None) -> None:
        found = xirr(cash_flows).required()
        if rate is not None:
            assert found == pytest.approx(rate, rel=1e-9, abs=1e-12)
        value = math.fsum(float(amount) * (1 + found) ** (-time_us / YEAR_US) for time_us, amount in cash_flows)
        assert value == pytest.approx(0, abs=1e-9 * max(abs(float(amount)) for _, amount in cash_flows))

    @pytest.mark.parametrize(
        ("cash_flows", "reason"),
        [
            ([], "no cash flows"),
            (flows("-100", "0"), "nothing came back"),
            (flows("100", "5"), "nothing was paid in"),
            ([(0, Decimal(-5)), (0, Decimal(5))], "no cash flows"),
            (flows("-100", "230", "-132"), "2 different rates"),  # 10 % and 20 %
            (flows("-1", "5", "-6"), "2 different rates"),  # 100 % and 200 %
            (flows("-6", "5", "-1"), "2 different rates"),  # -50 % and -67 %
            (flows("100", "-100", "100"), "no rate"),
            ([(0, Decimal(-1)), (1, Decimal(2))], "out of the range"),  # doubled in a microsecond
        ],
    )
    def test_says_why_there_is_no_rate(self, cash_flows: list[tuple[int, Decimal]], reason: str) -> None:
        measured = xirr(cash_flows)
        assert measured.value is None
        assert reason in str(measured.undefined)

    def test_a_thousand_flows_are_solved(self) -> None:
        paid = flows(*["-100"] * 1000, every_us=DAY_US)
        value = sum(100 * 1.2 ** ((1000 - at) / 365) for at in range(1000))
        assert xirr([*paid, (1000 * DAY_US, Decimal(str(value)))]).value == pytest.approx(0.2, rel=1e-9)


class TestMoneyWeighted:
    def test_takes_the_view_of_the_owner(self) -> None:
        points = [point(0, "100", inflow="7"), point(1, "150", inflow="40"), point(2, "90", outflow="70")]
        assert investor_cash_flows(points) == [
            (at, Decimal(amount)) for at, amount in ((0, -100), (1, -40), (2, 70), (2, 90))
        ]

    def test_weighs_the_money(self) -> None:
        points = [point(0, "100"), point(YEAR_US, "1100", inflow="1000"), point(2 * YEAR_US, "1210")]
        assert money_weighted_return(points).value == pytest.approx(xirr(flows("-100", "-1000", "1210")).required())

    def test_roi_weighs_flows_by_the_time_left(self) -> None:
        points = [point(0, "100"), point(5, "200", inflow="100"), point(10, "180", outflow="50")]
        assert roi_percent(Decimal(30), points).value == pytest.approx(100 * 30 / 150)

    def test_nothing_earned_has_no_sign(self) -> None:
        assert str(roi_percent(Decimal("-0"), [point(0, "100"), point(10, "100")]).value) == "0.0"

    def test_roi_of_an_account_that_was_empty_begins_with_its_first_payment(self) -> None:
        points = [point(0, "0"), point(90, "100", inflow="100"), point(100, "110")]
        assert roi_percent(Decimal(10), points).value == pytest.approx(10)

    @pytest.mark.parametrize(
        ("points", "reason"),
        [
            ([], "no capital"),
            ([point(0, "0"), point(1, "0")], "no capital"),
            ([point(0, "100")], "no time"),
            ([point(0, "10"), point(1, "5", outflow="100"), point(10, "5")], "not positive"),
        ],
    )
    def test_roi_says_why_it_is_undefined(self, points: list[EquityPoint], reason: str) -> None:
        measured = roi_percent(Decimal(1), points)
        assert measured.value is None
        assert reason in str(measured.undefined)


class TestPeriods:
    NOW_US = int(datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000

    @pytest.mark.parametrize(
        ("period", "start"),
        [
            ("24h", datetime(2024, 2, 29, 12, tzinfo=UTC)),
            ("1d", datetime(2024, 2, 29, 12, tzinfo=UTC)),
            ("7d", datetime(2024, 2, 23, 12, tzinfo=UTC)),
            ("1w", datetime(2024, 2, 23, 12, tzinfo=UTC)),
            ("30d", datetime(2024, 1, 31, 12, tzinfo=UTC)),
            ("1y", datetime(2023, 3, 2, 12, tzinfo=UTC)),
            ("ytd", datetime(2024, 1, 1, tzinfo=UTC)),
            ("all", datetime(1970, 1, 1, tzinfo=UTC)),
            ("9999y", datetime(1970, 1, 1, tzinfo=UTC)),
        ],
    )
    def test_begins(self, period: str, start: datetime) -> None:
        assert period_start_time_us(period, self.NOW_US) == int(start.timestamp()) * 1_000_000
        assert re.fullmatch(PERIOD_PATTERN, period)

    def test_every_period_on_offer_is_understood(self) -> None:
        assert all(period_start_time_us(period, self.NOW_US) < self.NOW_US for period in PERIODS)

    @pytest.mark.parametrize("period", ["", "d", "0d", "-1d", "7D", "7 d", "1.5d", "10000d", "٣d", "7d\n"])
    def test_refuses_what_is_no_period(self, period: str) -> None:
        with pytest.raises(ValueError, match="use one of 24h"):
            period_start_time_us(period, self.NOW_US)
        assert not re.fullmatch(PERIOD_PATTERN, period)


class TestCandles:
    def test_opens_with_the_value_carried_and_fills_the_gaps(self) -> None:
        points = [(30, "5"), (40, "9"), (50, "3"), (60, "4"), (70, "6"), (250, "1")]
        built = candles([(seconds * 1_000_000, Decimal(value)) for seconds, value in points], "1m")
        assert [candle.open_time_us // MINUTE_US for candle in built] == [0, 1, 2, 3, 4]
        rows = [(int(c.open), int(c.high), int(c.low), int(c.close), c.points) for c in built]
        assert rows == [
            (5, 9, 3, 3, 3),
            (4, 6, 4, 6, 2),  # a point exactly at the start is the open
            (6, 6, 6, 6, 0),
            (6, 6, 6, 6, 0),
            (6, 6, 1, 1, 1),  # before the point it was 6
        ]

    @pytest.mark.parametrize("timeframe", TIMEFRAMES_US)
    def test_is_aligned_to_utc(self, timeframe: str) -> None:
        now_us = int(datetime(2024, 3, 1, 13, 37, 42, tzinfo=UTC).timestamp()) * 1_000_000
        (candle,) = candles([(now_us, Decimal(1))], timeframe)
        assert DAY_US % TIMEFRAMES_US[timeframe] == 0
        assert candle.open_time_us % TIMEFRAMES_US[timeframe] == 0
        assert 0 <= now_us - candle.open_time_us < TIMEFRAMES_US[timeframe]

    def test_a_day_is_what_its_hours_are(self) -> None:
        points = [(at * 17 * MINUTE_US, Decimal(at * 7919 % 101)) for at in range(300)]
        hours, days = candles(points, "1h"), candles(points, "1d")
        for day in days:
            inside = [hour for hour in hours if 0 <= hour.open_time_us - day.open_time_us < DAY_US]
            assert (day.open, day.close) == (inside[0].open, inside[-1].close)
            assert day.high == max(hour.high for hour in inside)
            assert day.low == min(hour.low for hour in inside)
            assert day.points == sum(hour.points for hour in inside)

    def test_nothing_from_nothing(self) -> None:
        assert candles([], "1m") == []

    def test_refuses(self) -> None:
        with pytest.raises(ValueError, match="use one of 1m"):
            candles([], "2m")
        with pytest.raises(ValueError, match="not in order"):
            candles([(5, Decimal(1)), (4, Decimal(1))], "1m")
        with pytest.raises(ValueError, match="use a longer timeframe"):
            candles([(0, Decimal(1)), (CANDLES_MAX * MINUTE_US, Decimal(1))], "1m")


class TestMeasurePerformance:
    def test_a_year_of_an_account_that_is_paid_in_and_out(self) -> None:
        points = [
            point(0, "0"),
            point(10 * DAY_US, "1000", inflow="1000"),
            point(11 * DAY_US, "1100"),
            point(12 * DAY_US, "1045"),
            point(13 * DAY_US, "2090", inflow="1045"),
            point(14 * DAY_US, "1099", outflow="1000"),
        ]
        performance = measure(points, pnl="54", pnls=("60", "-6"))
        growth = 1.1 * 0.95 * (2099 / 2090)
        assert performance.total_return == pytest.approx(growth - 1)
        assert performance.time_weighted_return == performance.total_return
        assert performance.max_drawdown == pytest.approx(-0.05)
        assert performance.deepest_drawdown is not None
        assert performance.deepest_drawdown.peak_time_us == 11 * DAY_US
        assert performance.deepest_drawdown.trough_time_us == 12 * DAY_US
        assert performance.deepest_drawdown.recovery_time_us is None
        assert performance.cagr == pytest.approx(growth ** (365 / 4) - 1)
        assert performance.calmar_ratio == pytest.approx((growth ** (365 / 4) - 1) / 0.05)
        assert performance.daily_returns == 4  # the days before the first payment do not count
        assert performance.roi_percent == pytest.approx(100 * 54 / (1000 + 1045 / 4))
        assert performance.win_rate == 0.5
        assert performance.profit_factor == 10
        assert performance.expectancy == 27
        assert performance.undefined == {}

    def test_a_first_deposit_earns_nothing(self) -> None:
        points = [point(0, "0"), point(DAY_US, "10000", inflow="10000"), point(3 * DAY_US, "10000")]
        performance = measure(points)
        assert performance.total_return == 0
        assert performance.roi_percent == 0
        assert performance.money_weighted_return == pytest.approx(0, abs=1e-12)
        assert performance.max_drawdown == 0
        assert performance.deepest_drawdown is None
        assert "do not vary" in performance.undefined["sharpe_ratio"]
        assert performance.undefined["calmar_ratio"] == "there is no drawdown"

    def test_the_last_point_before_the_start_is_the_opening_value(self) -> None:
        points = [point(0, "50"), point(DAY_US, "100"), point(2 * DAY_US, "110"), point(3 * DAY_US, "121")]
        performance = measure(points, start_us=DAY_US + HOUR_US)
        assert performance.start_time_us == DAY_US
        assert performance.total_return == pytest.approx(0.21)

    def test_points_after_the_end_do_not_count(self) -> None:
        points = [point(0, "100"), point(DAY_US, "110"), point(2 * DAY_US, "1")]
        performance = measure_performance(
            points,
            round_trip_pnls=[],
            total_pnl=Decimal(10),
            realized_pnl=Decimal(10),
            unrealized_pnl=Decimal(0),
            start_time_us=0,
            end_time_us=DAY_US,
        )
        assert performance.total_return == pytest.approx(0.1)

    def test_annual_rates_need_a_day(self) -> None:
        performance = measure([point(0, "100"), point(HOUR_US, "101")], pnl="1")
        assert performance.total_return == pytest.approx(0.01)
        assert performance.roi_percent == pytest.approx(1)
        for name in ("cagr", "money_weighted_return", "calmar_ratio"):
            assert getattr(performance, name) is None
            assert "less than a day" in performance.undefined[name]
        assert "two or more" in performance.undefined["sharpe_ratio"]

    @pytest.mark.parametrize(
        ("points", "reason"),
        [
            ([], "two or more valuation points, there are 0"),
            ([point(0, "100")], "two or more valuation points, there are 1"),
            ([point(0, "0"), point(1, "0")], "no capital"),
            ([point(0, "100"), point(DAY_US, "-1"), point(2 * DAY_US, "5")], "negative"),
        ],
    )
    def test_what_is_undefined_is_none_with_its_reason(self, points: list[EquityPoint], reason: str) -> None:
        performance = measure(points)
        for name in ("total_return", "money_weighted_return", "sharpe_ratio", "max_drawdown", "cagr", "volatility"):
            assert getattr(performance, name) is None
            assert reason in performance.undefined[name]
        assert performance.undefined["win_rate"] == "there are no closed round trips"

    def test_every_none_has_a_reason_and_every_reason_a_none(self) -> None:
        performance = measure([point(0, "100"), point(HOUR_US, "0"), point(2 * DAY_US, "10", inflow="10")])
        fields = {
            name: getattr(performance, name)
            for name in performance.__struct_fields__
            if name not in {"deepest_drawdown", "undefined"}
        }
        assert {name for name, value in fields.items() if value is None} == set(performance.undefined)
        assert performance.total_return == -1

    def test_points_minutes_apart_are_measured_by_the_day(self) -> None:
        count = 20 * 288
        points = [point(at * 300_000_000, str(1000 + at * 7919 % 211)) for at in range(count + 1)]
        closes = [1000 + at * 7919 % 211 for at in range(0, count + 1, 288)]
        daily = [after / before - 1 for before, after in itertools.pairwise(closes)]
        mean = sum(daily) / len(daily)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in daily) / (len(daily) - 1))
        performance = measure(points)
        assert performance.daily_returns == 20
        assert performance.sharpe_ratio == pytest.approx(mean / deviation * math.sqrt(365), rel=1e-9)
        assert performance.max_drawdown == pytest.approx(1000 / 1210 - 1)

    def test_survives_the_wire(self) -> None:
        performance = measure([point(0, "100"), point(DAY_US, "90"), point(2 * DAY_US, "99")], pnl="-1")
        assert msgspec.json.decode(msgspec.json.encode(performance), type=Performance) == performance
