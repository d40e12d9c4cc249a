"""The life of an alert: raised once, cleared with hysteresis, silenced, acknowledged, told again."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio.alerts.engine import Alert, AlertEngine, AlertStatus, Silence
from portfolio.alerts.rules import Drawdown, PositionLimit, Rule, Severity
from portfolio.alerts.views import AccountView

SECOND = 1_000_000
HOUR = 3_600 * SECOND


def view(drawdown: str | int, account: str = "main") -> AccountView:
    """An account whose drawdown is so many percent."""
    return AccountView(account=account, drawdown=-Decimal(drawdown) / 100)


def engine(**options: object) -> AlertEngine:
    return AlertEngine({"deep": Drawdown(percent=Decimal(10), **options)})  # type: ignore[arg-type]


def statuses(changed: list[Alert]) -> list[str]:
    return [alert.status.value for alert in changed]


def test_it_is_raised_once_and_cleared_once() -> None:
    watch = engine()
    assert watch.evaluate(view(9), 0) == []
    [raised] = watch.evaluate(view(12), 1)
    assert (raised.status, raised.tell, raised.text) == (
        AlertStatus.RAISED, True, "the return index is 12% below its peak",
    )  # fmt: skip
    assert watch.evaluate(view(15), 2) == []
    [cleared] = watch.evaluate(view(7), 3)
    assert (cleared.id, cleared.status, cleared.tell, cleared.cleared_time_us) == (
        raised.id, AlertStatus.CLEARED, True, 3,
    )  # fmt: skip
    assert watch.evaluate(view(7), 4) == []
    [again] = watch.evaluate(view(12), 5)
    assert again.id != raised.id


def test_between_threshold_and_clear_at_nothing_changes() -> None:
    watch = engine(clear_at=Decimal("0.5"))
    watch.evaluate(view(10), 0)
    assert watch.evaluate(view("5.01"), 1) == []
    assert statuses(watch.evaluate(view("4.99"), 2)) == ["cleared"]
    assert watch.evaluate(view("9.99"), 3) == []


@given(st.lists(st.integers(81, 99), max_size=30))
def test_no_path_between_the_two_thresholds_makes_an_alert_come_or_go(path: list[int]) -> None:
    closed, opened = engine(), engine()
    opened.evaluate(view(20), 0)
    for number, tenths in enumerate(path, start=1):
        level = Decimal(tenths) / 10
        assert closed.evaluate(view(str(level)), number) == []
        assert opened.evaluate(view(str(level)), number) == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 2 * 60)), max_size=60), st.sampled_from(["0s", "1m"]))
def test_raised_and_cleared_take_turns_and_nobody_is_told_of_an_end_without_a_beginning(
    path: list[tuple[int, int]], hold: str
) -> None:
    watch = engine(hold=hold, clear_hold=hold)
    now, told = 0, []
    for drawdown, pause_s in path:
        now += pause_s * SECOND
        told += [alert.status for alert in watch.evaluate(view(drawdown), now) if alert.tell]
        assert len(watch.open_alerts) <= 1
    assert told == [AlertStatus.RAISED, AlertStatus.CLEARED] * (len(told) // 2) + [AlertStatus.RAISED] * (len(told) % 2)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=40))
def test_a_restart_at_any_moment_raises_nothing_twice(path: list[tuple[int, bool]]) -> None:
    """What was published is what is restored; without a restart the same is published."""
    steady, restarted = engine(), engine()
    published: list[Alert] = []
    expected: list[Alert] = []
    for now, (drawdown, restarts) in enumerate(path):
        if restarts:
            restarted = engine()
            for alert in published:
                restarted.restore(alert)
        published += restarted.evaluate(view(drawdown), now)
        expected += steady.evaluate(view(drawdown), now)
    assert published == expected


def test_it_must_hold_before_it_is_raised_and_before_it_is_cleared() -> None:
    watch = engine(hold="60s", clear_hold="30s")
    assert watch.evaluate(view(12), 0) == []
    assert watch.evaluate(view(12), 59 * SECOND) == []
    assert watch.evaluate(view(1), 59 * SECOND) == []
    assert watch.evaluate(view(12), 60 * SECOND) == []
    assert statuses(watch.evaluate(view(12), 120 * SECOND)) == ["raised"]
    assert watch.evaluate(view(1), 121 * SECOND) == []
    assert watch.evaluate(view(12), 140 * SECOND) == []
    assert watch.evaluate(view(1), 152 * SECOND) == []
    assert statuses(watch.evaluate(view(1), 182 * SECOND)) == ["cleared"]


def silence(until_us: int, **what: str) -> Silence:
    return Silence(id="s", until_us=until_us, by="anna", time_us=0, **what)


def test_a_silence_keeps_it_from_being_told_until_it_ends() -> None:
    watch = engine()
    watch.silence(silence(100, rule="deep"))
    [raised] = watch.evaluate(view(12), 1)
    assert (raised.silenced, raised.tell) == (True, False)
    assert watch.evaluate(view(13), 99) == []
    [told] = watch.evaluate(view(14), 100)
    assert (told.id, told.tell, told.silenced, told.text) == (
        raised.id, True, False, "the return index is 14% below its peak",
    )  # fmt: skip
    assert watch.evaluate(view(14), 101) == []


def test_what_came_and_went_in_a_silence_is_never_told() -> None:
    watch = engine()
    watch.silence(silence(100))
    watch.evaluate(view(12), 1)
    [cleared] = watch.evaluate(view(1), 200)
    assert not cleared.tell


@pytest.mark.parametrize(
    ("what", "is_silenced"),
    [({}, True), ({"rule": "deep"}, True), ({"account": "main"}, True), ({"account": "other"}, False),
     ({"rule": "other"}, False), ({"rule": "deep", "account": "other"}, False)],
)  # fmt: skip
def test_a_silence_covers_what_it_names(what: dict[str, str], is_silenced: bool) -> None:
    watch = engine()
    watch.silence(silence(100, **what))
    [raised] = watch.evaluate(view(12), 1)
    assert raised.silenced is is_silenced


def test_it_is_told_again_until_somebody_acknowledges_it() -> None:
    watch = engine(remind="4h")
    [raised] = watch.evaluate(view(12), 0)
    assert watch.evaluate(view(12), 4 * HOUR - 1) == []
    [reminded] = watch.evaluate(view(12), 4 * HOUR)
    assert (reminded.id, reminded.tell) == (raised.id, True)
    [acknowledged] = watch.acknowledge(raised.id, "anna", 5 * HOUR)
    assert (acknowledged.acknowledged_by, acknowledged.tell) == ("anna", False)
    assert watch.acknowledge(raised.id, "berta", 6 * HOUR) == []
    assert watch.acknowledge("nothing", "berta", 6 * HOUR) == []
    assert watch.evaluate(view(12), 20 * HOUR) == []
    [cleared] = watch.evaluate(view(1), 21 * HOUR)
    assert cleared.tell


def test_other_rules_clear_what_no_rule_looks_at_and_keep_the_rest() -> None:
    watch = AlertEngine({"deep": Drawdown(percent=Decimal(10)), "deeper": Drawdown(percent=Decimal(11))})
    watch.evaluate(view(12), 0)
    watch.use_rules({"deep": Drawdown(percent=Decimal(10), severity=Severity.CRITICAL)})
    [cleared] = watch.evaluate(view(12), 1)
    assert (cleared.rule, cleared.status) == ("deeper", AlertStatus.CLEARED)
    assert "no rule looks at it" in cleared.text
    watch.use_rules({"deep": Drawdown(percent=Decimal(10), enabled=False)})
    assert statuses(watch.evaluate(view(12), 2)) == ["cleared"]


def test_a_rule_is_for_the_accounts_that_it_names() -> None:
    watch = engine(accounts=("main",))
    assert watch.evaluate(view(12, "other"), 0) == []
    assert statuses(watch.evaluate(view(12, "main"), 0)) == ["raised"]
    # Looking at one account says nothing about another one.
    assert watch.evaluate(view(1, "other"), 1) == []
    assert len(watch.open_alerts) == 1


def test_what_is_read_no_more_is_well_again() -> None:
    rules: dict[str, Rule] = {"much": PositionLimit(value=Decimal(100))}
    watch = AlertEngine(rules)
    held = AccountView(account="main", reporting="USDT", quantities={"BTC": Decimal(2)}, marks={"BTC": Decimal(60)})
    [raised] = watch.evaluate(held, 0)
    assert (raised.subject, raised.text) == ("BTC", "2 BTC are worth 120 USDT")
    [cleared] = watch.evaluate(AccountView(account="main", reporting="USDT"), 1)
    assert cleared.id == raised.id
