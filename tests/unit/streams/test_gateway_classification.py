"""Flows are matched with rows of histories, always in the same way, and never one row twice."""

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from infra.binance.history_rows import Movement
from portfolio.events import FlowKind
from streams.gateway.classification import Unclassified, explain, match_flows

SECOND_US = 1_000_000
NOON_US = 1_700_000_000 * SECOND_US


def flow(name: str, quantity: str, at_s: float = 0, asset: str = "USDT") -> Unclassified:
    return Unclassified(name, NOON_US + int(at_s * SECOND_US), asset, Decimal(quantity))


def movement(
    name: str,
    quantity: str,
    at_s: float = 0,
    *,
    until_s: float | None = None,
    kind: FlowKind = FlowKind.DEPOSIT,
    operation: str = "",
    asset: str = "USDT",
) -> Movement:
    earliest_us = NOON_US + int(at_s * SECOND_US)
    latest_us = earliest_us if until_s is None else NOON_US + int(until_s * SECOND_US)
    return Movement(
        id=name,
        operation=operation or name,
        asset=asset,
        quantity=Decimal(quantity),
        kind=kind,
        earliest_us=earliest_us,
        latest_us=latest_us,
    )


def pairs(flows: list[Unclassified], movements: list[Movement]) -> set[tuple[str, str]]:
    return {(match.flow.id, match.movement.id) for match in match_flows(flows, movements)}


def test_asset_amount_and_sign_must_be_the_same_but_not_how_they_are_written() -> None:
    flows = [flow("a", "1.50"), flow("b", "-1.5"), flow("c", "1.5", asset="BTC"), flow("d", "1.51")]
    assert pairs(flows, [movement("row", "1.5")]) == {("a", "row")}


def test_two_equal_amounts_at_the_same_time_are_told_apart_by_their_ids() -> None:
    flows = [flow("b", "500"), flow("a", "500")]
    rows = [movement("z", "500", kind=FlowKind.AIRDROP), movement("y", "500")]
    assert pairs(flows, rows) == pairs(flows[::-1], rows[::-1]) == {("a", "y"), ("b", "z")}


def test_the_nearest_in_time_comes_before_what_is_within_an_hour() -> None:
    flows = [flow("early", "1"), flow("late", "1", 1_000)]
    assert pairs(flows, [movement("row", "1", 1_000)]) == {("late", "row")}
    assert pairs(flows, [movement("row", "1", 3_000)]) == {("early", "row")}
    assert not pairs(flows, [movement("row", "1", 9_000)])


def test_what_may_have_happened_over_days_is_found_within_them() -> None:
    pending = movement("deposit", "1", -300_000, until_s=0)
    assert pairs([flow("credited", "1", -5_000)], [pending]) == {("credited", "deposit")}


def test_one_flow_may_be_several_rows_of_one_operation_or_of_one_kind_at_once() -> None:
    parts = [movement(f"part-{number}", "0.1", operation="dust:1", kind=FlowKind.DUST) for number in range(3)]
    assert pairs([flow("sum", "0.3")], parts) == {("sum", f"part-{number}") for number in range(3)}
    rewards = [movement(name, "2", kind=FlowKind.REWARD) for name in ("r", "s")]
    assert pairs([flow("sum", "4")], rewards) == {("sum", "r"), ("sum", "s")}
    mixed = [movement("r", "2", kind=FlowKind.REWARD), movement("d", "2")]
    assert not pairs([flow("sum", "4")], mixed)


def test_a_difference_takes_only_what_no_told_flow_is() -> None:
    difference = flow("difference:1:after:USDT", "1", 3_000)
    row = movement("row", "1", 500)
    assert pairs([difference], [row]) == {(difference.id, "row")}
    assert pairs([difference, flow("told", "1", 501)], [row]) == {("told", "row")}
    # It was found at its time: what happened later is not it.
    assert not pairs([difference], [movement("row", "1", 4_000)])


def chosen(gap: str, likely: list[Movement], possible: list[Movement] | None = None) -> list[str] | None:
    found = explain(Decimal(gap), likely, possible or [])
    return None if found is None else [each.id for each in found]


def test_the_balance_decides_which_movements_touched_the_wallet() -> None:
    deposit, funding, late = movement("deposit", "5"), movement("funding", "-3", 1), movement("late", "2", -9_000)
    assert chosen("2", [deposit, funding]) == ["deposit", "funding"]
    assert chosen("5", [deposit, funding]) == ["deposit"]
    assert chosen("0", [funding]) == []
    assert chosen("7", [deposit, funding], [late]) == ["late", "deposit"]
    assert chosen("4", [deposit]) is None


def test_what_cancels_out_is_booked_all_the_same() -> None:
    assert chosen("0", [movement("in", "5"), movement("out", "-5", 1)]) == ["in", "out"]


def test_a_choice_among_thousands_is_given_up_rather_than_waited_for() -> None:
    many = [movement(str(number), "1", number) for number in range(3_000)]
    assert chosen("3000", many) is not None
    assert chosen("2999", many) is not None
    assert chosen("1500.5", many) is None


AMOUNTS = st.sampled_from(["1", "2", "3", "-1"])
TIMES = st.integers(-7_200, 7_200)
FLOWS = st.lists(st.tuples(AMOUNTS, TIMES), max_size=8).map(
    lambda rows: [flow(f"f{number}", amount, at_s) for number, (amount, at_s) in enumerate(rows)]
)
MOVEMENTS = st.lists(st.tuples(AMOUNTS, TIMES, st.sampled_from(FlowKind)), max_size=8).map(
    lambda rows: [movement(f"m{number}", amount, at_s, kind=kind) for number, (amount, at_s, kind) in enumerate(rows)]
)


@given(FLOWS, MOVEMENTS, st.randoms())
def test_each_row_is_used_once_sums_are_kept_and_order_does_not_matter(
    flows: list[Unclassified], movements: list[Movement], chance: random.Random
) -> None:
    matches = match_flows(flows, movements)
    used = [match.movement.id for match in matches]
    assert len(used) == len(set(used))
    for each in flows:
        parts = [match.movement for match in matches if match.flow == each]
        assert not parts or sum(part.quantity for part in parts) == each.quantity
        assert len({part.kind for part in parts}) <= 1
    chance.shuffle(flows)
    chance.shuffle(movements)
    assert set(match_flows(flows, movements)) == set(matches)


@given(MOVEMENTS, MOVEMENTS, st.integers(-6, 6))
def test_what_is_chosen_adds_up(likely: list[Movement], possible: list[Movement], gap: int) -> None:
    possible = [movement(f"p{each.id}", str(each.quantity)) for each in possible]
    found = explain(Decimal(gap), likely, possible)
    if found is not None:
        assert sum(each.quantity for each in found) == gap
        assert {each.id for each in found} <= {each.id for each in [*likely, *possible]}
