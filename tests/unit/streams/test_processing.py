"""The claim on an event: what a stop or a rebalance lets finish, and what it does not."""

from types import SimpleNamespace
from typing import Any

import pytest

import streams.processing
from streams.processing import Abandoned, Claim


@pytest.fixture
def app() -> Any:
    flow = SimpleNamespace(active=True)
    flow.is_active = lambda: flow.active
    return SimpleNamespace(
        conf=SimpleNamespace(broker_session_timeout=6.0), flow_control=flow, consumer_generation_id=1
    )


def claim_of(app: Any) -> Claim:
    event: Any = SimpleNamespace(message=SimpleNamespace(generation_id=1))
    return Claim(app, event)


def test_what_is_in_hand_at_a_stop_is_finished_and_nothing_is_begun(app: Any) -> None:
    in_hand, next_one = claim_of(app), claim_of(app)
    in_hand.begin()
    app.flow_control.active = False
    in_hand.require()
    with pytest.raises(Abandoned):
        next_one.begin()


def test_what_takes_too_long_at_a_stop_is_given_up(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = claim_of(app)
    claim.begin()
    app.flow_control.active = False
    monkeypatch.setattr(streams.processing, "_FINISH_S", -1.0)
    with pytest.raises(Abandoned):
        claim.require()


def test_after_a_rebalance_nothing_goes_on(app: Any) -> None:
    claim = claim_of(app)
    claim.begin()
    app.consumer_generation_id = 2
    with pytest.raises(Abandoned):
        claim.require()
