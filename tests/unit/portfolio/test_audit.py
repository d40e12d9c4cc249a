"""The chain: what it covers."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from portfolio.audit import GENESIS, chained_hash


def chain(records: list[bytes]) -> list[bytes]:
    hashes, last = [], GENESIS
    for offset, record in enumerate(records):
        last = chained_hash(last, offset, record)
        hashes.append(last)
    return hashes


def test_the_hash_is_what_the_documentation_says() -> None:
    by_hand = hashlib.sha256(b"portfolio.audit.1" + bytes(32) + (7).to_bytes(8, "big") + (2).to_bytes(8, "big") + b"{}")
    assert chained_hash(GENESIS, 7, b"{}") == by_hand.digest()


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8), st.data())
def test_any_change_shows_in_every_later_hash(records: list[bytes], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(records) - 1))
    other = data.draw(st.binary(max_size=20).filter(lambda one: one != records[place]))
    before, after = chain(records), chain([*records[:place], other, *records[place + 1 :]])
    assert before[:place] == after[:place]
    assert all(old != new for old, new in zip(before[place:], after[place:], strict=True))


@given(st.lists(st.binary(max_size=20), min_size=2, max_size=8, unique=True), st.data())
def test_an_exchange_of_two_entries_shows(records: list[bytes], data: st.DataObject) -> None:
    one = data.draw(st.integers(0, len(records) - 2))
    other = data.draw(st.integers(one + 1, len(records) - 1))
    swapped = list(records)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert chain(records)[-1] != chain(swapped)[-1]


def test_where_a_record_ends_is_part_of_it() -> None:
    assert chain([b"ab", b"c"]) != chain([b"a", b"bc"])
