"""Weights: too many are refused, and who does not stop is banned for longer and longer."""

import pytest

from infra.exchange.errors import ExchangeError
from infra.exchange.limits import OrderCounts, RequestWeights

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


def test_the_most_that_was_used_in_a_minute_is_remembered() -> None:
    weights = RequestWeights(10)
    for weight, time_us in ((4, 0), (5, 1), (3, _MINUTE_US), (2, 5 * _MINUTE_US)):
        weights.charge("here", weight, time_us)
    assert weights.view() == {"here": {"limit": 10, "most_used": 9, "refused": {}}}
    with pytest.raises(ExchangeError):
        weights.charge("here", 9, 5 * _MINUTE_US)
    assert weights.view() == {"here": {"limit": 10, "most_used": 11, "refused": {"429": 1}}}


def test_unfilled_orders_are_counted_in_intervals_of_the_clock() -> None:
    counts = OrderCounts({("SECOND", 10): 2, ("DAY", 1): 3})
    for _ in range(2):
        counts.check("me", 1, 9_000_000)
        counts.add("me", 1, 9_000_000)
    with pytest.raises(ExchangeError, match="current limit is 2 orders per 10 SECOND") as refused:
        counts.check("me", 1, 9_000_000)
    assert (refused.value.refusal.code, refused.value.status, refused.value.retry_after_s) == (-1015, 429, 1)
    counts.check("somebody else", 1, 9_000_000)
    counts.check("me", 1, 10_000_000)
    counts.add("me", 1, 10_000_000)
    with pytest.raises(ExchangeError, match="3 orders per 1 DAY"):
        counts.check("me", 1, 20_000_000)


@pytest.mark.parametrize(("is_maker", "left"), [(False, "5"), (True, "1")])
def test_an_order_that_is_filled_does_not_count(is_maker: bool, left: str) -> None:
    """Binance's examples: a first fill as a taker takes one away, as a maker five; later fills nothing."""
    counts = OrderCounts({("SECOND", 10): 100})
    counts.add("me", 6, 0)
    first = {"x": "TRADE", "l": "1", "z": "1", "m": is_maker, "E": 0}
    counts.on_events("me", [{"x": "NEW", "E": 0}, first, first | {"z": "2"}, {"e": "outboundAccountPosition"}])
    assert counts.headers("me", 0) == {"X-MBX-ORDER-COUNT-10S": left}
