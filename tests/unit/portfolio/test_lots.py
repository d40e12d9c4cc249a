"""Lots: which acquisition a disposal used up, and that no method loses or makes money."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio import Event, Fill, Flow, FlowKind, Side, amount, exact_arithmetic, fold, new_book
from portfolio.lots import Gain, LotMethod, Movement, movements, realized_gains, remaining_lots


def move(time_us: int, quantity: str, price: str) -> Movement:
    size = Decimal(quantity)
    return Movement(
        time_us=time_us, asset="BTC", quantity=size, value=abs(size) * Decimal(price), symbol="BTCUSDT", kind="fill"
    )


def fill(number: int, side: Side, price: str, quantity: str, fee: str, rates: dict[str, Decimal]) -> Fill:
    paid, fee_asset = fee.split()
    return Fill(
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        side=side,
        price=amount(price),
        quantity=amount(quantity),
        fee=amount(paid),
        fee_asset=fee_asset,
        trade_id=number,
        order_id=number,
        time_us=number,
        rates=rates,
    )


def told(gains: list[Gain]) -> list[tuple[int | None, str, str, str]]:
    return [(g.acquired_time_us, str(g.quantity), str(g.cost), str(g.gain)) for g in gains]


# bought 1 at 100, 1 at 300, 1 at 200; sold 1.5 at 400
THREE_LOTS = [move(1, "1", "100"), move(2, "1", "300"), move(3, "1", "200"), move(4, "-1.5", "400")]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (LotMethod.FIFO, [(1, "1", "100", "300"), (2, "0.5", "150", "50")]),
        (LotMethod.LIFO, [(3, "1", "200", "200"), (2, "0.5", "150", "50")]),
        (LotMethod.HIFO, [(2, "1", "300", "100"), (3, "0.5", "100", "100")]),
        (LotMethod.AVERAGE, [(1, "1.5", "300", "300")]),
    ],
)
def test_each_method_uses_up_its_own_lots(method: LotMethod, expected: list[tuple[int | None, str, str, str]]) -> None:
    gains = list(realized_gains(THREE_LOTS, method))
    assert [(t, Decimal(q), Decimal(c), Decimal(g)) for t, q, c, g in told(gains)] == [
        (t, Decimal(q), Decimal(c), Decimal(g)) for t, q, c, g in expected
    ]


def test_a_disposal_beyond_every_lot_is_flagged_and_costs_nothing() -> None:
    gains = list(realized_gains([move(1, "1", "100"), move(2, "-3", "200")], LotMethod.FIFO))
    assert [(g.quantity, g.cost, g.proceeds, g.is_missing, g.acquired_time_us) for g in gains] == [
        (Decimal(1), Decimal(100), Decimal(200), False, 1),
        (Decimal(2), Decimal(0), Decimal(400), True, None),
    ]


def test_the_journal_names_what_disposed_of_a_lot() -> None:
    """A purchase with a fee in the asset, a sale with a fee in BNB, and a withdrawal."""
    rates = {"BNB": amount("300"), "BTC": amount("60000")}
    events: list[Event] = [
        fill(1, Side.BUY, "50000", "1", "0.001 BTC", rates),
        fill(2, Side.SELL, "60000", "0.4", "0.01 BNB", rates),
        Flow(id="w", asset="BTC", quantity=amount("-0.5"), kind=FlowKind.WITHDRAWAL, time_us=3, rates=rates),
    ]
    moves = list(movements(fold(new_book("main", "USDT"), events).booked, "USDT"))
    assert [(m.asset, m.kind, m.quantity) for m in moves] == [
        ("BTC", "fill", Decimal(1)),
        ("BTC", "fee", Decimal("-0.001")),
        ("BNB", "opening", Decimal("0.01")),
        ("BTC", "fill", Decimal("-0.4")),
        ("BNB", "fee", Decimal("-0.01")),
        ("BTC", "withdrawal", Decimal("-0.5")),
    ]
    gains = list(realized_gains(moves, LotMethod.FIFO))
    assert [(g.asset, g.kind, g.gain, g.is_missing) for g in gains] == [
        ("BTC", "fee", Decimal(0), False),
        ("BTC", "fill", Decimal(4000), False),
        ("BNB", "fee", Decimal(0), True),
        ("BTC", "withdrawal", Decimal(5000), False),
    ]


sizes = st.decimals("0.00000001", "1000000", places=8)
prices = st.decimals("0.00000001", "1000000", places=8)
moves_strategy = st.lists(st.tuples(st.booleans(), sizes, prices), min_size=1, max_size=30)


@given(rows=moves_strategy, method=st.sampled_from(LotMethod))
def test_no_method_loses_or_makes_money(rows: list[tuple[bool, Decimal, Decimal]], method: LotMethod) -> None:
    """What went in at cost is what came out at cost plus what is left, exactly; proceeds are shared out exactly."""
    moves = [move(time, str(q if buys else -q), str(p)) for time, (buys, q, p) in enumerate(rows)]
    gains = list(realized_gains(moves, method))
    left = remaining_lots(moves, method)
    with exact_arithmetic():
        cost_in = sum((m.value for m in moves if m.quantity > 0), Decimal(0))
        cost_out = sum((g.cost for g in gains), Decimal(0))
        cost_left = sum((lot.cost for lots in left.values() for lot in lots), Decimal(0))
        assert cost_in == cost_out + cost_left
        assert sum((g.proceeds for g in gains), Decimal(0)) == sum(
            (m.value for m in moves if m.quantity < 0), Decimal(0)
        )
        assert sum((g.quantity for g in gains), Decimal(0)) == sum(
            (-m.quantity for m in moves if m.quantity < 0), Decimal(0)
        )
        assert all(g.gain == g.proceeds - g.cost for g in gains)


def test_the_average_method_agrees_with_the_ledger() -> None:
    """Gains of the pool less fees are what the ledger realized."""
    trades = [(Side.BUY, "100", "3"), (Side.BUY, "133", "7"), (Side.SELL, "150", "4"), (Side.SELL, "90", "6")]
    fills = [fill(number, *trade, "1 USDT", {}) for number, trade in enumerate(trades, start=1)]
    outcome = fold(new_book("main", "USDT"), fills)
    gains = realized_gains(movements(outcome.booked, "USDT"), LotMethod.AVERAGE)
    with exact_arithmetic():
        assert sum((gain.gain for gain in gains), Decimal(0)) - outcome.book.fees == outcome.book.realized
