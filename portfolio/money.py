"""The only place where numbers are made and where they are rounded.

Amounts, prices and rates are `Decimal`. Inside `exact_arithmetic()` sums and products never round: the context is
wide enough for the product of any three numbers that `amount` lets in, and it raises rather than lose a digit.
Costs are divided by `share` alone: what it cuts off one side stays on the other, so nothing is lost between them.
Figures derived from others (`ratio`, `derived_rate`, `chained`) are rounded, and no cost is made from a rounded cost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)

from portfolio.errors import InvalidAmount

ZERO = Decimal(0)
ONE = Decimal(1)

INTEGER_DIGITS_MAX = 24
"""Digits before the decimal point that an input may have."""

PLACES_MAX = 24
"""Digits after the decimal point that an input may have."""

COST_PLACES = 24
"""Places at which a cost is cut when a holding is divided."""

RATIO_PLACES = 18
"""Places of a derived rate, price or index."""

# Three factors of 48 digits have a product of 144; sums of a million of them have 150.
_DIGITS = 160
_COST_QUANTUM = Decimal(1).scaleb(-COST_PLACES)
_RATIO_QUANTUM = Decimal(1).scaleb(-RATIO_PLACES)
_RATE_QUANTUM = Decimal(1).scaleb(-PLACES_MAX)
_EXACT = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
_ROUNDING = Context(prec=_DIGITS, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Make sums and products of amounts exact, and a loss of digits an error (`decimal.Inexact`)."""
    with localcontext(_EXACT):
        yield


def amount(value: str | int | Decimal) -> Decimal:
    """Make an amount, a price or a rate.

    Args:
        value: A decimal literal, an integer or a `Decimal`. A float is refused: it has lost digits already.

    Returns:
        The number, unchanged in value.

    Raises:
        InvalidAmount: The value is no number, not finite, has more than 24 digits before or 24 after the point.
    """
    if isinstance(value, float | bool):
        raise InvalidAmount(f"{value!r} is not exact; write it as a string")
    if not isinstance(value, str | int | Decimal):
        raise InvalidAmount(f"{value!r} is not a decimal number")
    try:
        number = value if isinstance(value, Decimal) else Decimal(value)
    except (InvalidOperation, ValueError) as error:
        raise InvalidAmount(f"{value!r} is not a decimal number") from error
    return checked(number)


def checked(number: Decimal) -> Decimal:
    """Return `number` if it is finite and within the digits that keep arithmetic exact.

    Raises:
        InvalidAmount: It is not.
    """
    if not isinstance(number, Decimal):
        raise InvalidAmount(f"{number!r} is not a Decimal; make one with amount()")
    if not number.is_finite():
        raise InvalidAmount(f"{number} is not a finite number")
    if _fits(number):
        return number
    try:
        # Zeros at either end are no digits. In the exact context, taking any other digit away is an error.
        trimmed = number.normalize(_EXACT)
    except DecimalException:
        trimmed = number
    if not _fits(trimmed):
        raise InvalidAmount(
            f"{number:.6E} has more than {INTEGER_DIGITS_MAX} digits before or {PLACES_MAX} after the point"
        )
    return trimmed


def _fits(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return number.adjusted() < INTEGER_DIGITS_MAX and isinstance(exponent, int) and exponent >= -PLACES_MAX


def share(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the part of `total` that belongs to `part` out of `whole`, cut at `COST_PLACES`, never rounded up.

    The caller keeps `total - share(...)` for the rest: both sides add up to `total` exactly, and neither changes sign.
    """
    if part == whole:
        return total
    return _trimmed(_ROUNDING.divide(_ROUNDING.multiply(total, part), whole), _COST_QUANTUM, ROUND_DOWN)


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return the quotient, rounded half-even at `RATIO_PLACES`; for prices, rates and indexes, never for a cost."""
    return _trimmed(_ROUNDING.divide(numerator, denominator), _RATIO_QUANTUM)


def chained(index: Decimal, growth: Decimal) -> Decimal:
    """Return an index after one more period, rounded half-even at `RATIO_PLACES`."""
    return _trimmed(_ROUNDING.multiply(index, growth), _RATIO_QUANTUM)


def derived_rate(price: Decimal, rate: Decimal) -> Decimal:
    """Return the rate of an asset from its price in another asset and that asset's rate, rounded at 24 places.

    Raises:
        InvalidAmount: It has more digits before the point than a rate may have.
    """
    return checked(_trimmed(_ROUNDING.multiply(price, rate), _RATE_QUANTUM))


def _trimmed(number: Decimal, quantum: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """Cut to the quantum's places, without trailing zeros and without an exponent above zero."""
    if number.adjusted() - quantum.adjusted() >= _DIGITS:
        return number
    cut = number.quantize(quantum, rounding=rounding, context=_ROUNDING).normalize(_ROUNDING)
    exponent = cut.as_tuple().exponent
    return cut.quantize(ONE, context=_ROUNDING) if isinstance(exponent, int) and exponent > 0 else cut


def plain(number: Decimal) -> str:
    """Write a number in full, without exponent and without trailing zeros: `0.00000001`, `100`, `-2.5`."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text
