"""The book against a naive one that keeps every lot, in fractions, and knows nothing of how the ledger is written."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from portfolio import CostAdjustment, CostTarget, Fill, Flow, FlowKind, Side, fold, new_book, value_book
from portfolio.money import COST_PLACES
from tests.property.strategies import PAIRS, everyday
from tests.support.ledger import START_US, check_invariants

REPORTING = "USDT"
INCOME = {FlowKind.REWARD, FlowKind.AIRDROP, FlowKind.REBATE}
QUANTUM = Fraction(1, 10**COST_PLACES)


class Lots:
    """Lots of one asset. A disposal takes the same fraction of each, which is what a weighted average is."""

    def __init__(self) -> None:
        self.lots: list[tuple[Fraction, Fraction]] = []

    @property
    def quantity(self) -> Fraction:
        return sum((quantity for quantity, _ in self.lots), Fraction(0))

    @property
    def cost(self) -> Fraction:
        return sum((cost for _, cost in self.lots), Fraction(0))

    def take(self, quantity: Fraction) -> Fraction:
        """Take a quantity out of all lots; the cost that leaves."""
        before, held = self.cost, self.quantity
        left = 1 - (quantity / held if held else Fraction(1))
        self.lots = [(amount * left, cost * left) for amount, cost in self.lots if left]
        return before - self.cost


class Oracle:
    """An account, naively: exact fractions, no double entry, no positions."""

    def __init__(self) -> None:
        self.assets: dict[str, Lots] = {}
        self.flows = self.realized = self.fees = Fraction(0)

    def come_in(self, asset: str, quantity: Fraction, value: Fraction) -> None:
        self.assets.setdefault(asset, Lots()).lots.append((quantity, value))

    def go_out(self, asset: str, quantity: Fraction, value: Fraction) -> None:
        lots = self.assets.setdefault(asset, Lots())
        missing = quantity - lots.quantity
        if missing > 0:
            worth = value * missing / quantity
            lots.lots.append((missing, worth))
            self.flows += worth
        self.realized += value - lots.take(quantity)

    def trade(self, fill: Fill) -> None:
        base, quote = Fraction(fill.quantity), Fraction(fill.price) * Fraction(fill.quantity)
        value = quote * self.rate(fill, fill.quote)
        gone, come = ((fill.quote, quote), (fill.base, base))[:: 1 if fill.side is Side.BUY else -1]
        self.go_out(*gone, value)
        self.come_in(*come, value)
        if fill.fee:
            in_base = fill.fee_asset == fill.base and fill.quote == REPORTING
            paid = Fraction(fill.fee) * (Fraction(fill.price) if in_base else self.rate(fill, fill.fee_asset))
            self.go_out(fill.fee_asset, Fraction(fill.fee), paid)
            self.realized -= paid
            self.fees += paid

    @staticmethod
    def rate(event: Fill | Flow, asset: str) -> Fraction:
        return Fraction(1) if asset == REPORTING else Fraction(event.rates[asset])

    def flow(self, event: Flow) -> None:
        value = abs(Fraction(event.quantity)) * self.rate(event, event.asset)
        signed = value if event.quantity > 0 else -value
        if event.quantity > 0:
            self.come_in(event.asset, Fraction(event.quantity), value)
        else:
            self.go_out(event.asset, -Fraction(event.quantity), value)
        if event.kind in INCOME:
            self.realized += signed
        else:
            self.flows += signed


class LedgerMachine(RuleBasedStateMachine):
    """Trades, flows and corrections in any order, to both."""

    def __init__(self) -> None:
        super().__init__()
        self.book = new_book("main", REPORTING)
        self.oracle = Oracle()
        self.count = 0

    def apply(self, event: Fill | Flow | CostAdjustment) -> None:
        outcome = fold(self.book, [event])
        assert fold(outcome.book, [event]).duplicates == 1
        self.book = outcome.book

    @rule(
        pair=st.sampled_from(PAIRS),
        side=st.sampled_from(Side),
        price=everyday,
        quantity=everyday,
        fee=st.one_of(st.just(Decimal(0)), everyday),
        paid_in=st.sampled_from(("base", "quote", "BNB")),
        rates=st.fixed_dictionaries(dict.fromkeys(("BTC", "ETH", "BNB", "USDC", "EUR"), everyday)),
    )
    def trade(
        self,
        pair: tuple[str, str],
        side: Side,
        price: Decimal,
        quantity: Decimal,
        fee: Decimal,
        paid_in: str,
        rates: dict[str, Decimal],
    ) -> None:
        self.count += 1
        base, quote = pair
        fill = Fill(
            symbol=base + quote,
            base=base,
            quote=quote,
            side=side,
            price=price,
            quantity=quantity,
            fee=fee,
            fee_asset={"base": base, "quote": quote}.get(paid_in, paid_in),
            rates=rates,
            trade_id=self.count,
            order_id=self.count,
            time_us=START_US + self.count,
        )
        self.apply(fill)
        self.oracle.trade(fill)

    @rule(
        asset=st.sampled_from(("BTC", "ETH", "BNB", "USDT")),
        quantity=st.one_of(everyday, everyday.map(Decimal.copy_negate)),
        kind=st.sampled_from(FlowKind),
        rate=everyday,
    )
    def flow(self, asset: str, quantity: Decimal, kind: FlowKind, rate: Decimal) -> None:
        self.count += 1
        flow = Flow(
            id=str(self.count),
            asset=asset,
            quantity=quantity,
            kind=kind,
            rates={asset: rate},
            time_us=START_US + self.count,
        )
        self.apply(flow)
        self.oracle.flow(flow)

    @rule(asset=st.sampled_from(("BTC", "ETH")), amount=everyday, corrected=st.sampled_from(CostTarget))
    def adjust(self, asset: str, amount: Decimal, corrected: CostTarget) -> None:
        if corrected is CostTarget.HOLDING and asset not in self.book.holdings:
            return
        self.count += 1
        self.apply(
            CostAdjustment(
                id=str(self.count),
                asset=asset,
                amount=amount,
                target=corrected,
                author="auditor",
                reason="invoice",
                time_us=START_US + self.count,
            )
        )
        self.oracle.flows += Fraction(amount)
        if corrected is CostTarget.HOLDING:
            self.oracle.come_in(asset, Fraction(0), Fraction(amount))
        else:
            self.oracle.realized -= Fraction(amount)

    @rule(asset=st.sampled_from(("BTC", "ETH", "BNB")), rate=everyday, share=st.integers(1, 4))
    def withdraw_a_part(self, asset: str, rate: Decimal, share: int) -> None:
        """A fourth, a half or all of what is held: the ways down to zero that random quantities never take."""
        holding = self.book.holdings.get(asset)
        if holding is None:
            return
        quantity = holding.quantity if share == 4 else (holding.quantity * share / 4).quantize(Decimal("1E-8"))
        if quantity and quantity.adjusted() < 24:
            self.flow(asset, -quantity, FlowKind.WITHDRAWAL, rate)

    @invariant()
    def invariants_hold(self) -> None:
        check_invariants(self.book)

    @invariant()
    def quantities_and_cash_are_the_oracle_s_exactly(self) -> None:
        held = {asset: Fraction(holding.quantity) for asset, holding in self.book.holdings.items()}
        expected = {asset: lots.quantity for asset, lots in self.oracle.assets.items() if lots.quantity}
        assert {asset: quantity for asset, quantity in held.items() if quantity} == expected
        assert Fraction(self.book.fees) == self.oracle.fees

    @invariant()
    def costs_and_gains_are_the_oracle_s_but_for_what_is_cut(self) -> None:
        """Every event divides at most six times, and a cut is less than one quantum; an old one never grows."""
        bound = 6 * self.count * QUANTUM
        assert abs(Fraction(self.book.realized) - self.oracle.realized) <= bound
        assert abs(Fraction(self.book.net_flows) - self.oracle.flows) <= bound
        for asset, lots in self.oracle.assets.items():
            holding = self.book.holdings.get(asset)
            assert abs((Fraction(holding.cost) if holding else 0) - lots.cost) <= bound
        marks = {asset: Decimal("3.7") for asset in self.book.holdings}
        value = value_book(self.book, marks)
        worth = sum(
            (lots.quantity * (1 if asset == REPORTING else Fraction(marks[asset])))
            for asset, lots in self.oracle.assets.items()
            if lots.quantity
        )
        assert Fraction(value.equity) == worth


class DeepLedgerMachine(LedgerMachine):
    """The same, for longer."""


LedgerMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
DeepLedgerMachine.TestCase.settings = settings(max_examples=400, stateful_step_count=80, deadline=None)

TestLedgerMachine = LedgerMachine.TestCase
TestDeepLedgerMachine = pytest.mark.slow(DeepLedgerMachine.TestCase)
