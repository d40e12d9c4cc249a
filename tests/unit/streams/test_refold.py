"""A trade correction in the log: the account folded anew, and what is told again."""

from decimal import Decimal

from msgspec.structs import replace

from portfolio import (
    CostAdjustment,
    CostTarget,
    amount,
    encode_book,
)
from tests.support.corrected import Ledger, correction
from tests.support.worker import TIME_US, fill


def test_buy_at_100_buy_at_200_and_the_first_is_cancelled() -> None:
    ledger = Ledger()
    first, second = (
        replace(fill(number), price=amount(price), quantity=amount("1"), fee=amount("0"), fee_asset="")
        for number, price in ((1, "100"), (2, "200"))
    )
    ledger.append(first)
    ledger.append(second)
    ledger.append(correction(1))
    assert (ledger.book.holdings["BTC"].quantity, ledger.book.holdings["BTC"].average_cost) == (1, 200)
    assert (ledger.book.realized, ledger.book.sequence, ledger.book.revision) == (0, 3, 1)
    assert ledger.stored == encode_book(ledger.read_whole() or ledger.book)


def test_what_is_told_again_begins_with_the_corrected_fill_and_ends_with_the_correction() -> None:
    ledger = Ledger()
    for number in range(1, 6):
        ledger.append(fill(number))
    ledger.append(correction(3))
    pages = ledger.journal[5:]
    told = [page.restatement for page in pages]
    assert [one and (one.page, one.is_last) for one in told] == [(0, False), (1, False), (2, False), (3, True)]
    assert {one and (one.first_sequence, one.previous_sequence) for one in told} == {(3, 5)}
    assert [[booked.sequence for booked in page.booked] for page in pages] == [[3], [4], [5], [6]]
    assert [booked.revision for page in pages for booked in page.booked] == [1, 1, 1, 0]
    assert pages[0].booked[0].corrected_by == "c1"
    assert {line.asset for line in pages[-1].balances} == {"BTC", "USDT", "BNB"} & {*ledger.book.holdings}
    assert pages[-1].snapshot.revision == 1
    assert [page.is_past for page in pages] == [True, True, True, False]


def test_the_first_fill_again_and_the_correction_again_change_nothing() -> None:
    ledger = Ledger()
    ledger.append(fill(1))
    ledger.append(correction(1, replace(fill(1), price=amount("1"))))
    before = ledger.book
    ledger.append(fill(1))
    ledger.append(correction(1, replace(fill(1), price=amount("1.0"))))
    assert [(update.duplicates, update.conflicts) for update in ledger.journal[-2:]] == [(1, 0), (1, 0)]
    ledger.append(correction(1))
    assert (ledger.journal[-1].duplicates, ledger.journal[-1].conflicts) == (0, 1)
    assert replace(ledger.book, position=before.position) == before
    assert ledger.stored == encode_book(ledger.read_whole() or before)


def test_a_second_correction_of_a_fill_replaces_the_first_and_may_withdraw_it() -> None:
    ledger = Ledger()
    ledger.append(fill(1), fill(2))
    untouched = ledger.book
    ledger.append(correction(1, replace(fill(1), quantity=amount("3"))))
    ledger.append(correction(1, name="c2"))
    assert ledger.book.holdings["BTC"].quantity == fill(2).quantity
    ledger.append(correction(1, fill(1), name="c3"))
    assert ledger.book.holdings == untouched.holdings
    assert (ledger.book.realized, ledger.book.net_flows) == (untouched.realized, untouched.net_flows)
    assert ledger.book.revision == 3
    assert ledger.stored == encode_book(ledger.read_whole() or untouched)


def test_a_correction_of_no_fill_is_a_warning_and_nothing_else() -> None:
    ledger = Ledger()
    ledger.append(fill(1))
    before = ledger.book
    ledger.append(correction(99))
    assert ledger.journal[-1].booked[0].warnings == (
        "trade correction c1: no fill 99 of BTCUSDT stands before it in the log",
    )
    assert ledger.book.holdings == before.holdings
    ledger.append(replace(fill(99), price=amount("7")))
    assert ledger.book.holdings["BTC"].quantity == fill(1).quantity * 2
    assert ledger.stored == encode_book(ledger.read_whole() or before)


def test_a_correction_stands_alone() -> None:
    ledger = Ledger()
    ledger.append(fill(1))
    ledger.append(fill(2), correction(1))
    ledger.append(correction(1), fill(2))
    assert all("alone" in reason for reason in ledger.rejected)
    assert len(ledger.rejected) == 2
    assert ledger.book.sequence == 1
    assert ledger.stored == encode_book(ledger.read_whole() or ledger.book)


def test_an_adjustment_that_the_corrected_history_has_no_room_for_is_left_out_by_everybody() -> None:
    ledger = Ledger()
    ledger.append(replace(fill(1), fee=Decimal(0), fee_asset=""))
    cost = CostAdjustment(
        id="a1",
        asset="BTC",
        amount=amount("5"),
        target=CostTarget.HOLDING,
        author="auditor",
        reason="invoice",
        time_us=TIME_US + 5,
    )
    ledger.append(cost)
    ledger.append(correction(1))
    assert "BTC" not in ledger.book.holdings
    assert ledger.book.sequence == 2
    ledger.append(fill(2))
    assert ledger.stored == encode_book(ledger.read_whole() or ledger.book)
