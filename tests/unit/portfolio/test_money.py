"""Numbers: what is let in, what is refused, and what division leaves where."""

from decimal import Decimal, Inexact, localcontext

import pytest

from portfolio import Balance, InvalidAmount, amount, exact_arithmetic, plain
from portfolio.money import COST_PLACES, chained, ratio, share

LARGEST = "9" * 24 + "." + "9" * 24


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", Decimal("0.1")),
        ("1e8", Decimal(100_000_000)),
        ("-2.50", Decimal("-2.5")),
        (LARGEST, Decimal(LARGEST)),
        ("0." + "0" * 23 + "1", Decimal("1E-24")),
        ("1." + "0" * 500, Decimal(1)),
        ("0e-999999999", Decimal(0)),
        (7, Decimal(7)),
        (Decimal("3.0"), Decimal(3)),
    ],
)
def test_an_amount_keeps_its_value(text: str | int | Decimal, value: Decimal) -> None:
    assert amount(text) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1." + "0" * 24 + "1", id="25 places"),
        pytest.param("1." + "0" * 170 + "1", id="a last digit that 160 digits would round away"),
        pytest.param("0." + "9" * 200, id="nines that 160 digits would round up to one"),
        pytest.param("1" + "0" * 24, id="25 digits before the point"),
        pytest.param("1e999999999", id="huge exponent"),
        pytest.param("-1e999999999", id="huge exponent, negative"),
        pytest.param("1e-999999999", id="tiny exponent, not zero"),
        pytest.param("NaN", id="not a number"),
        pytest.param("sNaN", id="signalling"),
        pytest.param("Infinity", id="infinite"),
        pytest.param("", id="empty"),
        pytest.param("12,5", id="comma"),
        pytest.param("0x10", id="hexadecimal"),
        pytest.param(0.1, id="float"),
        pytest.param(True, id="bool"),
        pytest.param(None, id="nothing"),
        pytest.param([0, [5], 0], id="a list that Decimal would take for 5"),
        pytest.param((0, (5,), 0), id="a tuple that Decimal would take for 5"),
        pytest.param({}, id="object"),
    ],
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(InvalidAmount):
        amount(text)  # type: ignore[arg-type]  # wrong on purpose


def test_exact_arithmetic_would_rather_fail_than_lose_a_digit() -> None:
    with exact_arithmetic():
        largest = amount(LARGEST)
        assert largest * largest * largest / largest / largest == largest
        with pytest.raises(Inexact):
            Decimal(1) / Decimal(3)


@pytest.mark.parametrize(
    ("total", "part", "whole", "removed"),
    [
        ("10", "1", "3", "3." + "3" * 24),
        ("10", "2", "3", "6." + "6" * 24),
        ("10", "3", "3", "10"),
        ("0", "1", "3", "0"),
        ("0.0000000000000000000000007", "0.9", "1", "0"),
    ],
)
def test_share_is_cut_and_never_more_than_there_is(total: str, part: str, whole: str, removed: str) -> None:
    """Rounded up, nine tenths of 7E-25 would be 1E-24, and what is left would cost less than nothing."""
    taken = share(amount("0") + Decimal(total), amount(part), amount(whole))
    assert taken == Decimal(removed)
    assert Decimal(0) <= taken <= Decimal(total)
    assert taken.as_tuple().exponent >= -COST_PLACES  # type: ignore[operator]  # finite


def test_the_parts_of_a_share_add_up() -> None:
    with exact_arithmetic():
        left = total = amount("100")
        for sold in range(7):
            left -= share(left, amount(1), amount(7 - sold))
        assert left == 0
        assert total - share(total, amount(1), amount(7)) + share(total, amount(1), amount(7)) == total


def test_a_ratio_is_rounded_half_even_at_18_places() -> None:
    assert ratio(Decimal(2), Decimal(3)) == Decimal("0." + "6" * 17 + "7")
    assert str(ratio(Decimal(1000), Decimal(1))) == "1000"


def test_an_index_can_grow_past_every_digit() -> None:
    """A tiny account that multiplies a hundred times over must not stop the ledger."""
    index = Decimal(1)
    for _ in range(10):
        index = chained(index, amount("9" * 24))
    assert index > Decimal("1E+239")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1E+3", "1000"),
        ("1E-8", "0.00000001"),
        ("2.500", "2.5"),
        ("-0.00", "0"),
        ("0E+5", "0"),
        ("100", "100"),
        ("-2.50", "-2.5"),
        ("0.0", "0"),
    ],
)
def test_plain_writes_in_full(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def test_a_balance_is_added_up_exactly_in_any_context() -> None:
    balance = Balance(amount(LARGEST), amount("0.000000000000000000000001"))
    with localcontext() as context:
        context.prec = 5
        assert balance.total == Decimal("1" + "0" * 24)
