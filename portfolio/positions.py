"""Positions: the life of a holding, from zero back to zero.

A position opens when the quantity of an asset rises above its dust limit and closes when it falls back to it. It is
stored inside its holding, so that positions and holdings can never disagree.
"""

from decimal import Decimal

import msgspec

from portfolio.money import ZERO, ratio, share


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One round trip in an asset. Values and prices are in the reporting currency.

    `entry_*` and `exit_*` count what was bought, sold, paid in and paid out, not what was consumed by fees.
    """

    id: str
    """Unique within the account: the asset and the sequence of the event that opened it."""
    asset: str
    symbol: str
    """The symbol that opened it; for a flow, the asset and the reporting currency."""
    symbols: tuple[str, ...]
    """Every symbol that traded it, in order of first trade."""
    open_time_us: int
    quantity: Decimal
    """What is held of the asset now; what was left as dust, once closed."""
    peak_quantity: Decimal
    entry_quantity: Decimal
    entry_value: Decimal
    exit_quantity: Decimal = ZERO
    exit_value: Decimal = ZERO
    realized: Decimal = ZERO
    """Gains taken, less the fees that the position bore."""
    fees: Decimal = ZERO
    """Fees borne, at their market value when paid; already inside `realized`."""
    fills: int = 0
    missing_quantity: Decimal = ZERO
    """Sold without an acquisition that explains it; costed at market value when it was sold."""
    close_time_us: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the position still holds more than dust."""
        return self.close_time_us is None

    @property
    def side(self) -> str:
        """`LONG`: spot never goes short."""
        return "LONG"

    def entry_price(self, cost: Decimal = ZERO) -> Decimal | None:
        """Average entry price, reporting currency a unit.

        Of what is held while it is open (`cost`, the holding's cost basis, over the quantity: the weighted average of
        the fills, which neither a fee nor a partial exit changes); of all that was entered once it is closed, so that
        (exit price - entry price) x quantity is the gain of the round trip.
        """
        if self.is_open:
            return ratio(cost, self.quantity) if self.quantity else None
        return ratio(self.entry_value, self.entry_quantity) if self.entry_quantity else None

    @property
    def exit_price(self) -> Decimal | None:
        """Average price of all exits so far, reporting currency a unit; None before the first."""
        return ratio(self.exit_value, self.exit_quantity) if self.exit_quantity else None


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an account has of one asset, what it cost, and the position it is in."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    """Cost basis: the reporting currency given up for what is held."""
    dust_limit: Decimal = ZERO
    position: Position | None = None

    @property
    def average_cost(self) -> Decimal | None:
        """Cost basis of one unit; None when nothing is held."""
        return ratio(self.cost, self.quantity) if self.quantity else None


def cost_removed(holding: Holding, quantity: Decimal, *, is_reporting: bool) -> Decimal:
    """The cost that leaves with `quantity`: in proportion (weighted average); the reporting currency costs 1."""
    return quantity if is_reporting else share(holding.cost, quantity, holding.quantity)


def open_position(*, asset: str, symbol: str, sequence: int, time_us: int, holding: Holding) -> Position:
    """Start the position of a holding that has just risen above dust; dust carried over enters at its cost."""
    return Position(
        id=f"{asset}-{sequence}",
        asset=asset,
        symbol=symbol,
        symbols=(symbol,),
        open_time_us=time_us,
        quantity=holding.quantity,
        peak_quantity=holding.quantity,
        entry_quantity=holding.quantity,
        entry_value=holding.cost,
    )


def add_entry(position: Position, *, quantity: Decimal, value: Decimal, held: Decimal) -> Position:
    """Count more of the asset coming in; `held` is the quantity of the holding after it."""
    return msgspec.structs.replace(
        position,
        quantity=held,
        peak_quantity=max(held, position.peak_quantity),
        entry_quantity=position.entry_quantity + quantity,
        entry_value=position.entry_value + value,
    )


def add_exit(position: Position, *, quantity: Decimal, value: Decimal, gain: Decimal, held: Decimal) -> Position:
    """Count some of the asset going out for `value`, with the gain over its cost."""
    return msgspec.structs.replace(
        position,
        quantity=held,
        exit_quantity=position.exit_quantity + quantity,
        exit_value=position.exit_value + value,
        realized=position.realized + gain,
    )


def consume(position: Position, *, gain: Decimal, held: Decimal) -> Position:
    """Count some of the asset paid away as a fee: no exit, but the gain over its cost is the position's."""
    return msgspec.structs.replace(position, quantity=held, realized=position.realized + gain)


def bear_fee(position: Position, fee: Decimal) -> Position:
    """Charge a fee, at its market value, to the position that was traded."""
    return msgspec.structs.replace(position, fees=position.fees + fee, realized=position.realized - fee)


def count_fill(position: Position, symbol: str) -> Position:
    """Count a fill, and the symbol that it was of."""
    symbols = position.symbols if symbol in position.symbols else (*position.symbols, symbol)
    return msgspec.structs.replace(position, fills=position.fills + 1, symbols=symbols)


def close_position(position: Position, time_us: int) -> Position:
    """End the round trip."""
    return msgspec.structs.replace(position, close_time_us=time_us)
