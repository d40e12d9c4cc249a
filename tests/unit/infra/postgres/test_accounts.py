from decimal import Decimal

import pytest

from infra.postgres.accounts import AccountState, after_marks, after_update
from infra.postgres.errors import JournalGap
from tests.support.journal import START_US, Journal, deposit, fill


def two_assets() -> tuple[Journal, AccountState]:
    journal = Journal()
    state = after_update(None, journal.page(deposit("d", "USDT", "100000")))
    state = after_update(state, journal.page(fill(1, "BUY", "1", "60000"), fill(2, "BUY", "1", "3000", base="ETH")))
    return journal, state


def test_a_row_and_back_is_the_same() -> None:
    _, state = two_assets()
    assert AccountState.from_row(state.row()) == state


def test_an_update_brings_the_prices_that_it_changed_and_keeps_the_live_ones() -> None:
    journal, state = two_assets()
    state = after_marks(state, journal.marked(START_US + 5, BTC="70000", ETH="4000"))
    state = after_update(state, journal.page(fill(3, "BUY", "1", "4100", base="ETH", time_us=START_US + 6)))
    assert (state.marks["BTC"], state.marks["ETH"]) == (Decimal(70000), Decimal(4100))
    assert (state.book_marks["BTC"], state.book_marks["ETH"]) == (Decimal(60000), Decimal(4100))


def test_an_update_of_the_past_moves_no_live_price() -> None:
    journal, state = two_assets()
    state = after_marks(state, journal.marked(START_US + 50, BTC="70000", ETH="4000"))
    update = journal.page(
        fill(3, "BUY", "1", "4100", base="ETH", time_us=START_US + 6),
        fill(4, "BUY", "1", "5", base="XRP", time_us=START_US + 7),
    )
    state = after_update(state, update)
    assert (state.marks["ETH"], state.marks["XRP"], state.valued_time_us) == (Decimal(4000), Decimal(5), START_US + 50)


def test_marks_that_are_not_newer_change_nothing() -> None:
    journal, state = two_assets()
    assert after_marks(state, journal.marked(state.valued_time_us, BTC="1")) is state


def test_an_update_of_duplicates_only_continues_the_journal() -> None:
    journal, state = two_assets()
    again = after_update(state, journal.page(fill(1, "BUY", "1", "60000"), fill(2, "BUY", "1", "3000", base="ETH")))
    assert (again.sequence, again.log_offset, again.duplicates) == (state.sequence, state.log_offset + 1, 2)


@pytest.mark.parametrize("skipped", [0, 1])
def test_a_missing_update_is_a_gap(skipped: int) -> None:
    journal = Journal()
    updates = [journal.page(deposit(f"d{number}", "USDT", "1")) for number in range(3)]
    state = after_update(None, updates[0]) if skipped else None
    with pytest.raises(JournalGap, match=f"event {skipped + 1} should come next"):
        after_update(state, updates[skipped + 1])


def test_duplicates_after_a_missing_update_are_a_gap() -> None:
    journal = Journal()
    state = after_update(None, journal.page(deposit("d1", "USDT", "1")))
    journal.page(deposit("d2", "USDT", "1"))
    with pytest.raises(JournalGap):
        after_update(state, journal.page(deposit("d2", "USDT", "1")))
