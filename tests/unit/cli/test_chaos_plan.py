from cli.chaos.plan import SESSION_TIMEOUT_S, FaultKind, plan_faults
from streams.app import app

WORKERS = ("worker-1", "worker-2", "worker-3")


def test_a_seed_always_gives_the_same_faults_and_another_seed_others() -> None:
    assert plan_faults(7, 30, WORKERS) == plan_faults(7, 30, WORKERS)
    assert plan_faults(7, 30, WORKERS) != plan_faults(8, 30, WORKERS)


def test_everything_goes_wrong_once_before_anything_does_twice() -> None:
    # Seven parts die and hang, three workers lose their tables, the exchange disconnects.
    plan = plan_faults(1, 18, WORKERS)

    assert len({(fault.kind, fault.target) for fault in plan}) == 18
    assert {fault.target for fault in plan if fault.kind is FaultKind.WIPE} == set(WORKERS)
    assert {"gateway", "kafka", "postgres", "redis", *WORKERS} == {
        fault.target for fault in plan if fault.kind is FaultKind.KILL
    }


def test_a_part_hangs_for_longer_than_the_session_timeout_of_a_worker() -> None:
    assert app.conf.broker_session_timeout == SESSION_TIMEOUT_S
    assert all(fault.for_s > SESSION_TIMEOUT_S for fault in plan_faults(1, 60, WORKERS) if fault.kind is FaultKind.HANG)


def test_faults_come_in_order_of_time() -> None:
    times = [fault.at_s for fault in plan_faults(3, 50, WORKERS)]
    assert times == sorted(times)
    assert times[0] > 0
