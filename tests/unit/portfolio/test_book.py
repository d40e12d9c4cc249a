"""A book as bytes."""

import random

import pytest

from portfolio import Event, InvalidBook, decode_book, encode_book, fold, new_book
from tests.support.ledger import buy, deposit, sell


@pytest.fixture
def data() -> bytes:
    events: list[Event] = [
        deposit("USDT", "1000"),
        buy("0.01", "50000", fee="0.00001 BTC"),
        sell("0.005", "51000", number=2),
    ]
    return encode_book(fold(new_book("main", "USDT"), events).book)


def test_decoding_undoes_encoding(data: bytes) -> None:
    assert encode_book(decode_book(data)) == data


def test_an_empty_book_is_small() -> None:
    assert len(encode_book(new_book("main", "USDT", ()))) < 60


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="a byte that MessagePack never uses"),
        pytest.param(b"\x93\x01\x02\x03", id="a list"),
        pytest.param(b"\x80", id="no account"),
        pytest.param(b"\x82\xa7account\xa2\xff\xfe\xa9reporting\xa4USDT", id="a name that is not UTF-8"),
        pytest.param(b"\x81\xa1x" + b"\x91" * 200_000 + b"\xc0", id="nested 200,000 deep"),
        pytest.param(b"{}", id="JSON"),
    ],
)
def test_garbage_is_no_book(garbage: bytes) -> None:
    with pytest.raises(InvalidBook, match="not a book"):
        decode_book(garbage)


def test_every_truncation_is_noticed(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(InvalidBook):
            decode_book(data[:length])


def test_a_changed_byte_is_a_book_or_an_invalid_one_and_nothing_else(data: bytes) -> None:
    chance = random.Random(20)
    for _ in range(5_000):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode_book(bytes(changed))
        except InvalidBook:
            continue


def test_the_reporting_currency_is_cash_anyway() -> None:
    assert (
        new_book("main", "USDT").cash_assets
        == new_book("main", "USDT", ["USDT", *new_book("", "USDT").cash_assets]).cash_assets
    )
    assert not new_book("main", "EUR", ()).opens_position("EUR")
