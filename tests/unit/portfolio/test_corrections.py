"""Adjustments of cost and reclassifications of flows: new events, never edits."""

from decimal import Decimal

import pytest

from portfolio import (
    CostAdjustment,
    CostTarget,
    Event,
    FlowKind,
    InvalidEvent,
    Reclassification,
    amount,
    fold,
    new_book,
)
from tests.support.ledger import START_US, apply, deposit, flow, sell


def adjustment(value: str, *, id: str = "a1", target: CostTarget = CostTarget.HOLDING) -> CostAdjustment:  # noqa: A002
    return CostAdjustment(
        id=id,
        asset="BTC",
        amount=amount(value),
        target=target,
        author="auditor",
        reason="invoice found",
        time_us=START_US,
    )


def reclassification(kind: FlowKind, *, id: str = "r1", flow_id: str = "flow-1") -> Reclassification:  # noqa: A002
    return Reclassification(id=id, flow_id=flow_id, kind=kind, author="gateway", time_us=START_US)


def test_the_true_cost_of_what_is_held() -> None:
    """Before: 1 BTC came in at the market, 60000. It had cost 20000 elsewhere. After: the cost is 20000, the paid-in
    money too, so that the gain of 40000 made before shows as unrealized."""
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="60000"), adjustment("-40000")).book
    assert book.holdings["BTC"].cost == Decimal(20000)
    assert book.net_flows == Decimal(20000)
    assert book.realized == 0
    position = book.holdings["BTC"].position
    assert position is not None
    assert position.entry_value == Decimal(20000)


def test_the_true_cost_of_what_was_sold() -> None:
    """Before: 1 BTC of unknown origin was sold for 60000 and costed at 60000. It had cost 20000. After: 40000 gain."""
    book = apply(new_book("main", "USDT"), sell("1", "60000"), adjustment("-40000", target=CostTarget.REALIZED)).book
    assert book.realized == Decimal(40000)
    assert book.net_flows == Decimal(20000)
    assert book.symbols["BTCUSDT"].realized == Decimal(40000)


def test_an_adjustment_is_no_flow_of_money() -> None:
    """The return of a period counts money that moved; a correction of the past moves none."""
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="60000"), adjustment("500")).book
    assert book.returns.inflow == Decimal(60000)


def test_a_correction_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="no BTC is held; to correct what was sold, target realized"):
        fold(new_book("main", "USDT"), [adjustment("1")])


def test_the_reporting_currency_costs_one() -> None:
    book = apply(new_book("main", "BTC"), deposit("BTC", "1")).book
    with pytest.raises(InvalidEvent, match="always costs 1"):
        fold(book, [adjustment("1")])


def test_nothing_costs_less_than_nothing() -> None:
    """An adjustment that takes away more cost than the holding has is a typing error, not a cost."""
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="60000")).book
    with pytest.raises(InvalidEvent, match="below zero"):
        fold(book, [adjustment("-60000.01")])
    assert fold(book, [adjustment("-60000")]).book.holdings["BTC"].cost == 0


@pytest.mark.parametrize(
    ("kind", "net_flows", "realized"),
    [(FlowKind.AIRDROP, 0, 300), (FlowKind.DEPOSIT, 300, 0), (FlowKind.UNCLASSIFIED, 300, 0)],
)
def test_an_unclassified_flow_gets_its_kind(kind: FlowKind, net_flows: int, realized: int) -> None:
    """Before: 1 BNB came in at 300 for no known reason, a flow. An airdrop is income; a deposit stays a flow."""
    book = apply(
        new_book("main", "USDT"),
        flow("BNB", "1", kind=FlowKind.UNCLASSIFIED, rate="300"),
        reclassification(kind),
    ).book
    assert (book.net_flows, book.realized) == (net_flows, realized)
    assert book.flows["flow-1"].kind is kind


def test_income_that_was_none() -> None:
    """A reward that turns out to be a transfer, and one paid back (negative): both ways round."""
    for quantity in ("1", "-1"):
        book = apply(
            new_book("main", "USDT"),
            deposit("BNB", "5", rate="300"),
            flow("BNB", quantity, kind=FlowKind.REWARD, rate="300"),
            reclassification(FlowKind.TRANSFER),
        ).book
        assert book.realized == 0
        assert book.net_flows == 1500 + 300 * int(quantity)


def test_a_reclassification_of_no_flow_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="no flow 'flow-1' was booked"):
        fold(new_book("main", "USDT"), [reclassification(FlowKind.REWARD)])


def test_the_same_correction_twice_is_booked_once() -> None:
    book = apply(new_book("main", "USDT"), deposit("BTC", "1", rate="60000"), adjustment("-40000.0")).book
    outcome = fold(book, [adjustment("-40000.00")])
    assert (outcome.duplicates, outcome.conflicts) == (1, ())
    assert outcome.book == book


@pytest.mark.parametrize(
    "second",
    [
        adjustment("-39999"),
        adjustment("-40000", target=CostTarget.REALIZED),
        reclassification(FlowKind.REWARD, id="a1"),
    ],
)
def test_the_same_identifier_with_other_content_is_a_conflict(second: CostAdjustment | Reclassification) -> None:
    """Dropped in silence as a duplicate, the second correction would be lost and nobody would know."""
    events: list[Event] = [deposit("BTC", "1", rate="60000", id="flow-1"), adjustment("-40000")]
    book = fold(new_book("main", "USDT"), events).book
    outcome = fold(book, [second])
    assert (outcome.duplicates, outcome.conflicts) == (0, (second,))
    assert outcome.book == book
