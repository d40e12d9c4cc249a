"""Whose turn it is, and what is told of open positions."""

from decimal import Decimal

from agents.periodic import Timetable, tell_positions
from portfolio import fold, new_book
from portfolio.snapshots import PositionStatus
from streams.periodic import open_positions
from tests.support.worker import TIME_US, fill


def test_an_account_has_its_turn_at_once_and_then_at_intervals() -> None:
    timetable = Timetable(60.0)
    assert timetable.due(["a", "b"], 100.0) == ["a", "b"]
    assert timetable.due(["a", "b"], 159.9) == []
    assert timetable.due(["a", "b", "c"], 160.0) == ["a", "b", "c"]


def test_an_account_that_went_to_another_worker_is_forgotten() -> None:
    timetable = Timetable(60.0)
    timetable.due(["a"], 100.0)
    timetable.due([], 101.0)
    assert timetable.due(["a"], 102.0) == ["a"], "it came back"


def test_a_turn_that_came_to_nothing_comes_again_sooner() -> None:
    timetable = Timetable(3_600.0)
    timetable.due(["a"], 0.0)
    timetable.put_off("a", 0.0, 60.0)
    assert timetable.due(["a"], 59.0) == []
    assert timetable.due(["a"], 60.0) == ["a"]


def test_all_open_positions_are_told_at_the_newest_marks() -> None:
    book = fold(new_book("main", "USDT"), [fill(1, symbol="BTC"), fill(2, symbol="ETH")]).book
    told = tell_positions(
        book, {"BTC": Decimal(70_000), "DOGE": Decimal(1)}, valued_time_us=TIME_US, now_us=TIME_US + 9
    )
    assert (told.account, told.valued_time_us, told.sequence) == ("main", TIME_US, book.sequence)
    assert {each.asset for each in told.positions} == {"BTC", "ETH"}
    assert {each.status for each in told.positions} == {PositionStatus.OPEN}
    (bitcoin,) = [each for each in told.positions if each.asset == "BTC"]
    assert bitcoin.mark == 70_000
    assert bitcoin.unrealized == bitcoin.quantity * 70_000 - bitcoin.cost
    assert open_positions.decode(open_positions.encode(told)) == told


def test_an_account_without_positions_says_so() -> None:
    told = tell_positions(new_book("main", "USDT"), {}, valued_time_us=0, now_us=TIME_US)
    assert told.positions == ()
