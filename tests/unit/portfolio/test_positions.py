"""Positions: the life of a holding, from zero back to zero."""

from decimal import Decimal

from portfolio import Booked, FlowKind, Outcome, Position, new_book
from tests.support.ledger import START_US, apply, buy, deposit, flow, sell


def open_position(outcome: Outcome, asset: str = "BTC") -> Position:
    position = outcome.book.holdings[asset].position
    assert position is not None
    return position


def closed_positions(booked: tuple[Booked, ...]) -> list[Position]:
    return [position for item in booked for position in item.closed]


def test_a_life() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        buy("2", "100", number=1),
        buy("2", "200", number=2),
        sell("1", "300", number=3),
        sell("3", "400", number=4),
        buy("1", "500", number=5),
    )
    (first,) = closed_positions(outcome.booked)
    assert first.id == "BTC-1"
    assert (first.open_time_us, first.close_time_us) == (START_US + 1_000_000, START_US + 4_000_000)
    assert (first.fills, first.peak_quantity, first.quantity, first.side) == (4, 4, 0, "LONG")
    assert (first.entry_price(), first.exit_price) == (150, 375)
    assert first.realized == (375 - 150) * 4
    second = open_position(outcome)
    assert (second.id, second.fills, second.realized, second.exit_price) == ("BTC-5", 1, 0, None)


def test_entry_price_is_the_average_of_the_fills_held() -> None:
    """Neither a fee nor a partial exit changes it; another buy does."""
    outcome = apply(new_book("main", "USDT"), buy("2", "100", fee="0.01 BTC"), sell("1", "300", number=2, fee="1 USDT"))
    position = open_position(outcome)
    assert position.entry_price(outcome.book.holdings["BTC"].cost) == Decimal(100)
    assert position.exit_price == Decimal(300)
    bought = apply(outcome.book, buy("0.99", "200", number=3))
    assert open_position(bought).entry_price(bought.book.holdings["BTC"].cost) == Decimal(150)


def test_below_the_dust_limit_it_closes_and_the_dust_is_kept() -> None:
    """Buy 1 BTC, pay 0.001 BTC, sell 0.9989: 0.0001 is left, which can no longer be sold. The trip is over; the dust
    is held at its cost, 0.01, and enters the next position at that cost."""
    outcome = apply(
        new_book("main", "USDT"),
        buy("1", "100", fee="0.001 BTC", dust_limit="0.0001"),
        sell("0.9989", "110", number=2, dust_limit="0.0001"),
    )
    (closed,) = closed_positions(outcome.booked)
    assert closed.quantity == Decimal("0.0001")
    assert outcome.book.holdings["BTC"].cost == Decimal("0.01")
    again = apply(outcome.book, buy("1", "120", number=3, dust_limit="0.0001"))
    position = open_position(again)
    assert (position.quantity, position.entry_quantity) == (Decimal("1.0001"), Decimal("1.0001"))
    assert position.entry_value == Decimal("120.01")


def test_dust_opens_nothing() -> None:
    outcome = apply(new_book("main", "USDT"), buy("0.0001", "100", dust_limit="0.0001"))
    assert outcome.book.holdings["BTC"].position is None


def test_selling_dust_is_no_trade_of_a_position() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        buy("0.0001", "100", dust_limit="0.0001"),
        sell("0.0001", "200", number=2, dust_limit="0.0001"),
    )
    assert closed_positions(outcome.booked) == []
    assert outcome.book.symbols["BTCUSDT"].realized == Decimal("0.01")


def test_a_raised_dust_limit_closes_what_it_now_covers() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        buy("0.5", "100", dust_limit="0.1"),
        sell("0.1", "100", number=2, dust_limit="0.4"),
    )
    assert len(closed_positions(outcome.booked)) == 1


def test_one_position_over_two_symbols() -> None:
    """Bought for USDT, sold for USDC: one position, which remembers both."""
    outcome = apply(
        new_book("main", "USDT"),
        buy("1", "100"),
        sell("1", "110", symbol="BTCUSDC", rates={"USDC": "1"}),
    )
    (closed,) = closed_positions(outcome.booked)
    assert (closed.symbol, closed.symbols, closed.realized) == ("BTCUSDT", ("BTCUSDT", "BTCUSDC"), 10)


def test_a_deposit_opens_one_and_a_withdrawal_closes_it() -> None:
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="100"),
        flow("BTC", "-1", kind=FlowKind.WITHDRAWAL, rate="130"),
    )
    (closed,) = closed_positions(outcome.booked)
    assert (closed.symbol, closed.fills, closed.realized, closed.exit_price) == ("BTCUSDT", 0, 30, 130)


def test_both_sides_of_a_cross_are_positions() -> None:
    """ETHBTC: the fill counts on ETH and on BTC; the gain on the BTC given up is the BTC position's."""
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BTC", "1", rate="100"),
        buy("5", "0.1", symbol="ETHBTC", rates={"BTC": "120"}),
    )
    bitcoin, ether = open_position(outcome), open_position(outcome, "ETH")
    assert (bitcoin.realized, bitcoin.fills, bitcoin.symbols) == (10, 1, ("BTCUSDT", "ETHBTC"))
    assert (ether.realized, ether.fills, ether.entry_value) == (0, 1, 60)


def test_cash_opens_none() -> None:
    outcome = apply(new_book("main", "USDT", ["USDC"]), deposit("USDC", "5", rate="1"), deposit("EUR", "5", rate="1.1"))
    assert outcome.book.holdings["USDC"].position is None
    assert open_position(outcome, "EUR").symbol == "EURUSDT"


def test_positions_add_up_to_what_was_realized() -> None:
    """Over assets that are all in positions, realized by position is realized by the account, fees and all."""
    outcome = apply(
        new_book("main", "USDT"),
        deposit("BNB", "5", rate="200"),
        buy("2", "100", fee="0.1 BNB", rates={"BNB": "210"}),
        buy("3", "0.5", symbol="ETHBTC", fee="0.003 ETH", rates={"BTC": "110"}),
        sell("0.5", "130", number=2, fee="0.1 BNB", rates={"BNB": "190"}),
        flow("BNB", "-1", kind=FlowKind.WITHDRAWAL, rate="220"),
    )
    still_open = [holding.position for holding in outcome.book.holdings.values() if holding.position]
    total = sum((position.realized for position in (*closed_positions(outcome.booked), *still_open)), Decimal(0))
    assert total == outcome.book.realized
