"""Weights: too many are refused, and who does not stop is banned for longer and longer."""

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.limits import RequestWeights

_MINUTE_US = 60_000_000


def _refusal(weights: RequestWeights, now_us: int, address: str = "here") -> tuple[int, int | None]:
    with pytest.raises(ExchangeError) as refused:
        weights.charge(address, 5, now_us)
    return refused.value.status, refused.value.retry_after_s


def test_who_ignores_refusals_is_banned_each_time_for_longer() -> None:
    weights = RequestWeights(4)
    assert [_refusal(weights, 0) for _ in range(11)] == [(429, 60)] * 11
    assert _refusal(weights, 1) == (418, 120)
    assert _refusal(weights, 2 * _MINUTE_US - 1) == (418, 1)
    assert [_refusal(weights, 2 * _MINUTE_US) for _ in range(11)] == [(429, 60)] * 11
    assert _refusal(weights, 2 * _MINUTE_US) == (418, 240)


def test_who_waits_is_let_in_again_and_others_are_not_concerned() -> None:
    weights = RequestWeights(4)
    for _ in range(12):
        with pytest.raises(ExchangeError):
            weights.charge("here", 5, 0)
    weights.charge("there", 4, 0)
    assert weights.used("there", 0) == 4
    weights.charge("here", 4, 2 * _MINUTE_US)
    assert weights.used("here", 2 * _MINUTE_US) == 4
