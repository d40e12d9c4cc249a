"""When the exchange's clock is measured again."""

import pytest

from infra.binance.clock import AGE_MAX_S, ExchangeClock

SECOND_US = 1_000_000


class Machine:
    """A wall clock that can be set, and a steady one that cannot."""

    def __init__(self) -> None:
        self.wall_us = 1_700_000_000 * SECOND_US
        self.steady_s = 50.0

    def pass_time(self, seconds: float) -> None:
        self.wall_us += round(seconds * SECOND_US)
        self.steady_s += seconds

    def clock(self) -> ExchangeClock:
        return ExchangeClock(wall_us=lambda: self.wall_us, steady=lambda: self.steady_s)


def measured(machine: Machine, ahead_us: int) -> ExchangeClock:
    clock = machine.clock()
    sent_us = machine.wall_us
    machine.pass_time(0.2)
    clock.set_from(sent_us=sent_us, received_us=machine.wall_us, exchange_us=sent_us + 100_000 + ahead_us)
    return clock


def test_the_exchange_read_its_clock_halfway_between_request_and_answer() -> None:
    machine = Machine()
    clock = measured(machine, 7_000_000)
    assert clock.offset_us == 7_000_000
    assert clock.now_us() == machine.wall_us + 7_000_000
    machine.pass_time(3)
    assert clock.now_us() == machine.wall_us + 7_000_000


def test_a_minute_of_the_exchange_ends_by_its_clock() -> None:
    machine = Machine()
    assert machine.clock().minute_left_s() == 60
    clock = measured(machine, 7_000_000)
    assert clock.minute_left_s() == pytest.approx(60 - clock.now_us() / SECOND_US % 60, abs=1e-3)


def test_it_is_due_at_first_and_after_a_while() -> None:
    machine = Machine()
    assert machine.clock().is_due
    clock = measured(machine, 0)
    due = [clock.is_due]
    for seconds in (AGE_MAX_S - 1, 2):
        machine.pass_time(seconds)
        due.append(clock.is_due)
    assert due == [False, False, True]


def test_it_is_due_when_this_machine_is_set() -> None:
    machine = Machine()
    clock = measured(machine, 0)
    machine.wall_us -= SECOND_US
    assert clock.is_due
