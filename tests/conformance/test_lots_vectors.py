"""The lot cases of the conformance file, by the project's own lot reports."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from portfolio.lots import Lot, LotMethod, Pool

VECTORS = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
}


def pool_of(method: LotMethod, lots: list[list[str]]) -> Pool:
    pool = Pool(method)
    for time_us, (quantity, price) in enumerate(lots):
        pool.add(Lot(time_us=time_us, quantity=Decimal(quantity), cost=Decimal(quantity) * Decimal(price)))
    return pool


@pytest.mark.parametrize(
    ("identifier", "method"),
    [
        ("rk-fifo-5", LotMethod.FIFO),
        ("rk-fifo-oversell", LotMethod.FIFO),
        ("rk-hifo-oversell", LotMethod.HIFO),
        ("rk-missing-none", LotMethod.FIFO),
        ("rk-missing-none", LotMethod.LIFO),
        ("rk-missing-none", LotMethod.AVERAGE),
    ],
)
def test_what_a_disposal_finds(identifier: str, method: LotMethod) -> None:
    vector: dict[str, Any] = VECTORS[identifier]
    spent = Decimal(vector["input"]["spend"])
    taken = pool_of(method, vector["input"]["lots"]).take(spent)
    found = sum((lot.quantity for lot in taken), Decimal(0))
    expected = vector["expected"]
    assert found == Decimal(expected.get("found", vector["input"]["spend"]))
    assert spent - found == Decimal(expected.get("missing", "0"))
    if "bought_cost" in expected:
        assert sum(lot.cost for lot in taken) == Decimal(expected["bought_cost"])


def test_fifo_reduces_the_oldest_lots_first() -> None:
    vector = VECTORS["rk-fifo-reduce"]
    pool = pool_of(LotMethod.FIFO, vector["input"]["lots"])
    pool.take(Decimal(vector["input"]["reduce"]))
    left = [[str(lot.quantity), str(lot.cost / lot.quantity)] for lot in pool.lots]
    assert left == vector["expected"]["remaining"]


def test_hifo_leaves_the_cheapest() -> None:
    vector = VECTORS["rk-hifo-6"]
    pool = pool_of(LotMethod.HIFO, vector["input"]["lots"])
    pool.take(Decimal(vector["input"]["spend"]))
    assert [[str(lot.quantity), str(lot.cost / lot.quantity)] for lot in pool.lots] == vector["expected"]["remaining"]
