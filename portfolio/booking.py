"""One event being booked: the double entry, and what it does to positions.

A `Booking` changes a working copy of a book. It knows how to acquire, dispose of and consume an asset; which of these
an event needs is the ledger's affair.
"""

from decimal import Decimal

from msgspec.structs import replace

from portfolio import positions
from portfolio.book import Book, SymbolTotals
from portfolio.journal import Entry, EntryKind, Posting
from portfolio.money import ZERO, plain, share
from portfolio.positions import Holding, Position


class Booking:
    """The bookings of one event, in the order they are made."""

    def __init__(self, book: Book, *, kind: EntryKind, symbol: str, time_us: int) -> None:
        self.entries: list[Entry] = []
        self.closed: list[Position] = []
        self.warnings: list[str] = []
        self._book = book
        self._kind = kind
        self._symbol = symbol
        self._time_us = time_us
        self._postings: list[Posting] = []
        self._realized = ZERO
        self._flow = ZERO
        self._restated = ZERO
        self._fee = ZERO
        self._touched: dict[str, None] = {}

    @property
    def touched(self) -> tuple[str, ...]:
        """The assets whose holding was changed, in order."""
        return tuple(self._touched)

    def set_dust_limit(self, asset: str, dust_limit: Decimal) -> None:
        """Remember the quantity at or below which a holding of the asset counts as dust."""
        holding = self._holding(asset)
        if dust_limit and holding.dust_limit != dust_limit:
            self._book.holdings[asset] = replace(holding, dust_limit=dust_limit)
            self._touched[asset] = None

    def acquire(self, asset: str, quantity: Decimal, value: Decimal, *, position_symbol: str) -> None:
        """An asset comes in: its cost rises by the value given up for it."""
        self._post(asset, quantity, cost=value, value=value)
        holding = self._holding(asset)
        if holding.position is not None:
            position = positions.add_entry(holding.position, quantity=quantity, value=value, held=holding.quantity)
        elif self._book.opens_position(asset) and holding.quantity > holding.dust_limit:
            position = positions.open_position(
                asset=asset,
                symbol=position_symbol,
                sequence=self._book.sequence,
                time_us=self._time_us,
                holding=holding,
            )
        else:
            return
        self._book.holdings[asset] = replace(holding, position=position)

    def dispose(self, asset: str, quantity: Decimal, value: Decimal, *, position_symbol: str) -> None:
        """An asset goes out for `value`: cost leaves in proportion, the difference is realized."""
        missing = self._make_good(asset, quantity, value)
        if missing:
            self._mark_missing(asset, missing, share(value, missing, quantity), position_symbol)
        gain = self._remove(asset, quantity, value)
        holding = self._holding(asset)
        if holding.position is not None:
            position = positions.add_exit(
                holding.position, quantity=quantity, value=value, gain=gain, held=holding.quantity
            )
            self._book.holdings[asset] = replace(holding, position=position)

    def pay_fee(self, asset: str, quantity: Decimal, value: Decimal, *, borne_by: tuple[str, ...]) -> None:
        """A fee is expensed at its market value and consumes the holding it is paid from.

        The first asset of `borne_by` that is in a position bears it; the gain of the asset paid with is its own.
        """
        missing = self._make_good(asset, quantity, value)
        if missing and self._holding(asset).position is not None:
            self._mark_missing(asset, missing, share(value, missing, quantity), self._symbol)
        gain = self._remove(asset, quantity, value)
        holding = self._holding(asset)
        if holding.position is not None:
            consumed = positions.consume(holding.position, gain=gain, held=holding.quantity)
            self._book.holdings[asset] = replace(holding, position=consumed)
        for bearer in borne_by:
            bearing = self._book.holdings.get(bearer)
            if bearing is not None and bearing.position is not None:
                position = positions.bear_fee(bearing.position, value)
                self._book.holdings[bearer] = replace(bearing, position=position)
                break
        self._realized -= value
        self._fee += value

    def count_fill(self, *assets: str) -> None:
        """Count the fill on the positions of the assets traded."""
        for asset in assets:
            holding = self._book.holdings.get(asset)
            if holding is not None and holding.position is not None:
                position = positions.count_fill(holding.position, self._symbol)
                self._book.holdings[asset] = replace(holding, position=position)

    def add_flow(self, value: Decimal) -> None:
        """Money was paid in (positive) or out (negative)."""
        self._flow += value

    def add_income(self, value: Decimal) -> None:
        """Money was earned (or, negative, taken back)."""
        self._realized += value

    def restate_flow(self, value: Decimal) -> None:
        """The value of a past flow is corrected: no money moves now, so the running return takes no note."""
        self._restated += value

    def adjust_cost(self, asset: str, value: Decimal) -> None:
        """The cost basis of a holding is corrected, and its position's entry with it."""
        self._post(asset, ZERO, cost=value, value=ZERO)
        holding = self._holding(asset)
        if holding.position is not None:
            position = positions.add_entry(holding.position, quantity=ZERO, value=value, held=holding.quantity)
            self._book.holdings[asset] = replace(holding, position=position)

    def finish(self, *, value: Decimal, volume: Decimal = ZERO, fills: int = 0) -> None:
        """Write the entry, add it to the totals, close what came to its end."""
        entry = Entry(
            kind=self._kind,
            postings=tuple(self._postings),
            symbol=self._symbol,
            value=value,
            flow=self._flow + self._restated,
            realized=self._realized,
            fee=self._fee,
        )
        self._write(entry, paid=self._flow)
        self._book.realized += self._realized
        self._book.fees += self._fee
        if fills or self._realized:
            self._add_to_symbol(volume, fills)
        for asset in self._touched:
            self._settle(asset)

    def _holding(self, asset: str) -> Holding:
        return self._book.holdings.get(asset) or Holding()

    def _post(self, asset: str, quantity: Decimal, *, cost: Decimal, value: Decimal) -> None:
        holding = self._holding(asset)
        self._book.holdings[asset] = replace(holding, quantity=holding.quantity + quantity, cost=holding.cost + cost)
        self._touched[asset] = None
        self._postings.append(Posting(asset, quantity, cost, value))

    def _remove(self, asset: str, quantity: Decimal, value: Decimal) -> Decimal:
        cost = positions.cost_removed(self._holding(asset), quantity, is_reporting=asset == self._book.reporting)
        self._post(asset, -quantity, cost=-cost, value=-value)
        self._realized += value - cost
        return value - cost

    def _make_good(self, asset: str, quantity: Decimal, value: Decimal) -> Decimal:
        """Book what no event explains as an opening flow at market value, before it is disposed of."""
        holding = self._holding(asset)
        missing = quantity - holding.quantity
        if missing <= ZERO:
            return ZERO
        reporting = self._book.reporting
        missing_value = missing if asset == reporting else share(value, missing, quantity)
        self._book.holdings[asset] = replace(holding, quantity=quantity, cost=holding.cost + missing_value)
        self._touched[asset] = None
        opening = Entry(
            kind=EntryKind.OPENING,
            postings=(Posting(asset, missing, missing_value, missing_value),),
            symbol=self._symbol,
            value=missing_value,
            flow=missing_value,
        )
        self._write(opening, paid=missing_value)
        self.warnings.append(
            f"missing acquisition: {plain(missing)} {asset} went out that no event explains; "
            f"booked as an opening flow of {plain(missing_value)} {reporting}"
        )
        return missing

    def _mark_missing(self, asset: str, missing: Decimal, value: Decimal, position_symbol: str) -> None:
        holding = self._holding(asset)
        if not self._book.opens_position(asset):
            return
        if holding.position is None:
            position = positions.open_position(
                asset=asset,
                symbol=position_symbol,
                sequence=self._book.sequence,
                time_us=self._time_us,
                holding=holding,
            )
        else:
            position = positions.add_entry(holding.position, quantity=missing, value=value, held=holding.quantity)
        self._book.holdings[asset] = replace(
            holding, position=replace(position, missing_quantity=position.missing_quantity + missing)
        )

    def _write(self, entry: Entry, *, paid: Decimal) -> None:
        self.entries.append(entry)
        self._book.net_flows += entry.flow
        returns = self._book.returns
        if paid > ZERO:
            self._book.returns = replace(returns, inflow=returns.inflow + paid)
        elif paid < ZERO:
            self._book.returns = replace(returns, outflow=returns.outflow - paid)

    def _add_to_symbol(self, volume: Decimal, fills: int) -> None:
        totals = self._book.symbols.get(self._symbol) or SymbolTotals()
        self._book.symbols[self._symbol] = replace(
            totals,
            realized=totals.realized + self._realized,
            fees=totals.fees + self._fee,
            volume=totals.volume + volume,
            fills=totals.fills + fills,
        )

    def _settle(self, asset: str) -> None:
        holding = self._book.holdings[asset]
        if holding.position is not None and holding.quantity <= holding.dust_limit:
            self.closed.append(positions.close_position(holding.position, self._time_us))
            holding = replace(holding, position=None)
            self._book.holdings[asset] = holding
        if not holding.quantity and not holding.cost:
            del self._book.holdings[asset]
