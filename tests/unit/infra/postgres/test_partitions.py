import pytest

from infra.postgres.partitions import month_bounds_us, month_of

MONTHS = ["1970_01", "2024_02", "2025_12", "2026_01", "2099_12"]


@pytest.mark.parametrize("month", MONTHS)
def test_a_month_ends_where_the_next_begins(month: str) -> None:
    first_us, after_us = month_bounds_us(month)
    assert month_of(first_us) == month_of(after_us - 1) == month
    assert month_of(after_us) > month
    assert month_bounds_us(month_of(after_us))[0] == after_us


def test_a_leap_month_has_its_day() -> None:
    first_us, after_us = month_bounds_us("2024_02")
    assert after_us - first_us == 29 * 86_400_000_000
