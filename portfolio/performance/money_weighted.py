"""Returns on the money that was actually at work, so that the size and the time of each payment count."""

import itertools
import math
from collections.abc import Sequence
from decimal import Decimal

from portfolio.money import ZERO, exact_arithmetic
from portfolio.performance.metric import Metric, UndefinedError, metric
from portfolio.performance.returns import DAY_US, DAYS_PER_YEAR, EquityPoint

YEAR_US = DAYS_PER_YEAR * DAY_US

# Growth over the whole time is searched from e^-200 to e^200, most finely around none. Where several rates could
# solve, this many steps to each side look for every change of sign.
_EXPONENT_MAX = 200.0
_STEPS = 400
_BISECTIONS = 200


@metric
def xirr(cash_flows: Sequence[tuple[int, Decimal]]) -> float:
    """Money-weighted annual return: the rate i that solves sum(amount / (1 + i)^(days / 365)) = 0.

    It is found by bisection, which always converges. Where the signs of the flows leave room for several rates, every
    one is looked for, and if there are several, none is reported.

    Args:
        cash_flows: (epoch microseconds, amount) as the investor sees them: paid in negative, got back positive, the
            value at the end being got back. In any order.

    Source: the definition of XIRR in spreadsheets (OpenDocument 1.3 part 4, 6.12.51), with years of 365 days.
    """
    flows = _netted(cash_flows)
    if all(amount < 0 for _, amount in flows):
        raise UndefinedError("nothing came back, so no rate solves it")
    if all(amount > 0 for _, amount in flows):
        raise UndefinedError("nothing was paid in, so no rate solves it")
    first_us, span_us = flows[0][0], flows[-1][0] - flows[0][0]
    scale = max(abs(amount) for _, amount in flows)
    terms = [(float(amount) / float(scale), (time_us - first_us) / span_us) for time_us, amount in flows]
    exponent = _only_root(terms, [amount for _, amount in flows])
    return math.expm1(exponent * YEAR_US / span_us)


def money_weighted_return(points: Sequence[EquityPoint]) -> Metric:
    """XIRR of an account: the first equity is paid in, the last is got back, the flows between at their points.

    Args:
        points: Valuation points in order of time. The flows of the first belong to the time before.

    Source: as for `xirr`.
    """
    return xirr(investor_cash_flows(points))


def investor_cash_flows(points: Sequence[EquityPoint]) -> list[tuple[int, Decimal]]:
    """Return the cash flows of the one who owns the account: paid in negative, got back positive."""
    if not points:
        return []
    opening, closing = points[0], points[-1]
    with exact_arithmetic():
        between = [(point.time_us, point.outflow - point.inflow) for point in points[1:]]
    return [(opening.time_us, -opening.equity), *between, (closing.time_us, closing.equity)]


@metric
def roi_percent(total_pnl: Decimal, points: Sequence[EquityPoint]) -> float:
    """Return on the invested capital, in percent: 100 * pnl / invested capital (Modified Dietz).

    invested capital = equity_start + sum(flow * (end - time) / (end - start)), flows in positive and out negative

    An account that is empty at the start begins with its first payment, so that idle time does not thin the capital.

    Args:
        total_pnl: What was earned over the time of the points, in the reporting currency.
        points: Valuation points in order of time. The flows of the first belong to the time before.

    Source: Dietz and Kirschman, Evaluating Portfolio Performance, in Managing Investment Portfolios (1983).
    """
    # The owner pays in what is negative to him; the last flow is the closing value, which is no payment.
    payments = [(time_us, -amount) for time_us, amount in investor_cash_flows(points)[:-1]]
    funded = list(itertools.dropwhile(lambda payment: payment[1] == 0, payments))
    if not funded:
        raise UndefinedError("no capital was invested")
    end_time_us = points[-1].time_us
    length_us = end_time_us - funded[0][0]
    if length_us <= 0:
        raise UndefinedError("no time has passed since the first capital")
    with exact_arithmetic():
        capital_time = sum((amount * (end_time_us - time_us) for time_us, amount in funded), ZERO)
    if capital_time <= 0:
        raise UndefinedError("the invested capital is not positive: more was paid out than in")
    return 100 * float(total_pnl) * length_us / float(capital_time)


def _netted(cash_flows: Sequence[tuple[int, Decimal]]) -> list[tuple[int, Decimal]]:
    """Add up the flows of each moment, drop what is nothing, oldest first."""
    totals: dict[int, Decimal] = {}
    with exact_arithmetic():
        for time_us, amount in cash_flows:
            totals[time_us] = totals.get(time_us, ZERO) + amount
    flows = sorted((time_us, amount) for time_us, amount in totals.items() if amount != 0)
    if not flows:
        raise UndefinedError("there are no cash flows")
    return flows


def _present_value(terms: Sequence[tuple[float, float]], exponent: float) -> float:
    return math.fsum(amount * math.exp(-exponent * moment) for amount, moment in terms)


def _only_root(terms: Sequence[tuple[float, float]], amounts: Sequence[Decimal]) -> float:
    """Return the exponent at which the present value is zero.

    Raises:
        UndefinedError: There is none, or there are several.
    """
    brackets = [(-_EXPONENT_MAX, _EXPONENT_MAX)]
    if not _has_one_root_at_most(amounts):
        turn = math.asinh(_EXPONENT_MAX)
        grid = [math.sinh(turn * step / _STEPS) for step in range(-_STEPS, _STEPS + 1)]
        brackets = list(itertools.pairwise(grid))
    signed = [(low, high, _present_value(terms, low), _present_value(terms, high)) for low, high in brackets]
    # A root exactly on the grid belongs to the bracket above it.
    crossed = [(low, high, at_low) for low, high, at_low, at_high in signed if at_low == 0 or at_low * at_high < 0]
    if not crossed:
        raise UndefinedError("no rate solves the cash flows")
    if len(crossed) > 1:
        raise UndefinedError(f"{len(crossed)} different rates solve the cash flows")
    low, high, at_low = crossed[0]
    return low if at_low == 0 else _bisect(terms, low, high, at_low)


def _has_one_root_at_most(amounts: Sequence[Decimal]) -> bool:
    """Whether the signs leave no room for two rates.

    By Descartes' rule for sums of exponentials, there are at most as many roots as changes of sign in the amounts; and
    at most as many positive ones as in the running sums (Norstrom 1972), negative ones as in those from the end.
    """
    if _changes_of_sign(amounts) == 1:
        return True
    with exact_arithmetic():
        forward = list(itertools.accumulate(amounts))
        backward = list(itertools.accumulate(reversed(amounts)))
    at_zero = int(forward[-1] == 0)
    return at_zero + _changes_of_sign(forward) + _changes_of_sign(backward) <= 1


def _changes_of_sign(amounts: Sequence[Decimal]) -> int:
    signs = [amount > 0 for amount in amounts if amount != 0]
    return sum(before != after for before, after in itertools.pairwise(signs))


def _bisect(terms: Sequence[tuple[float, float]], low: float, high: float, at_low: float) -> float:
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if (_present_value(terms, middle) > 0) == (at_low > 0):
            low = middle
        else:
            high = middle
    return (low + high) / 2
