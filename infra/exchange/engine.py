"""The exchange itself: orders against the market, one transaction at a time.

Every change goes the same way: entries are made and applied one by one, since the commission of a fill depends on
the balances that the fill before it left; the transaction is journaled; then its events go out. Nothing here waits,
so a transaction is never interleaved with another.
"""

import hashlib
from collections.abc import Callable
from decimal import Decimal

import msgspec

from infra.exchange.book import Book, Take
from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import Event
from infra.exchange.fees import FeeSchedule
from infra.exchange.journal import Journal, JournalError
from infra.exchange.ledger import EARN_PREFIX, Account, Ledger
from infra.exchange.market import Market, MarketEvent
from infra.exchange.matching import OrderRequest, check_funds, priority, reaches, total
from infra.exchange.recording import Print, Quote
from infra.exchange.records import (
    Flow,
    FlowKind,
    Operation,
    Order,
    OrderEnded,
    OrderPlaced,
    OrderStatus,
    OrderType,
    TimeInForce,
    Transaction,
    Wiped,
)
from infra.exchange.symbols import Listing
from infra.exchange.transactions import OpenTransaction, Trade

# A market that was not replayed for longer than this (a suspended laptop) is skipped, not caught up with.
_CATCH_UP_US = 5_000_000

_INITIAL_BALANCES = {"USDT": Decimal(25_000), "BTC": Decimal("0.05"), "BNB": Decimal(1)}

UserListener = Callable[[str, list[Event]], None]


class MarketListener:
    """Hears of the public market; the default hears nothing."""

    def on_quote(self, symbol: str, quote: Quote, update_id: int) -> None:
        """The best bid or ask changed."""

    def on_trade(self, trade: Trade) -> None:
        """A trade happened."""


class Exchange:
    """Accounts that trade on a replayed market.

    Args:
        market: The market.
        listing: The symbols.
        clock: Wall-clock microseconds.
        journal: Where transactions go and come from; none keeps everything in memory.
        fees: The rates of commission.
    """

    def __init__(
        self,
        market: Market,
        listing: Listing,
        clock: Callable[[], int],
        journal: Journal | None = None,
        fees: FeeSchedule | None = None,
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
        if journal is not None:
            self._replay(journal)
        self._advanced_us = self.now_us()
        self._books = {
            symbol: Book(
                listing[symbol],
                market.quote(symbol, self._advanced_us),
                market.tapes[symbol].average_top_quantity(listing[symbol].step),
            )
            for symbol in market.symbols
        }
        self._last_trade_ids = {symbol: self._first_trade_id(symbol) for symbol in market.symbols}

    def _replay(self, journal: Journal) -> None:
        for transaction in journal.read():
            for entry in transaction.entries:
                if isinstance(entry, OrderPlaced) and entry.symbol not in self.listing.rules:
                    raise JournalError(f"the state has orders of {entry.symbol}: list it too (--symbols)")
                if isinstance(entry, Wiped):
                    self.ledger.wipe(entry)
                else:
                    self.ledger.apply(entry)

    def now_us(self) -> int:
        """The exchange's time: the wall clock, and never earlier than what already happened."""
        return max(self._clock(), self.ledger.last_time_us)

    def server_time_us(self) -> int:
        """The time that the exchange tells, and by which it judges requests: wrong after a clock jump."""
        return self.now_us() + self.clock_skew_us

    def quote(self, symbol: str) -> Quote:
        """The best bid and ask that orders meet now."""
        return self._books[symbol].quote

    def last_price(self, symbol: str) -> Decimal:
        """The last price of the recorded market; an account's own trades do not move it."""
        return self.market.last_price(symbol, self._advanced_us)

    def last_trade_id(self, symbol: str) -> int:
        """The id of the latest trade on the public tape."""
        return self._last_trade_ids[symbol]

    def price_in_usdt(self, asset: str) -> Decimal:
        """The price of an asset in USDT now."""
        if asset not in self.listing.assets:
            asset = asset.removeprefix(EARN_PREFIX)
        return self.market.price_in_usdt(asset, self._advanced_us)

    # -- the market moves

    def advance(self) -> None:
        """Replay the market up to now: quotes change the books, trades fill resting orders."""
        now_us = self.now_us()
        if now_us - self._advanced_us > _CATCH_UP_US:
            self._skip_to(now_us - _CATCH_UP_US)
        for event in self.market.events(self._advanced_us, now_us):
            self._advanced_us = event.time_us
            if isinstance(event.item, Quote):
                self._books[event.symbol].update(event.item)
                self.market_listener.on_quote(event.symbol, event.item, event.number)
            else:
                self._on_print(event, event.item)
        self._advanced_us = now_us

    def _skip_to(self, time_us: int) -> None:
        for symbol in self.market.symbols:
            skipped = self.market.prints_until(symbol, time_us) - self.market.prints_until(symbol, self._advanced_us)
            self._last_trade_ids[symbol] += skipped
        self._advanced_us = time_us

    def _on_print(self, event: MarketEvent, print_: Print) -> None:
        left = print_.quantity
        for account, order in self._reached_orders(event.symbol, print_):
            quantity = min(left, order.remaining)
            if quantity <= ZERO:
                break
            transaction = self._begin(account)
            self._fill(transaction, order, Take(order.placed.price, quantity), is_maker=True)
            self._commit(transaction)
            left -= quantity
        trade_id = self._next_trade_id(event.symbol)
        self.market_listener.on_trade(
            Trade(event.symbol, trade_id, print_.price, print_.quantity, print_.buyer_is_maker, event.time_us)
        )

    def _reached_orders(self, symbol: str, print_: Print) -> list[tuple[Account, Order]]:
        reached = [
            (account, order)
            for account in self.ledger.accounts.values()
            for order in account.open_orders.values()
            if order.placed.symbol == symbol and reaches(print_, order.placed)
        ]
        return sorted(reached, key=lambda pair: priority(pair[1].placed))

    # -- orders

    def check(self, account: Account, request: OrderRequest) -> None:
        """Refuse a request that breaks a rule of its symbol or repeats the id of an open order.

        Raises:
            ExchangeError: -1013 with the filter, or -2010.
        """
        rules = self.listing[request.symbol]
        last_price = self.last_price(request.symbol)
        if request.quantity:
            rules.check_quantity(request.quantity, request.type)
        if request.type is not OrderType.MARKET:
            rules.check_price(request.price, request.side, last_price)
        price = request.price or last_price
        rules.check_notional(request.quote_quantity or price * request.quantity, request.type)
        on_symbol = [each for each in account.open_orders.values() if each.placed.symbol == request.symbol]
        if len(on_symbol) >= rules.maximum_open_orders:
            raise ExchangeError(Refusal.FILTER, "MAX_NUM_ORDERS")
        if request.client_order_id and account.open_order_with(request.client_order_id):
            raise ExchangeError(Refusal.DUPLICATE_ORDER)

    def place(self, account: Account, request: OrderRequest) -> Order:
        """Accept an order and match it.

        Args:
            account: Who orders.
            request: The order.

        Returns:
            The order after matching: filled, resting, or expired.

        Raises:
            ExchangeError: The order is refused; nothing changed.
        """
        self.check(account, request)
        book = self._books[request.symbol]
        takes = self._plan(book, request)
        check_funds(account, self.listing[request.symbol], request, takes)
        transaction = self._begin(account)
        order = transaction.place(self._placed(account, request, takes, transaction.time_us))
        if request.time_in_force is TimeInForce.FOK and total(takes) < request.quantity:
            transaction.end(order, OrderStatus.EXPIRED, reason="UNFILLED_FOK_ORDER_EXPIRED")
            takes = []
        for take in takes:
            self._fill(transaction, order, take, is_maker=False)
        if order.is_open and order.placed.type is OrderType.MARKET:
            transaction.end(order, OrderStatus.EXPIRED, reason="INSUFFICIENT_LIQUIDITY")
        elif order.is_open and order.placed.time_in_force is TimeInForce.IOC:
            transaction.end(order, OrderStatus.EXPIRED, reason="UNFILLED_IOC_QUANTITY_EXPIRED")
        book.take(takes)
        self._commit(transaction)
        return order

    def cancel(self, account: Account, order: Order, client_order_id: str) -> OrderEnded:
        """Take an open order off the book; `client_order_id` is that of the cancel itself."""
        transaction = self._begin(account)
        ended = transaction.end(
            order,
            OrderStatus.CANCELED,
            cancel_client_order_id=client_order_id or _client_order_id(account.name, f"cancel {order.placed.order_id}"),
        )
        self._commit(transaction)
        return ended

    def _plan(self, book: Book, request: OrderRequest) -> list[Take]:
        if request.quote_quantity:
            takes = book.plan_quote(request.side, request.quote_quantity)
            if not takes:
                raise ExchangeError(Refusal.NO_LIQUIDITY)
            return takes
        limit = None if request.type is OrderType.MARKET else request.price
        if request.type is OrderType.LIMIT_MAKER:
            if book.crosses(request.side, request.price):
                raise ExchangeError(Refusal.WOULD_MATCH)
            return []
        return book.plan_quantity(request.side, request.quantity, limit)

    def _placed(self, account: Account, request: OrderRequest, takes: list[Take], time_us: int) -> OrderPlaced:
        order_id = self.ledger.last_order_id + 1
        return OrderPlaced(
            account=account.name,
            order_id=order_id,
            client_order_id=request.client_order_id or _client_order_id(account.name, f"order {order_id}"),
            symbol=request.symbol,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            quantity=request.quantity or total(takes),
            price=request.price,
            quote_order_quantity=request.quote_quantity,
            time_us=time_us,
            strategy_id=request.strategy_id,
            strategy_type=request.strategy_type,
        )

    # -- flows

    def move(self, account: Account, asset: str, quantity: Decimal, kind: FlowKind) -> Flow:
        """Bring assets in (positive) or take them out (negative).

        Raises:
            ExchangeError: -2010, the account has less than is taken out.
        """
        if account.free(asset) + quantity < ZERO:
            raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)
        transaction = self._begin(account)
        flow = transaction.move(asset, quantity, kind, self.price_in_usdt(asset))
        self._commit(transaction)
        return flow

    def operate(
        self, account: Account, operation: Operation, movements: list[tuple[str, Decimal]]
    ) -> tuple[Operation, list[Flow]]:
        """Let an operation begin or go on, and move what it moves, all or nothing.

        Raises:
            ExchangeError: -2010, the account has less than is taken out.
        """
        for asset, quantity in movements:
            if account.free(asset) + quantity < ZERO:
                raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)
        transaction = self._begin(account)
        entry = msgspec.structs.replace(
            operation,
            operation_id=operation.operation_id or self.ledger.last_operation_id + 1,
            begin_time_us=operation.begin_time_us or transaction.time_us,
            time_us=transaction.time_us,
        )
        transaction.operate(entry)
        flows = [
            transaction.move(asset, quantity, entry.kind, self.price_in_usdt(asset), entry.operation_id)
            for asset, quantity in movements
        ]
        self._commit(transaction)
        return entry, flows

    def open_account(self, name: str) -> None:
        """Give a new account its first balances; one that has been opened keeps what it has."""
        if name not in self.ledger.accounts:
            for asset, amount in _INITIAL_BALANCES.items():
                self.move(self.ledger.account(name), asset, amount, FlowKind.INITIAL)

    def wipe(self) -> None:
        """Forget all orders, trades and flows, and start every account afresh, as the testnet does each month.

        Ids go on. Nobody is told.
        """
        names = list(self.ledger.accounts)
        wiped = Wiped(time_us=self.now_us())
        self.ledger.wipe(wiped)
        if self._journal is not None:
            self._journal.append(Transaction(wiped.time_us, (wiped,)))
        for name in names:
            self.open_account(name)

    # -- transactions

    def _begin(self, account: Account) -> OpenTransaction:
        return OpenTransaction(self.ledger, account, self.now_us())

    def _fill(self, transaction: OpenTransaction, order: Order, take: Take, *, is_maker: bool) -> None:
        quote_asset = self.listing[order.placed.symbol].quote
        price_in_bnb = self.price_in_usdt(quote_asset) / self.price_in_usdt("BNB")
        trade_id = self._next_trade_id(order.placed.symbol)
        transaction.fill(order, take, trade_id, price_in_bnb, self.fees, is_maker=is_maker)

    def _commit(self, transaction: OpenTransaction) -> None:
        if self._journal is not None:
            self._journal.append(transaction.closed())
        for listener in self.user_listeners:
            listener(transaction.account.name, transaction.events())
        for trade in transaction.trades:
            self.market_listener.on_trade(trade)

    def _first_trade_id(self, symbol: str) -> int:
        """Where the ids of this run start: above all that this or an earlier run gave.

        Other people's trades are a function of time, so their count and that of the accounts' own is above what an
        earlier run at the same speed gave; after a change of speed only the accounts' own ids are sure to be below.
        """
        counted = self.market.prints_until(symbol, self._advanced_us) + self.ledger.trade_counts[symbol]
        return max(counted, self.ledger.last_trade_ids[symbol])

    def _next_trade_id(self, symbol: str) -> int:
        self._last_trade_ids[symbol] += 1
        return self._last_trade_ids[symbol]


def _client_order_id(account: str, what: str) -> str:
    return hashlib.blake2b(f"{account} {what}".encode(), digest_size=11).hexdigest()
