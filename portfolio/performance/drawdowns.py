"""Drawdowns: how far the time-weighted index was below its highest value so far.

They are taken on the index, never on the equity, so that a withdrawal is no drawdown and a deposit hides none. The
index begins at 1, so a loss in the very first period counts.
"""

from collections.abc import Sequence

import msgspec

from portfolio.performance.metric import UndefinedError, metric
from portfolio.performance.returns import Returns, growth_index


class Drawdown(msgspec.Struct, frozen=True, kw_only=True):
    """One fall of the index below a peak, until it is back.

    Attributes:
        depth: Lowest value over the peak, minus 1: a negative fraction, -1 at worst.
        peak_time_us: When the index was last at the peak.
        trough_time_us: When it was lowest; the first time, if several.
        recovery_time_us: When it was back at the peak or above; None while it is not.
    """

    depth: float
    peak_time_us: int
    trough_time_us: int
    recovery_time_us: int | None


@metric
def max_drawdown(returns: Returns) -> float:
    """Deepest drawdown: min(index / running maximum of index) - 1, with the index starting at 1. Zero when none.

    Source: Magdon-Ismail and Atiya, Maximum Drawdown, Risk 17 (2004); the seed of 1 as in empyrical and
    nautilus_trader.
    """
    index = growth_index(returns)
    if index.len() == 1:
        raise UndefinedError("there are no returns")
    lowest = (index / index.cum_max()).min()
    return float(lowest) - 1 if isinstance(lowest, float) else 0.0


def drawdowns(times_us: Sequence[int], returns: Returns) -> list[Drawdown]:
    """List every drawdown in order of time.

    Args:
        times_us: When the index was at each of its values: the start, then the end of each period.
        returns: The periodic returns, one fewer than the times.

    Raises:
        ValueError: The times are not one more than the returns.
        UndefinedError: The index does not exist.
    """
    index = growth_index(returns).to_list()
    if len(times_us) != len(index):
        raise ValueError(f"{len(times_us)} times for an index of {len(index)} values; give the start as well")
    found: list[Drawdown] = []
    peak, peak_time_us = index[0], times_us[0]
    trough, trough_time_us = peak, peak_time_us

    def close(recovery_time_us: int | None) -> None:
        if trough < peak:
            found.append(
                Drawdown(
                    depth=trough / peak - 1,
                    peak_time_us=peak_time_us,
                    trough_time_us=trough_time_us,
                    recovery_time_us=recovery_time_us,
                )
            )

    for time_us, value in zip(times_us, index, strict=True):
        if value >= peak:
            close(time_us)
            peak, peak_time_us = value, time_us
            trough, trough_time_us = value, time_us
        elif value < trough:
            trough, trough_time_us = value, time_us
    close(None)
    return found
