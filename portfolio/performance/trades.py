"""Statistics of closed round trips, and of how much of the capital was at work.

A round trip is a holding from zero back to zero; its pnl is what the wallet gained, fees included.
"""

import itertools
from collections.abc import Sequence
from decimal import Decimal

from portfolio.money import ZERO, exact_arithmetic
from portfolio.performance.metric import UndefinedError, metric


def _require_trades(pnls: Sequence[Decimal]) -> None:
    if not pnls:
        raise UndefinedError("there are no closed round trips")


@metric
def win_rate(pnls: Sequence[Decimal]) -> float:
    """Share of winners: count(pnl > 0) / n, over all closed round trips. Break-even is not a win.

    Source: nautilus_trader, WinRate.
    """
    _require_trades(pnls)
    return sum(pnl > 0 for pnl in pnls) / len(pnls)


@metric
def profit_factor(pnls: Sequence[Decimal]) -> float:
    """Money won for each unit lost: sum(pnl > 0) / |sum(pnl < 0)|. Zero when nothing was won.

    Source: nautilus_trader, ProfitFactor; undefined, rather than infinite, when nothing was lost.
    """
    _require_trades(pnls)
    with exact_arithmetic():
        won = sum((pnl for pnl in pnls if pnl > 0), ZERO)
        lost = -sum((pnl for pnl in pnls if pnl < 0), ZERO)
    if lost == 0:
        raise UndefinedError("no round trip lost money")
    return float(won) / float(lost)


@metric
def expectancy(pnls: Sequence[Decimal]) -> float:
    """Mean pnl of a round trip, in the reporting currency: sum(pnl) / n.

    It equals average win * win rate + average loss * loss rate. Break-even trips count in n, because they are trips.

    Source: the arithmetic mean; nautilus_trader, Expectancy, leaves break-even trips out of n.
    """
    _require_trades(pnls)
    with exact_arithmetic():
        total = sum(pnls, ZERO)
    return float(total) / len(pnls)


@metric
def exposure(times_us: Sequence[int], invested: Sequence[Decimal], equity: Sequence[Decimal]) -> float:
    """Time-weighted mean share of the equity that is not cash: sum(invested / equity * time) / sum(time).

    Args:
        times_us: When the values were taken, in order; each holds until the next.
        invested: Value of everything held but cash.
        equity: Value of everything held.

    Source: the mean of the share over time, as a sum over the stretches in which it is constant.
    """
    weighted, total_us = 0.0, 0
    for at, (time_us, next_time_us) in enumerate(itertools.pairwise(times_us)):
        length_us = next_time_us - time_us
        if length_us < 0:
            raise ValueError(f"times are not in order: {next_time_us} follows {time_us}")
        if equity[at] < 0:
            raise UndefinedError("the equity is negative")
        if equity[at] > 0:
            weighted += float(invested[at]) / float(equity[at]) * length_us
            total_us += length_us
    if total_us == 0:
        raise UndefinedError("the account held no capital for any time")
    return weighted / total_us


@metric
def turnover(bought: Decimal, sold: Decimal, average_equity: Decimal) -> float:
    """How often the capital was turned over: min(bought, sold) / average equity.

    Paying money in and buying with it once is no turnover, hence the lesser of the two.

    Source: US SEC Form N-1A, item 13, instruction 4(d): the lesser of purchases and sales over the average value.
    """
    if average_equity <= 0:
        raise UndefinedError("the average equity is not positive")
    return float(min(bought, sold)) / float(average_equity)
