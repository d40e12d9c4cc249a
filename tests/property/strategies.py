"""Random lives of an account: every kind of event, in an order that an exchange could report."""

from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from portfolio import (
    Balance,
    BalanceReport,
    CostAdjustment,
    CostTarget,
    Event,
    ExecutionKind,
    Fill,
    Flow,
    FlowKind,
    Marks,
    Reclassification,
    Side,
    ValuationPoint,
)
from tests.support.ledger import START_US

ASSETS = ("BTC", "ETH", "BNB", "USDC", "USDT", "EUR")
PAIRS = (
    ("BTC", "USDT"),
    ("ETH", "USDT"),
    ("ETH", "BTC"),
    ("BNB", "BTC"),
    ("BTC", "USDC"),
    ("USDC", "USDT"),
    ("EUR", "USDT"),
)
REPORTING = ("USDT", "EUR", "BTC")

DEEP = settings(max_examples=2_000, deadline=None)
"""For the runs marked slow."""


def numbers(*, digits: int = 13, places: int = 8) -> st.SearchStrategy[Decimal]:
    """Above zero, with so many digits of which so many after the point; the small and the round are common."""
    return st.integers(1, 10**digits - 1).map(lambda number: Decimal(f"{number}E-{places}"))


everyday = numbers()
extreme = st.one_of(numbers(digits=48, places=24), numbers(digits=3, places=24), numbers(digits=24, places=0))


@st.composite
def rates(draw: st.DrawFn, reporting: str, amounts: st.SearchStrategy[Decimal]) -> dict[str, Decimal]:
    return {asset: draw(amounts) for asset in ASSETS if asset != reporting}


@st.composite
def fills(draw: st.DrawFn, reporting: str, amounts: st.SearchStrategy[Decimal]) -> Fill:
    base, quote = draw(st.sampled_from(PAIRS))
    fee_asset = draw(st.sampled_from(("", base, quote, "BNB")))
    return Fill(
        symbol=base + quote,
        base=base,
        quote=quote,
        side=draw(st.sampled_from(Side)),
        price=draw(amounts),
        quantity=draw(amounts),
        quote_quantity=draw(st.one_of(st.none(), st.none(), amounts)),
        fee=draw(amounts) if fee_asset else Decimal(0),
        fee_asset=fee_asset,
        execution=draw(st.sampled_from((ExecutionKind.TRADE, ExecutionKind.TRADE, *ExecutionKind))),
        rates=draw(rates(reporting, amounts)),
        dust_limit=draw(st.one_of(st.just(Decimal(0)), amounts)),
        trade_id=0,
        order_id=draw(st.integers(1, 3)),
        time_us=0,
    )


@st.composite
def flows(draw: st.DrawFn, reporting: str, amounts: st.SearchStrategy[Decimal]) -> Flow:
    return Flow(
        id="?",
        asset=draw(st.sampled_from(ASSETS)),
        quantity=draw(st.one_of(amounts, amounts.map(Decimal.copy_negate))),
        kind=draw(st.sampled_from(FlowKind)),
        rates=draw(rates(reporting, amounts)),
        dust_limit=draw(st.one_of(st.just(Decimal(0)), amounts)),
        time_us=0,
    )


@st.composite
def others(draw: st.DrawFn, reporting: str, amounts: st.SearchStrategy[Decimal]) -> Event:
    prices = draw(rates(reporting, amounts))
    balances = st.dictionaries(st.sampled_from(ASSETS), st.builds(Balance, amounts, amounts))
    return draw(
        st.one_of(
            st.just(Marks(rates=prices, time_us=0)),
            st.just(ValuationPoint(rates=prices, time_us=0)),
            st.builds(BalanceReport, balances=balances, complete=st.booleans(), time_us=st.just(0)),
            st.builds(
                CostAdjustment,
                id=st.just("?"),
                asset=st.sampled_from([asset for asset in ASSETS if asset != reporting]),
                amount=amounts,
                target=st.sampled_from(CostTarget),
                author=st.just("auditor"),
                reason=st.just("invoice"),
                time_us=st.just(0),
            ),
            st.builds(
                Reclassification,
                id=st.just("?"),
                flow_id=st.just("?"),
                kind=st.sampled_from(FlowKind),
                author=st.just("gateway"),
                time_us=st.just(0),
            ),
        )
    )


class History:
    """Events in order, with the identifiers and times that an exchange would have given them."""

    def __init__(self, reporting: str) -> None:
        self.reporting = reporting
        self.events: list[Event] = []
        self._flows: list[str] = []
        self._ids: dict[Any, int] = {}

    def add(self, event: Event) -> None:
        count = len(self.events) + 1
        now: dict[str, Any] = {"time_us": START_US + count * 1_000_000}
        match event:
            case Fill():
                key = (event.symbol, event.execution)
                self._ids[key] = now["trade_id"] = self._ids.get(key, 0) + 1
            case Flow():
                now["id"] = f"flow-{count}"
                self._flows.append(now["id"])
            case CostAdjustment():
                now["id"] = f"cost-{count}"
                if event.target is CostTarget.HOLDING:
                    # Given to something that is held for certain.
                    self.add(
                        Flow(
                            id="?",
                            asset=event.asset,
                            quantity=Decimal(1),
                            kind=FlowKind.DEPOSIT,
                            time_us=0,
                            rates={event.asset: Decimal(1)},
                        )
                    )
            case Reclassification():
                if not self._flows:
                    return
                now |= {"id": f"kind-{count}", "flow_id": self._flows[-1 - count % len(self._flows)]}
            case _:
                pass
        self.events.append(replace(event, **now))


@st.composite
def histories(
    draw: st.DrawFn, *, amounts: st.SearchStrategy[Decimal] = everyday, max_size: int = 12, only_fills: bool = False
) -> History:
    """A history of up to `max_size` events, in one of the reporting currencies."""
    reporting = draw(st.sampled_from(REPORTING))
    some_fill = fills(reporting, amounts)
    event = (
        some_fill
        if only_fills
        else st.one_of(some_fill, some_fill, flows(reporting, amounts), others(reporting, amounts))
    )
    history = History(reporting)
    for one in draw(st.lists(event, min_size=1, max_size=max_size)):
        history.add(one)
    return history
