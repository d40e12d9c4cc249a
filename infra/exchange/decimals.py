"""Decimals as they are on Binance's wire: at most eight places, cut and never rounded up."""

from decimal import ROUND_DOWN, Decimal

ZERO = Decimal(0)
_EIGHT_PLACES = Decimal("0.00000001")


def truncate(value: Decimal) -> Decimal:
    """Cut to eight places, towards zero, as the exchange does with commissions and quote amounts."""
    return value.quantize(_EIGHT_PLACES, rounding=ROUND_DOWN)


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `value` (which is not negative)."""
    return value // step * step


def ceil_to_step(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value` (which is not negative)."""
    floor = floor_to_step(value, step)
    return floor if floor == value else floor + step


def wire(value: Decimal) -> str:
    """The number as Binance writes it: eight places, no exponent."""
    return f"{value:.8f}"


def plain(value: Decimal) -> str:
    """The number without an exponent and without trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
