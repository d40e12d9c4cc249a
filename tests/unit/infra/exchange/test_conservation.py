"""Whatever is ordered: balances are what trades and flows add up to, and a journal read again gives the same."""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from infra.exchange.errors import ExchangeError
from infra.exchange.fees import FeeSchedule
from infra.exchange.journal import Journal
from infra.exchange.ledger import Account, lock_of
from infra.exchange.matching import OrderRequest
from infra.exchange.operations import OperationRequest, Operations
from infra.exchange.operator_api import books
from infra.exchange.records import Contingency, FlowKind, OrderType, PreventionMode, Side, TimeInForce
from infra.exchange.symbols import Listing
from infra.exchange.trading import ListRequest
from tests.support.exchange_world import Clock, World, small_market

_LISTING = Listing()
_MARKET = small_market()
_accounts = st.sampled_from(("demo", "partner", "stranger"))
_sides = st.sampled_from(Side)
_symbols = st.sampled_from(("BTCUSDT", "ETHUSDT", "BNBUSDT", "ETHBTC"))


@contextmanager
def refusals(codes: set[int]) -> Iterator[None]:
    """Let the exchange refuse, but only for these reasons."""
    try:
        yield
    except ExchangeError as refused:
        if refused.refusal.code not in codes:
            raise


class TradingMachine(RuleBasedStateMachine):
    """Random orders, cancels, flows and time, with a restart now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._clock = Clock()
        self._open()

    def _open(self) -> None:
        self._journal = Journal(Path(self._directory.name))
        self.world = World(_MARKET, self._clock, self._journal, FeeSchedule())
        for name, account in self.world.exchange.ledger.accounts.items():
            account.trade_group = -1 if name == "stranger" else 1

    def teardown(self) -> None:
        self._journal.close()
        self._directory.cleanup()

    @initialize()
    def fund(self) -> None:
        self.world.fund(USDT="2000", BTC="3", ETH="20", BNB="0.02")
        for account, trade_group in (("demo", 1), ("partner", 1), ("stranger", -1)):
            self.world.exchange.open_account(account, {"USDT": Decimal(2000), "BTC": Decimal(3)}, trade_group)

    @rule(symbol=_symbols, side=_sides, lots=st.integers(1, 400_000), by_quote=st.booleans())
    def order_at_market(self, symbol: str, side: Side, lots: int, by_quote: bool) -> None:
        rules = _LISTING[symbol]
        if by_quote:
            amount = Decimal(lots) / (1_000_000 if rules.quote == "BTC" else 1_000)
            self._place(OrderRequest(symbol, side, OrderType.MARKET, quote_quantity=amount))
        else:
            self._place(OrderRequest(symbol, side, OrderType.MARKET, quantity=lots * rules.step))

    @rule(
        symbol=_symbols,
        side=_sides,
        lots=st.integers(1, 400_000),
        ticks=st.integers(-300, 300),
        time_in_force=st.sampled_from(TimeInForce),
        post_only=st.booleans(),
    )
    def order_at_a_limit(
        self, symbol: str, side: Side, lots: int, ticks: int, time_in_force: TimeInForce, post_only: bool
    ) -> None:
        rules = _LISTING[symbol]
        price = self.world.exchange.quote(symbol).bid + ticks * rules.tick
        quantity = lots * rules.step
        if post_only:
            self._place(OrderRequest(symbol, side, OrderType.LIMIT_MAKER, quantity=quantity, price=price))
        else:
            self._place(OrderRequest(symbol, side, OrderType.LIMIT, time_in_force, quantity=quantity, price=price))

    @rule(
        account=_accounts,
        side=_sides,
        lots=st.integers(10_000, 100_000),
        ticks=st.integers(-60, 160),
        prevention=st.sampled_from(PreventionMode),
        is_market=st.booleans(),
    )
    def meet(
        self, account: str, side: Side, lots: int, ticks: int, prevention: PreventionMode, is_market: bool
    ) -> None:
        """Orders of several accounts, close enough to each other to meet."""
        rules = _LISTING["BTCUSDT"]
        price = Decimal(0) if is_market else self.world.exchange.quote("BTCUSDT").bid + ticks * rules.tick
        order_type = OrderType.MARKET if is_market else OrderType.LIMIT
        self._place(
            OrderRequest("BTCUSDT", side, order_type, quantity=lots * rules.step, price=price, prevention=prevention),
            account,
        )

    @rule(
        account=_accounts,
        order_type=st.sampled_from([each for each in OrderType if each.is_contingent]),
        side=_sides,
        lots=st.integers(10_000, 100_000),
        ticks=st.integers(-300, 300),
    )
    def wait_for_a_price(self, account: str, order_type: OrderType, side: Side, lots: int, ticks: int) -> None:
        rules = _LISTING["BTCUSDT"]
        stop = self.world.exchange.last_price("BTCUSDT") + ticks * rules.tick
        price = stop if order_type.has_limit else Decimal(0)
        request = OrderRequest("BTCUSDT", side, order_type, quantity=lots * rules.step, price=price, stop_price=stop)
        self._place(request, account)

    @rule(account=_accounts, side=_sides, lots=st.integers(10_000, 100_000), follows=st.booleans(), cross=st.booleans())
    def order_a_list(self, account: str, side: Side, lots: int, follows: bool, cross: bool) -> None:
        rules, last = _LISTING["BTCUSDT"], self.world.exchange.last_price("BTCUSDT")
        sign, quantity = (1 if side is Side.SELL else -1), lots * rules.step
        profit = OrderRequest("BTCUSDT", side, OrderType.LIMIT_MAKER, quantity=quantity, price=last + 2 * sign)
        stop = OrderRequest(
            "BTCUSDT",
            side,
            OrderType.STOP_LOSS_LIMIT,
            quantity=quantity,
            price=last - 3 * sign,
            stop_price=last - sign,
        )
        other_side = Side.BUY if side is Side.SELL else Side.SELL
        at = last + (2 * sign if cross else -sign)
        first = OrderRequest("BTCUSDT", other_side, OrderType.LIMIT, quantity=quantity, price=at)
        request = (
            ListRequest(Contingency.OTO, (first, profit, stop))
            if follows
            else ListRequest(Contingency.OCO, (profit, stop))
        )
        with refusals({-1013, -2010}):
            self.world.exchange.trading.place_list(self.world.exchange.ledger.account(account), request)

    @rule(account=_accounts, choice=st.integers(0, 100))
    def cancel(self, account: str, choice: int) -> None:
        owner = self.world.exchange.ledger.account(account)
        orders = list(owner.open_orders.values())
        if orders:
            self.world.exchange.trading.cancel(owner, orders[choice % len(orders)], "")

    @rule(asset=st.sampled_from(("USDT", "BTC", "BNB")), amount=st.decimals("-1", "1", places=8))
    def move(self, asset: str, amount: Decimal) -> None:
        kind = FlowKind.DEPOSIT if amount > 0 else FlowKind.WITHDRAWAL
        with refusals({-2010}):
            self.world.exchange.move(self.world.account, asset, amount, kind)

    @rule(
        name=st.sampled_from(
            ("withdraw", "transfer", "convert", "dust", "earn/subscribe", "earn/redeem", "earn/reward")
        ),
        asset=st.sampled_from(("USDT", "BTC", "ETH")),
        amount=st.decimals("0.00000001", "1", places=8),
    )
    def operate(self, name: str, asset: str, amount: Decimal) -> None:
        request = OperationRequest("demo", asset, str(amount), to_asset="BNB", assets=(asset,))
        with refusals({-1130, -2010}):
            Operations(self.world.exchange).perform(name, request)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule()
    def restart(self) -> None:
        before = {name: books(account) for name, account in self.world.exchange.ledger.accounts.items()}
        self._journal.close()
        self._open()
        assert {name: books(account) for name, account in self.world.exchange.ledger.accounts.items()} == before

    def _place(self, request: OrderRequest, account: str = "demo") -> None:
        with refusals({-1013, -2010}):
            self.world.exchange.trading.place(self.world.exchange.ledger.account(account), request)

    @invariant()
    def balances_are_what_trades_and_flows_add_up_to(self) -> None:
        for account in self.world.exchange.ledger.accounts.values():
            self._add_up(account)

    def _add_up(self, account: Account) -> None:
        exported: dict[str, Any] = books(account)
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for flow in exported["flows"]:
            sums[flow["asset"]] += Decimal(flow["amount"])
        transfers = [each | {"commission": "0", "commissionAsset": "BNB"} for each in exported["prevented"]]
        for trade in [*exported["trades"], *(each for each in transfers if each["transferred"])]:
            rules = _LISTING[trade["symbol"]]
            sign = 1 if trade["side"] == "BUY" else -1
            sums[rules.base] += sign * Decimal(trade["qty"])
            sums[rules.quote] -= sign * Decimal(trade["quoteQty"])
            sums[trade["commissionAsset"]] -= Decimal(trade["commission"])
        for asset, balance in exported["balances"].items():
            assert Decimal(balance["free"]) + Decimal(balance["locked"]) == sums[asset]

    @invariant()
    def locks_are_those_of_the_open_orders_and_nothing_is_negative(self) -> None:
        for account in self.world.exchange.ledger.accounts.values():
            locked: defaultdict[str, Decimal] = defaultdict(Decimal)
            for order in account.open_orders.values():
                rules = _LISTING[order.placed.symbol]
                locked[rules.quote if order.placed.side is Side.BUY else rules.base] += order.locked
                if order.placed.order_list_id == -1:
                    assert order.locked == lock_of(order.placed, order.remaining)
                assert order.remaining > 0
            for asset, balance in account.balances.items():
                assert balance.locked == locked[asset]
                assert balance.free >= 0

    @invariant()
    def executions_go_up_and_are_told_apart_by_their_order(self) -> None:
        for account in self.world.exchange.ledger.accounts.values():
            for trades in account.trades.values():
                ids = [(trade.trade_id, trade.order_id) for trade in trades]
                assert [trade_id for trade_id, _ in ids] == sorted(trade_id for trade_id, _ in ids)
                assert len(ids) == len(set(ids))

    @invariant()
    def open_lists_have_open_orders(self) -> None:
        for account in self.world.exchange.ledger.accounts.values():
            for order_list_id, order_list in account.order_lists.items():
                still_open = [each for each in account.orders_of_list(order_list_id) if each.is_open]
                assert order_list.is_open == (order_list_id in account.open_lists)
                assert not order_list.is_open or still_open
                # Of a pair, two are open as long as neither was touched.
                pair = [each for each in still_open if each.executed or each.is_working]
                assert len(pair) <= 1


TestTrading = TradingMachine.TestCase
TestTrading.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
