"""The exchange itself: a market that moves, accounts that trade on it, and what else happens to them."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from infra.exchange.decimals import ZERO
from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.fees import FeeSchedule
from infra.exchange.journal import Journal
from infra.exchange.ledger import Account
from infra.exchange.market import Market
from infra.exchange.recording import Quote
from infra.exchange.records import Flow, FlowKind, Operation, SymbolStatus, Wiped
from infra.exchange.symbols import Listing
from infra.exchange.trading import Trading
from infra.exchange.venue import Clock, Venue

# A market that was not replayed for longer than this (a suspended laptop) is skipped, not caught up with.
_CATCH_UP_US = 5_000_000

_INITIAL_BALANCES = {"USDT": Decimal(25_000), "BTC": Decimal("0.05"), "BNB": Decimal(1)}


class Exchange(Venue):
    """Accounts that trade on a replayed market.

    Args:
        market: The market.
        listing: The symbols.
        clock: Wall-clock microseconds.
        journal: Where transactions go and come from; none keeps everything in memory.
        fees: The rates of commission.
        seed: Makes the market of symbols that are listed later.
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
        super().__init__(market, listing, clock, journal, fees, seed=seed)
        self.trading = Trading(self)

    # -- the market moves

    def advance(self) -> None:
        """Replay the market up to now: quotes change the books, trades fill resting orders."""
        now_us = self.now_us()
        if now_us - self.advanced_us > _CATCH_UP_US:
            self._skip_to(now_us - _CATCH_UP_US)
        for event in self.market.events(self.advanced_us, now_us):
            self.advanced_us = event.time_us
            if not self.ledger.is_trading(event.symbol):
                continue
            if isinstance(event.item, Quote):
                self.book(event.symbol).update(event.item)
                self.market_listener.on_quote(event.symbol, event.item, event.number)
            else:
                self.trading.on_print(event, event.item)
        self.advanced_us = now_us

    def _skip_to(self, time_us: int) -> None:
        for symbol in self.market.symbols:
            skipped = self.market.prints_until(symbol, time_us) - self.market.prints_until(symbol, self.advanced_us)
            self.skip_trade_ids(symbol, skipped)
        self.advanced_us = time_us

    # -- flows

    def move(self, account: Account, asset: str, quantity: Decimal, kind: FlowKind) -> Flow:
        """Bring assets in (positive) or take them out (negative).

        Raises:
            ExchangeError: -2010, the account has less than is taken out.
        """
        if account.free(asset) + quantity < ZERO:
            raise ExchangeError(Refusal.INSUFFICIENT_BALANCE)
        transaction = self.begin()
        flow = transaction.move(account, asset, quantity, kind, price=self.price_in_usdt(asset))
        self.commit(transaction)
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
        transaction = self.begin()
        entry = msgspec.structs.replace(
            operation,
            operation_id=operation.operation_id or self.ledger.last_operation_id + 1,
            begin_time_us=operation.begin_time_us or transaction.time_us,
            time_us=transaction.time_us,
        )
        transaction.operate(entry)
        flows = [
            transaction.move(
                account, asset, quantity, entry.kind, price=self.price_in_usdt(asset), operation_id=entry.operation_id
            )
            for asset, quantity in movements
        ]
        self.commit(transaction)
        return entry, flows

    # -- accounts

    def open_account(self, name: str, balances: Mapping[str, Decimal] | None = None, trade_group: int = -1) -> Account:
        """Give a new account its first balances; one that has been opened keeps what it has.

        Args:
            name: Its name.
            balances: The first balances; none for what every account begins with.
            trade_group: Accounts of one group do not trade with each other unless they ask for it; -1 for none.
        """
        account = self.ledger.account(name)
        account.trade_group = trade_group
        if not account.flows:
            for asset, amount in (_INITIAL_BALANCES if balances is None else balances).items():
                self.move(account, asset, amount, FlowKind.INITIAL)
        return account

    def wipe(self) -> None:
        """Forget all orders, trades and flows, and start every account afresh, as the testnet does each month.

        Every account gets what it began with. Ids go on. Nobody is told.
        """
        began_with = {account.name: _first_balances(account) for account in self.ledger.accounts.values()}
        wiped = Wiped(time_us=self.now_us())
        self.ledger.wipe(wiped)
        self.record(wiped)
        for name, account in list(self.ledger.accounts.items()):
            self.open_account(name, began_with[name], account.trade_group)

    # -- symbols

    def change_symbol(self, symbol: str, status: SymbolStatus) -> None:
        """List a symbol, halt it, let it trade again, or delist it, which ends its open orders.

        A market is made for a symbol that was never listed.

        Raises:
            SymbolError: None can be made.
            ExchangeError: -1121, there is no such symbol to halt or delist.
        """
        if status is not SymbolStatus.TRADING:
            self.listed(symbol)
        if status is SymbolStatus.DELISTED:
            self.trading.expire_all(symbol)
        super().change_symbol(symbol, status)


def _first_balances(account: Account) -> dict[str, Decimal]:
    return {flow.asset: flow.quantity for flow in account.flows if flow.kind is FlowKind.INITIAL}
