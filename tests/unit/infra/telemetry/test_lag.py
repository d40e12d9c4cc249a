"""Lag: how many records wait, and since when at most."""

import pytest

from infra.telemetry.lag import Lag, LagMeter

NOW = 1_700_000_000.0


@pytest.fixture
def meter() -> LagMeter:
    meter = LagMeter()
    meter.begin(3, 100)
    return meter


def test_nothing_waits_where_the_end_is_next(meter: LagMeter) -> None:
    assert meter.measure(3, 100, NOW) == Lag(0, 0.0)


def test_a_record_after_an_hour_of_quiet_has_not_waited_for_an_hour(meter: LagMeter) -> None:
    meter.note(3, 101, NOW - 3_600)
    meter.measure(3, 101, NOW - 5)
    assert meter.measure(3, 102, NOW) == Lag(1, 5.0)


def test_what_waits_is_as_old_as_the_record_before_it_at_most(meter: LagMeter) -> None:
    meter.measure(3, 100, NOW - 60)
    meter.note(3, 110, NOW - 30)
    assert meter.measure(3, 150, NOW) == Lag(40, 30.0)


def test_a_reader_that_stands_still_is_further_behind_each_time(meter: LagMeter) -> None:
    lags = [meter.measure(3, 100 + second, NOW + second) for second in range(1, 30)]
    assert [lag.seconds for lag in lags] == [float(second) for second in range(29)]
    assert lags[-1].records == 29


def test_a_clock_that_is_behind_the_brokers_makes_no_negative_lag(meter: LagMeter) -> None:
    meter.note(3, 101, NOW + 10)
    assert meter.measure(3, 102, NOW) == Lag(1, 0.0)


def test_a_partition_that_comes_back_begins_anew(meter: LagMeter) -> None:
    meter.note(3, 101, NOW)
    meter.forget(3)
    assert not meter.partitions
    meter.begin(3, 500)
    assert meter.measure(3, 500, NOW) == Lag(0, 0.0)
    meter.forget(7)
