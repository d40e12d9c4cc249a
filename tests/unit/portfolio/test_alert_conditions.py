"""What each kind of rule reads, from the events and figures that the topics tell."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from portfolio import (
    CostAdjustment,
    CostTarget,
    Fill,
    Flow,
    FlowKind,
    LogPosition,
    Reclassification,
    Side,
    amount,
    fold,
    new_book,
)
from portfolio.alerts.anomaly import CHANGES_MIN, median, usual_bound
from portfolio.alerts.conditions import Reading, readings
from portfolio.alerts.durations import DAY_US, duration_us, shown_duration
from portfolio.alerts.rules import (
    BalanceAnomaly,
    DeadLetters,
    Loss,
    MissingAcquisition,
    PnlAnomaly,
    PositionLimit,
    PriceSources,
    Reconciliation,
    Rule,
    StaleData,
    SyncFailures,
)
from portfolio.alerts.views import AccountView, Gap, PnlPoint
from portfolio.errors import InvalidRule
from portfolio.events import Event
from portfolio.money import ZERO
from portfolio.snapshots import AccountSnapshot, describe_update

MINUTE = 60_000_000
HOUR = 60 * MINUTE
NOW = 1_700_000_000_000_000 - 1_700_000_000_000_000 % DAY_US


def snapshot(time_us: int, total_pnl: str | Decimal, *, equity: str = "10000", marks: dict[str, str] | None = None,
             sequence: int = 1) -> AccountSnapshot:  # fmt: skip
    pnl = Decimal(total_pnl)
    return AccountSnapshot(
        account="main", reporting="USDT", sequence=sequence, position=None, event_time_us=time_us,
        valued_time_us=time_us, equity=Decimal(equity), net_flows=ZERO, realized=ZERO, unrealized=pnl, total_pnl=pnl,
        fees=ZERO, twr_index=Decimal(1), drawdown=ZERO, max_drawdown=ZERO,
        marks={asset: Decimal(mark) for asset, mark in (marks or {}).items()},
    )  # fmt: skip


def levels(rule: Rule, view: AccountView, now_us: int = NOW) -> dict[str, Decimal]:
    return {reading.subject: reading.level for reading in readings(rule, view, now_us)}


def only(rule: Rule, view: AccountView, now_us: int = NOW) -> Reading:
    [reading] = readings(rule, view, now_us)
    return reading


def seen(period: str, *points: tuple[int, str]) -> AccountView:
    view = AccountView(account="main")
    for time_us, pnl in points:
        view.see_account(snapshot(time_us, pnl), [period])
    return view


def test_a_loss_is_against_the_beginning_of_the_period() -> None:
    rule = Loss(period="24h", amount=Decimal(100), percent=Decimal(4))
    view = seen("24h", (NOW, "500"), (NOW + 12 * HOUR, "900"), (NOW + 23 * HOUR, "400"))
    assert only(rule, view).level == 1
    view.see_account(snapshot(NOW + 40 * HOUR, "399"), ["24h"])
    # The first point is older than the period; the one of twelve hours is the last before it begins.
    reading = only(rule, view)
    assert reading.level == Decimal("5.01")
    assert reading.text == "total pnl fell by 501 USDT (5.01% of equity) within 24h, from 900 to 399"


def test_a_gain_is_no_loss_and_without_equity_there_is_no_percentage() -> None:
    assert only(Loss(amount=Decimal(100)), seen("24h", (NOW, "1"), (NOW + 1, "51"))).level == Decimal("-0.5")
    view = AccountView(account="main", now=PnlPoint(NOW, Decimal(-5), ZERO))
    view.periods["24h"] = [PnlPoint(NOW, ZERO, ZERO)]
    assert readings(Loss(percent=Decimal(1)), view, NOW) == []


def test_a_day_begins_at_midnight_with_what_the_one_before_ended_with() -> None:
    rule = Loss(period="day", amount=Decimal(100))
    view = seen("day", (NOW + HOUR, "500"), (NOW + 23 * HOUR, "450"), (NOW + DAY_US + 1, "440"))
    assert only(rule, view).level == Decimal("0.1")
    assert view.periods["day"] == [PnlPoint(NOW + DAY_US, Decimal(450), Decimal(10000))]


@given(st.lists(st.tuples(st.integers(1, 3 * HOUR), st.integers(-1000, 1000)), min_size=1, max_size=300))
def test_few_points_of_a_period_are_kept_and_the_first_is_old_enough(steps: list[tuple[int, int]]) -> None:
    view, now, times = AccountView(account="main"), NOW, []
    for step_us, pnl in steps:
        now += step_us
        times.append(now)
        view.see_account(snapshot(now, Decimal(pnl)), ["24h"])
    points = view.periods["24h"]
    assert len(points) <= 122
    begins = now - DAY_US
    old_enough = [time_us for time_us in times if time_us <= begins]
    spacing = DAY_US // 120
    assert points[0].time_us <= max(times[0], (old_enough[-1] if old_enough else times[0]))
    if old_enough:
        assert points[0].time_us >= old_enough[-1] - spacing


def test_figures_that_are_older_than_those_known_change_nothing() -> None:
    view = seen("24h", (NOW + 5, "1"))
    view.see_account(snapshot(NOW + 4, "7"), ["24h"])
    view.see_account(snapshot(NOW + 9, "8", sequence=0), ["24h"])
    assert view.now == PnlPoint(NOW + 5, Decimal(1), Decimal(10000))


def test_a_position_is_over_its_limit_by_value_or_by_share() -> None:
    view = AccountView(
        account="main", reporting="USDT", now=PnlPoint(NOW, ZERO, Decimal(1000)),
        quantities={"BTC": Decimal(2), "ETH": Decimal(1), "USDT": Decimal(700), "NEW": Decimal(5)},
        marks={"BTC": Decimal(100), "ETH": Decimal(100)},
    )  # fmt: skip
    assert levels(PositionLimit(value=Decimal(400)), view) == {"BTC": Decimal("0.5"), "ETH": Decimal("0.25")}
    assert levels(PositionLimit(value=Decimal(400), percent=Decimal(10)), view)["BTC"] == 2
    assert levels(PositionLimit(assets=("ETH",), percent=Decimal(10)), view) == {"ETH": Decimal(1)}


def booked(*events: Event) -> AccountView:
    view, book = AccountView(account="main"), new_book("main", "USDT")
    for offset, event in enumerate(events):
        outcome = fold(book, [event], position=LogPosition(0, offset))
        book = outcome.book
        view.see_account(describe_update(outcome, LogPosition(0, offset)).snapshot, [])
        for each in outcome.booked:
            view.see_booked(each)
    return view


def flow(kind: FlowKind) -> Flow:
    return Flow(time_us=NOW, id="f", asset="USDT", quantity=amount("-12.5"), kind=kind)


SALE = Fill(
    time_us=NOW, symbol="BTCUSDT", base="BTC", quote="USDT", side=Side.SELL, price=amount(60000),
    quantity=amount("0.5"), trade_id=1, order_id=1,
)  # fmt: skip
DEPOSIT = Flow(time_us=NOW, id="d", asset="USDT", quantity=amount(100000), kind=FlowKind.DEPOSIT)


def test_an_unclassified_flow_is_odd_until_it_is_reclassified_or_forgotten() -> None:
    rule = BalanceAnomaly(value=Decimal(10))
    view = booked(DEPOSIT, flow(FlowKind.UNCLASSIFIED))
    assert levels(rule, view, NOW + HOUR) == {"f": Decimal("1.25")}
    assert levels(BalanceAnomaly(), view, NOW + HOUR) == {"f": Decimal(1)}
    assert levels(rule, view, NOW + DAY_US) == {}
    known = Reclassification(time_us=NOW, id="r", flow_id="f", kind=FlowKind.WITHDRAWAL, author="anna")
    assert levels(rule, booked(DEPOSIT, flow(FlowKind.UNCLASSIFIED), known)) == {}
    assert levels(rule, booked(DEPOSIT, flow(FlowKind.WITHDRAWAL))) == {}


def test_a_missing_acquisition_is_told_until_its_cost_is_adjusted() -> None:
    rule = MissingAcquisition()
    assert only(rule, booked(SALE)).text == (
        "0.5 BTC went out that nothing brought in; costed at the market, 30000 USDT. `portfolio adjust` gives it its "
        "true cost"
    )
    adjusted = CostAdjustment(
        time_us=NOW, id="a", asset="BTC", amount=amount(-5), target=CostTarget.REALIZED, author="anna", reason="receipt"
    )  # fmt: skip
    assert levels(rule, booked(SALE, adjusted)) == {}


def test_a_difference_counts_by_its_value_and_always_where_it_has_none() -> None:
    view = AccountView(
        account="main", reporting="USDT", marks={"BTC": Decimal(100)},
        gaps={"BTC": Gap(Decimal("-0.5"), "missing_fill"), "NEW": Gap(Decimal(1), "unclassified_flow"),
              "USDT": Gap(Decimal(25), "unclassified_flow")},
    )  # fmt: skip
    assert levels(Reconciliation(value=Decimal(100)), view) == {
        "BTC": Decimal("0.5"), "NEW": Decimal(1), "USDT": Decimal("0.25"),
    }  # fmt: skip


def test_staleness_grows_with_time_and_needs_something_to_have_been_heard() -> None:
    view = AccountView(account="main", now=PnlPoint(NOW, ZERO, ZERO))
    assert only(StaleData(after="2m"), view, NOW + MINUTE).level == Decimal("0.5")
    assert only(StaleData(after="2m"), view, NOW - MINUTE).level == 0
    assert levels(StaleData(), AccountView(account="main")) == {}


def test_sync_failures_are_those_of_the_period_and_a_restart_of_the_gateway_is_none() -> None:
    view, rule = AccountView(account="main"), SyncFailures(failures=2, period="10m")
    for errors, minute in ((5, 0), (6, 1), (0, 2), (1, 3)):
        view.see_sync_errors(errors, NOW + minute * MINUTE)
    assert only(rule, view, NOW + 4 * MINUTE).level == 1
    assert only(rule, view, NOW + 11 * MINUTE).level == Decimal("0.5")


def test_what_a_person_must_clear_is_a_sync_failure_until_the_gateway_is_live() -> None:
    view, rule = AccountView(account="main"), SyncFailures(failures=3)
    view.see_gateway_failed("Binance refused the API key")
    assert only(rule, view).level == 1
    assert only(rule, view).text == "the gateway cannot follow the account: Binance refused the API key"
    for errors in range(7):
        view.see_sync_errors(errors, NOW)
    assert only(rule, view).level == 2
    view.see_gateway_failed("")
    assert "does not say why" in only(rule, view).text
    view.see_gateway_live()
    assert "6 connections or syncs" in only(rule, view).text


def test_dead_letters_count_by_their_topic() -> None:
    view = AccountView(account="")
    for topic in ("a", "a", "b"):
        view.see_dead_letter(topic, NOW)
    assert levels(DeadLetters(count=2), view) == {"a": Decimal(1), "b": Decimal("0.5")}
    assert levels(DeadLetters(count=2), view, NOW + HOUR) == {"a": ZERO, "b": ZERO}


def test_two_sources_of_a_price_are_compared_for_what_is_held() -> None:
    view = AccountView(account="main", marks={"BTC": Decimal(101), "OLD": Decimal(1)}, quantities={"BTC": Decimal(1)})
    view.see_prices({"BTC": Decimal(100), "OLD": Decimal(5), "ETH": Decimal(7)})
    assert levels(PriceSources(percent=Decimal(2)), view) == {"BTC": Decimal("0.5")}


def usual_view(changes: list[str]) -> AccountView:
    view, pnl = AccountView(account="main", quantities={"BTC": Decimal(2)}), Decimal(0)
    view.see_account(snapshot(NOW, pnl, marks={"BTC": "100"}), [])
    for minute, change in enumerate(changes, start=1):
        pnl += Decimal(change)
        view.see_account(snapshot(NOW + minute * MINUTE, pnl, marks={"BTC": "100"}), [])
    return view


USUAL = ["5", "-5", "3", "-4", "6", "-5"] * 5


def test_a_jump_is_told_with_the_mark_that_caused_it() -> None:
    view, rule = usual_view(USUAL), PnlAnomaly(deviations=Decimal(10), percent=Decimal(1))
    assert only(rule, view).level < Decimal("0.2")
    before = view.now
    assert before is not None
    jumped = snapshot(before.time_us + 1, before.total_pnl - 120, marks={"BTC": "40"})
    view.see_account(jumped, [])
    reading = only(rule, view)
    assert reading.level > 1
    assert "the mark of BTC went from 100 to 40 (-120)" in reading.text


def test_a_jump_is_told_with_the_fills_that_caused_it() -> None:
    view, rule = usual_view(USUAL), PnlAnomaly(deviations=Decimal(10), percent=Decimal(1))
    before = view.now
    assert before is not None
    bought = Fill(
        time_us=NOW, symbol="BTCUSDT", base="BTC", quote="USDT", side=Side.BUY, price=amount(60000),
        quantity=amount("0.5"), trade_id=1, order_id=1,
    )  # fmt: skip
    sold = replace(bought, side=Side.SELL, price=amount(59400), trade_id=2, order_id=2)
    outcome = fold(new_book("main", "USDT"), [DEPOSIT, bought, sold])
    view.see_account(snapshot(before.time_us + 1, before.total_pnl - 300, marks={"BTC": "100"}), [])
    for each in outcome.booked:
        view.see_booked(each)
    assert "fills of BTCUSDT up to trade 2 realized it (-300)" in only(rule, view).text


def test_a_jump_is_measured_against_what_was_usual_before_it_however_late_it_is_heard() -> None:
    view, rule = usual_view(USUAL), PnlAnomaly(deviations=Decimal(10), percent=Decimal(1))
    before = view.now
    assert before is not None
    view.see_account(snapshot(before.time_us + 30 * MINUTE, before.total_pnl + 5000), [])
    assert only(rule, view).level > 1


def test_too_few_changes_say_nothing() -> None:
    view = usual_view(USUAL[: CHANGES_MIN - 1])
    before = view.now
    assert before is not None
    view.see_account(snapshot(before.time_us + 1, before.total_pnl - 9999), [])
    assert levels(PnlAnomaly(), view) == {}


@given(st.lists(st.decimals(-1000, 1000, places=2), min_size=CHANGES_MIN, max_size=60), st.data())
def test_less_than_half_of_the_changes_cannot_move_the_bound_out_of_sight(
    changes: list[Decimal], data: st.DataObject
) -> None:
    wild = data.draw(st.integers(0, (len(changes) - 1) // 2))
    poisoned = [*changes[wild:], *[Decimal(10) ** 20] * wild]
    bound = usual_bound(poisoned, Decimal(1), ZERO)
    assert bound is not None
    assert bound <= Decimal("1.4826") * 4000


def test_the_median_absolute_deviation() -> None:
    changes = [Decimal(n) for n in (1, 1, 2, 2, 4, 6, 9)]
    assert median(changes) == 2
    assert usual_bound(changes * 3, Decimal(2), ZERO) == 2 * Decimal("1.4826") * 1
    assert usual_bound([ZERO] * 20, Decimal(2), Decimal(7)) == 7
    with pytest.raises(ValueError, match="no values"):
        median([])


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-5m", "1.5h", "5w", "367d", "9999999s"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidRule):
        duration_us(text)


def test_spans_of_time() -> None:
    assert duration_us("90s") == 90_000_000
    assert [shown_duration(duration_us(span)) for span in ("90s", "3m", "49h", "3d")] == [
        "90 s",
        "3 min",
        "2 days",
        "3 days",
    ]
