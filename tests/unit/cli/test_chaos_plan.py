from cli.chaos.plan import LASTING, SESSION_TIMEOUT_S, FaultKind, PlannedFault, plan_faults
from streams.app import app

WORKERS = ("worker-1", "worker-2", "worker-3")
SPARE = "worker-4"


def plan(seed: int, count: int) -> list[PlannedFault]:
    return plan_faults(seed, count, WORKERS, SPARE)


def test_a_seed_always_gives_the_same_faults_and_another_seed_others() -> None:
    assert plan(7, 40) == plan(7, 40)
    assert plan(7, 40) != plan(8, 40)


def test_everything_goes_wrong_once_before_anything_does_twice() -> None:
    # Eight parts die and hang, three workers lose their tables and leave, one joins, three things happen to the
    # exchange's connection, and the disk is full.
    faults = plan(1, 27)

    assert len({(fault.kind, fault.target) for fault in faults}) == 27
    assert {fault.kind for fault in faults} == set(FaultKind)
    assert {fault.target for fault in faults if fault.kind is FaultKind.WIPE} == set(WORKERS)
    assert {"gateway", "kafka", "postgres", "redis", "exchange", *WORKERS} == {
        fault.target for fault in faults if fault.kind is FaultKind.KILL
    }


def test_what_lasts_does_so_for_longer_than_the_session_timeout_of_a_worker() -> None:
    assert app.conf.broker_session_timeout == SESSION_TIMEOUT_S
    assert all((fault.for_s > SESSION_TIMEOUT_S) is (fault.kind in LASTING) for fault in plan(1, 60))


def test_faults_come_in_order_of_time() -> None:
    times = [fault.at_s for fault in plan(3, 50)]
    assert times == sorted(times)
    assert times[0] > 0


def test_only_clocks_jump() -> None:
    assert all((fault.jump_s != 0) is (fault.kind is FaultKind.CLOCK_JUMP) for fault in plan(5, 60))
