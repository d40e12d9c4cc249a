"""What trading needs of the exchange: time, prices, books, ids, and the way on which every change goes.

Every change goes the same way: entries are made and applied one by one, since the commission of a fill depends on
the balances that the fill before it left; the transaction is journaled; then its events go out. Nothing here waits,
so a transaction is never interleaved with another.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

from infra.exchange.book import Book
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import Event
from infra.exchange.fees import FeeSchedule
from infra.exchange.generated import generate_market
from infra.exchange.journal import Journal, JournalError
from infra.exchange.ledger import EARN_PREFIX, Account, Ledger
from infra.exchange.market import Market
from infra.exchange.matching import Resting
from infra.exchange.recording import Quote
from infra.exchange.records import Entry, Order, OrderPlaced, Side, SymbolChanged, SymbolStatus, Transaction, Wiped
from infra.exchange.symbols import Listing, SymbolRules
from infra.exchange.transactions import OpenTransaction, Trade

Clock = Callable[[], int]
UserListener = Callable[[str, list[Event]], None]


class MarketListener:
    """Hears of the public market; the default hears nothing."""

    def on_quote(self, symbol: str, quote: Quote, update_id: int) -> None:
        """The best bid or ask changed."""

    def on_trade(self, trade: Trade) -> None:
        """A trade happened."""


class Venue:
    """Books, accounts and the clock.

    Args:
        market: The market.
        listing: The symbols.
        clock: Wall-clock microseconds.
        journal: Where transactions go and come from; none keeps everything in memory.
        fees: The rates of commission.
        seed: Makes the market of symbols that are listed later.

    Attributes:
        ledger: All accounts.
        user_listeners: Hear what each account is told.
        market_listener: Hears of the public market.
        clock_skew_us: How wrong the time is that the exchange tells.
        advanced_us: Up to when the market was replayed.
    """

    def __init__(
        self,
        market: Market,
        listing: Listing,
        clock: Clock,
        journal: Journal | None = None,
        fees: FeeSchedule | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.market = market
        self.listing = listing
        self.fees = fees or FeeSchedule()
        self.ledger = Ledger(listing)
        self.user_listeners: list[UserListener] = []
        self.market_listener = MarketListener()
        self.clock_skew_us = 0
        self._clock = clock
        self._journal = journal
        self._seed = seed
        if journal is not None:
            self._replay(journal)
        self.advanced_us = self.now_us()
        self._books = {symbol: self._new_book(symbol) for symbol in market.symbols}
        self._last_trade_ids = {symbol: self._first_trade_id(symbol) for symbol in market.symbols}

    def _replay(self, journal: Journal) -> None:
        for transaction in journal.read():
            for entry in transaction.entries:
                self._replay_entry(entry)

    def _replay_entry(self, entry: Entry | Wiped | SymbolChanged) -> None:
        if isinstance(entry, OrderPlaced) and entry.symbol not in self.listing.rules:
            raise JournalError(f"the state has orders of {entry.symbol}: list it too (--symbols)")
        match entry:
            case Wiped():
                self.ledger.wipe(entry)
            case SymbolChanged():
                if entry.symbol not in self.listing.rules:
                    self._make(entry.symbol)
                self.ledger.change_symbol(entry)
            case _:
                self.ledger.apply(entry)

    def _make(self, symbol: str) -> None:
        made = generate_market((symbol,), self._seed, self.market.tapes)
        self.listing.add(made.entries)
        self.market.add(made.tapes)

    def _new_book(self, symbol: str) -> Book:
        rules = self.listing[symbol]
        usual = self.market.tapes[symbol].average_top_quantity(rules.step)
        return Book(rules, self.market.quote(symbol, self._market_time_us(symbol)), usual)

    # -- what it is now

    def now_us(self) -> int:
        """The exchange's time: the wall clock, and never earlier than what already happened."""
        return max(self._clock(), self.ledger.last_time_us)

    def server_time_us(self) -> int:
        """The time that the exchange tells, and by which it judges requests: wrong after a clock jump."""
        return self.now_us() + self.clock_skew_us

    def book(self, symbol: str) -> Book:
        """The market's own quantities of a symbol."""
        return self._books[symbol]

    def quote(self, symbol: str) -> Quote:
        """The best bid and ask that orders meet now."""
        return self._books[symbol].quote

    def last_price(self, symbol: str) -> Decimal:
        """The last price of the recorded market; an account's own trades do not move it."""
        return self.market.last_price(symbol, self._market_time_us(symbol))

    def last_trade_id(self, symbol: str) -> int:
        """The id of the latest trade on the public tape."""
        return self._last_trade_ids[symbol]

    def price_in_usdt(self, asset: str) -> Decimal:
        """The price of an asset in USDT now."""
        if asset not in self.listing.assets:
            asset = asset.removeprefix(EARN_PREFIX)
        return Decimal(1) if asset == "USDT" else self.last_price(f"{asset}USDT")

    def price_in_bnb(self, asset: str) -> Decimal:
        """The price of an asset in BNB now, for commissions."""
        return self.price_in_usdt(asset) / self.price_in_usdt("BNB")

    def _market_time_us(self, symbol: str) -> int:
        """The market of a symbol that is halted stands still."""
        is_trading = self.ledger.is_trading(symbol)
        return self.advanced_us if is_trading else self.ledger.statuses[symbol].time_us

    def resting(self, symbol: str, side: Side) -> Iterator[Resting]:
        """The orders of all accounts that are on a side of a book."""
        for account in self.ledger.accounts.values():
            for order in account.open_orders.values():
                if order.placed.symbol == symbol and order.placed.side is side and order.is_working:
                    yield Resting(order, account.trade_group)

    def open_orders_of(self, symbol: str) -> list[tuple[Account, Order]]:
        """The open orders of all accounts on a symbol, on the book or waiting."""
        return [
            (account, order)
            for account in self.ledger.accounts.values()
            for order in account.open_orders.values()
            if order.placed.symbol == symbol
        ]

    # -- symbols

    def listed(self, symbol: str) -> SymbolRules:
        """The rules of a symbol; one that is unknown or delisted is refused with -1121."""
        if self.status(symbol) is SymbolStatus.DELISTED:
            raise ExchangeError(Refusal.BAD_SYMBOL)
        return self.listing[symbol]

    def status(self, symbol: str) -> SymbolStatus:
        """What a symbol does."""
        changed = self.ledger.statuses.get(symbol)
        return SymbolStatus.TRADING if changed is None else changed.status

    def symbols(self) -> list[str]:
        """Every symbol that is listed now."""
        return [symbol for symbol in self.listing.rules if self.status(symbol) is not SymbolStatus.DELISTED]

    def change_symbol(self, symbol: str, status: SymbolStatus) -> None:
        """Note that a symbol is listed, halted, delisted, or trades again; a market is made for a new one."""
        changed = SymbolChanged(symbol, status, self.now_us())
        is_new = symbol not in self.listing.rules
        if is_new:
            self._make(symbol)
        self.ledger.change_symbol(changed)
        self.record(changed)
        self._books[symbol] = self._new_book(symbol)
        if is_new:
            self._last_trade_ids[symbol] = self._first_trade_id(symbol)

    # -- transactions

    def record(self, entry: Wiped | SymbolChanged) -> None:
        """Journal what concerns no single account."""
        if self._journal is not None:
            self._journal.append(Transaction(entry.time_us, (entry,)))

    def begin(self) -> OpenTransaction:
        """Begin a change."""
        return OpenTransaction(self.ledger, self.now_us())

    def commit(self, transaction: OpenTransaction) -> None:
        """Journal a change, then tell of it."""
        if self._journal is not None:
            self._journal.append(transaction.closed())
        for account, events in transaction.events().items():
            for listener in self.user_listeners:
                listener(account, events)
        for trade in transaction.trades:
            self.market_listener.on_trade(trade)

    def next_trade_id(self, symbol: str) -> int:
        """A new id on the public tape of a symbol."""
        self._last_trade_ids[symbol] += 1
        return self._last_trade_ids[symbol]

    def skip_trade_ids(self, symbol: str, count: int) -> None:
        """Leave out the ids of trades that were not replayed."""
        self._last_trade_ids[symbol] += count

    def _first_trade_id(self, symbol: str) -> int:
        """Where the ids of this run start: above all that this or an earlier run gave.

        Other people's trades are a function of time, so their count and that of the accounts' own is above what an
        earlier run at the same speed gave; after a change of speed only the accounts' own ids are sure to be below.
        """
        counted = self.market.prints_until(symbol, self.advanced_us) + self.ledger.trade_counts[symbol]
        return max(counted, self.ledger.last_trade_ids[symbol])
