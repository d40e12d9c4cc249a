from decimal import Decimal

from infra.postgres.performance import merge_points
from portfolio.performance import EquityPoint


def point(time_us: int, equity: str, inflow: str = "0", outflow: str = "0") -> EquityPoint:
    return EquityPoint(time_us=time_us, equity=Decimal(equity), inflow=Decimal(inflow), outflow=Decimal(outflow))


def test_one_curve_stays_as_it_is() -> None:
    curve = [point(1, "10"), point(2, "11")]
    assert merge_points([curve]) == curve


def test_curves_are_added_up_with_the_last_equity_of_each() -> None:
    first = [point(1, "0"), point(1, "100", inflow="100"), point(5, "110")]
    second = [point(3, "0"), point(3, "50", inflow="50"), point(5, "40", outflow="12")]
    assert merge_points([first, second]) == [
        point(1, "100", inflow="100"),
        point(3, "150", inflow="50"),
        point(5, "150", outflow="12"),
    ]


def test_no_account_has_no_curve() -> None:
    assert merge_points([]) == []
