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
from infra.exchange.matching import OrderRequest
from infra.exchange.operations import OperationRequest, Operations
from infra.exchange.operator_api import books
from infra.exchange.records import FlowKind, OrderType, Side, TimeInForce
from infra.exchange.symbols import Listing
from tests.support.exchange_world import Clock, World, small_market

_LISTING = Listing()
_MARKET = small_market()
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

    def teardown(self) -> None:
        self._journal.close()
        self._directory.cleanup()

    @initialize()
    def fund(self) -> None:
        self.world.fund(USDT="2000", BTC="3", ETH="20", BNB="0.02")

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

    @rule(choice=st.integers(0, 100))
    def cancel(self, choice: int) -> None:
        orders = list(self.world.account.open_orders.values())
        if orders:
            self.world.exchange.cancel(self.world.account, orders[choice % len(orders)], "")

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
        before = books(self.world.account)
        self._journal.close()
        self._open()
        assert books(self.world.account) == before

    def _place(self, request: OrderRequest) -> None:
        with refusals({-1013, -2010}):
            self.world.exchange.place(self.world.account, request)

    @invariant()
    def balances_are_what_trades_and_flows_add_up_to(self) -> None:
        exported: dict[str, Any] = books(self.world.account)
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for flow in exported["flows"]:
            sums[flow["asset"]] += Decimal(flow["amount"])
        for trade in exported["trades"]:
            rules = _LISTING[trade["symbol"]]
            sign = 1 if trade["side"] == "BUY" else -1
            sums[rules.base] += sign * Decimal(trade["qty"])
            sums[rules.quote] -= sign * Decimal(trade["quoteQty"])
            sums[trade["commissionAsset"]] -= Decimal(trade["commission"])
        for asset, balance in exported["balances"].items():
            assert Decimal(balance["free"]) + Decimal(balance["locked"]) == sums[asset]

    @invariant()
    def locks_are_those_of_the_open_orders_and_nothing_is_negative(self) -> None:
        locked: defaultdict[str, Decimal] = defaultdict(Decimal)
        for order in self.world.account.open_orders.values():
            rules = _LISTING[order.placed.symbol]
            locked[rules.quote if order.placed.side is Side.BUY else rules.base] += order.locked
        for asset, balance in self.world.account.balances.items():
            assert balance.locked == locked[asset]
            assert balance.free >= 0

    @invariant()
    def trade_ids_go_up(self) -> None:
        for trades in self.world.account.trades.values():
            ids = [trade.trade_id for trade in trades]
            assert ids == sorted(set(ids))


TestTrading = TradingMachine.TestCase
TestTrading.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
