"""Plans of faults: repeatable by seed, complete, and read with care."""

from pathlib import Path

import pytest

from infra.exchange.fault_plans import FaultPlan, load_plan, read_plan
from infra.exchange.faults import Fault, FaultError, FaultKind, Faults, Target


def test_the_same_seed_draws_the_same_faults_and_another_seed_others() -> None:
    first = FaultPlan(seed=1, count=50, seconds=10).schedule()
    assert first == FaultPlan(seed=1, count=50, seconds=10).schedule()
    assert first != FaultPlan(seed=2, count=50, seconds=10).schedule()


def test_a_long_plan_has_every_kind_but_a_wipe_in_order_of_time() -> None:
    plan = FaultPlan(seed=5, count=200, seconds=30).schedule()
    assert {fault.kind for fault in plan} == set(FaultKind) - {FaultKind.WIPE}
    times = [fault.at_s for fault in plan]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 30


def test_listed_and_drawn_faults_are_merged() -> None:
    plan = read_plan(b'{"faults": [{"kind": "wipe", "at_s": 5}], "count": 2, "kinds": ["drop"], "seconds": 1}')
    assert [fault.kind for fault in plan.schedule()] == [FaultKind.DROP, FaultKind.DROP, FaultKind.WIPE]


@pytest.mark.parametrize("text", ["", "[]", '{"fault": []}', '{"faults": [{"kind": "clock-jump", "at_s": 1}]}'])
def test_what_is_no_plan_is_refused_with_the_name_of_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(FaultError, match=r"plan\.json"):
        load_plan(path)
    with pytest.raises(FaultError, match="cannot be read"):
        load_plan(tmp_path / "missing.json")


def test_the_same_faults_on_the_same_traffic_strike_alike() -> None:
    def struck(seed: int) -> list[tuple[object, ...]]:
        faults = Faults(lambda: 1_000_000, seed)
        faults.arm(Fault(kind=FaultKind.TRUNCATE, count=2, after=1))
        faults.arm(Fault(kind=FaultKind.HANG, path="/api"))
        for _ in range(4):
            faults.on_message(Target.USER, "demo")
        faults.on_request(Target.REST, "/sapi")
        faults.on_request(Target.REST, "/api/v3/ping")
        injected = faults.view()["injected"]
        assert isinstance(injected, list)
        return [(each.number, each.time_us, each.kind, each.at) for each in injected] + [(faults.choices.random(),)]

    assert struck(1) == struck(1)
    assert struck(1)[:-1] == [
        (1, 1_000_000, FaultKind.TRUNCATE, "demo"),
        (2, 1_000_000, FaultKind.TRUNCATE, "demo"),
        (3, 1_000_000, FaultKind.HANG, "/api/v3/ping"),
    ]
