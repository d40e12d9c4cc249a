"""Whatever a stream does to its messages, fills are let go in order of their ids, with none missing, or not at all."""

import random
from decimal import Decimal
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.binance.decoder import ReportedBalances, ReportedFill, ReportedFlow
from portfolio.events import Balance, BalanceReport, Fill, Flow, FlowKind, Side
from streams.gateway.confirmation import PATIENCE_S, Confirmation
from streams.gateway.published import Quantities

Message: TypeAlias = ReportedFill | ReportedFlow | ReportedBalances

SYNCED_US = 1_000_000_000
START = {"USDT": Decimal(1_000), "BTC": Decimal(10), "ETH": Decimal(10), "EUR": Decimal(1_000)}


def fill(
    symbol: str, trade_id: int, time_us: int, side: Side = Side.BUY, quantity: Decimal = Decimal("0.25")
) -> ReportedFill:
    event = Fill(
        time_us=time_us, symbol=symbol, base=symbol[:3], quote=symbol[3:], side=side, price=Decimal(2),
        quantity=quantity, trade_id=trade_id, order_id=trade_id,
    )  # fmt: skip
    return ReportedFill(time_us, event)


def flow(asset: str, quantity: str | Decimal, time_us: int) -> ReportedFlow:
    event = Flow(time_us=time_us, id=f"{time_us}", asset=asset, quantity=Decimal(quantity), kind=FlowKind.UNCLASSIFIED)
    return ReportedFlow(time_us, event)


def report(time_us: int, **totals: str | Decimal) -> ReportedBalances:
    balances = {asset: Balance(Decimal(total)) for asset, total in totals.items()}
    return ReportedBalances(time_us, BalanceReport(time_us=time_us, balances=balances))


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def told(messages: list[Message], clock: Clock | None = None) -> tuple[list[Message], Confirmation]:
    """What is let go of messages that come one by one."""
    confirmation = Confirmation(SYNCED_US, now=clock or Clock())
    released: list[Message] = []
    quantities = Quantities(START)
    for message in messages:
        confirmation.add(message)
        for item in confirmation.release(quantities.held):
            released.append(item)
            if not isinstance(item, ReportedBalances):
                quantities.apply(item.fill if isinstance(item, ReportedFill) else item.flow)
    return released, confirmation


FIRST, FIRST_REPORT = fill("BTCUSDT", 1, SYNCED_US + 1), report(SYNCED_US + 1, BTC="10.25", USDT="999.5")
SECOND, SECOND_REPORT = fill("BTCUSDT", 2, SYNCED_US + 2), report(SYNCED_US + 2, BTC="10.5", USDT="999")
IN_ORDER: list[Message] = [FIRST, FIRST_REPORT, SECOND, SECOND_REPORT]


def test_a_fill_waits_for_the_balances_that_follow_it() -> None:
    released, confirmation = told([FIRST])
    assert released == []
    assert confirmation.is_waiting
    assert told([FIRST, FIRST_REPORT])[0] == [FIRST, FIRST_REPORT]
    assert not told(IN_ORDER)[1].is_waiting


def test_fills_that_overtook_each_other_are_sorted() -> None:
    assert told([SECOND, FIRST, FIRST_REPORT, SECOND_REPORT])[0] == IN_ORDER
    assert told([FIRST_REPORT, FIRST, SECOND, SECOND_REPORT])[0] == IN_ORDER
    assert told([SECOND, SECOND_REPORT, FIRST])[0] == [FIRST, SECOND, SECOND_REPORT]


def test_newer_balances_stand_for_older_ones_that_come_late_or_never() -> None:
    assert told([FIRST, SECOND, SECOND_REPORT, FIRST_REPORT])[0] == [FIRST, SECOND, SECOND_REPORT]
    assert not told([FIRST, SECOND, SECOND_REPORT, FIRST_REPORT])[1].is_waiting


def test_what_was_repeated_is_let_go_once() -> None:
    assert told([FIRST, FIRST, FIRST_REPORT, FIRST_REPORT, SECOND, SECOND_REPORT])[0] == IN_ORDER


def test_a_fill_after_one_that_was_lost_is_never_let_go() -> None:
    clock = Clock()
    released, confirmation = told([FIRST_REPORT, SECOND, SECOND_REPORT], clock)
    assert released == []
    assert not confirmation.is_overdue
    clock.now_s += PATIENCE_S + 0.1
    assert confirmation.is_overdue


def test_a_lost_fill_holds_up_only_what_touches_its_assets() -> None:
    clock = Clock()
    other, after = fill("ETHEUR", 5, SYNCED_US + 3), report(SYNCED_US + 3, ETH="10.25", EUR="999.5")
    released, confirmation = told([FIRST_REPORT, other, after, SECOND, SECOND_REPORT], clock)
    assert released == [other, after]
    clock.now_s += PATIENCE_S + 0.1
    assert confirmation.is_overdue


def test_fills_of_one_moment_are_sorted_by_their_id() -> None:
    one, two = fill("BTCUSDT", 1, SYNCED_US + 1), fill("BTCUSDT", 2, SYNCED_US + 1)
    after = report(SYNCED_US + 1, BTC="10.5", USDT="999")
    assert told([two, one, after])[0] == [one, two, after]


def test_a_flow_and_the_balances_with_its_event_time_go_together() -> None:
    deposit = flow("USDT", "5", SYNCED_US + 40)
    after = ReportedBalances(SYNCED_US + 40, report(SYNCED_US + 10, USDT="1005").report)
    assert told([deposit, after])[0] == [deposit, after]


def test_balances_that_were_published_already_say_nothing_new() -> None:
    released, confirmation = told([report(SYNCED_US - 5, USDT="1"), report(SYNCED_US, BTC="3")])
    assert released == []
    assert not confirmation.is_waiting


def test_two_updates_in_one_millisecond_are_both_confirmed() -> None:
    one, two = fill("BTCUSDT", 1, SYNCED_US + 1), fill("BTCUSDT", 2, SYNCED_US + 1)
    first, second = report(SYNCED_US + 1, BTC="10.25", USDT="999.5"), report(SYNCED_US + 1, BTC="10.5", USDT="999")
    assert told([one, first, two, second])[0] == [one, first, two, second]


def history(chance: random.Random, count: int) -> list[Message]:
    """Fills and flows as an exchange reports them, each with the balances that it led to."""
    quantities = Quantities(START)
    messages: list[Message] = []
    ids = dict.fromkeys(["BTCUSDT", "ETHUSDT", "ETHEUR"], 0)
    for number in range(1, count + 1):
        time_us = SYNCED_US + number * 10
        # No sum of some powers of three is that of others: what is lost can never make up for what else is lost.
        quantity = Decimal(3) ** number / 10**8
        if chance.random() < 0.2:
            deposit = flow(chance.choice(["USDT", "BTC"]), quantity, time_us)
            quantities.apply(deposit.flow)
            messages += [deposit, report(time_us, **{deposit.flow.asset: quantities.held[deposit.flow.asset]})]
            continue
        symbol = chance.choice(sorted(ids))
        ids[symbol] += chance.randint(1, 3)
        traded = fill(symbol, ids[symbol], time_us, chance.choice(list(Side)), quantity)
        quantities.apply(traded.fill)
        totals = {asset: quantities.held[asset] for asset in (traded.fill.base, traded.fill.quote)}
        messages += [traded, report(time_us, **totals)]
    return messages


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 15))
def test_what_is_let_go_is_what_happened_in_order_and_without_a_hole(chance: random.Random, count: int) -> None:
    """Messages are lost, doubled and overtaken; what is let go of a symbol is always a beginning of what happened."""
    messages = history(chance, count)
    arrived: list[tuple[float, int, Message]] = []
    for place, message in enumerate(messages):
        for _ in range(chance.choice([0, 1, 1, 1, 1, 1, 2])):
            arrived.append((place + chance.choice([0, 0, 0, 0, 3.5]), len(arrived), message))
    released, _ = told([message for _, _, message in sorted(arrived, key=lambda entry: entry[:2])])
    for symbol in ("BTCUSDT", "ETHUSDT", "ETHEUR"):
        happened = [each for each in messages if isinstance(each, ReportedFill) and each.fill.symbol == symbol]
        let_go = [each for each in released if isinstance(each, ReportedFill) and each.fill.symbol == symbol]
        assert let_go == happened[: len(let_go)]


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 15))
def test_when_nothing_is_lost_all_is_let_go(chance: random.Random, count: int) -> None:
    messages = history(chance, count)
    arrived = sorted(enumerate(messages), key=lambda entry: (entry[0] + chance.choice([0, 0, 0, 2.5]), entry[0]))
    released, confirmation = told([message for _, message in arrived])
    assert not confirmation.is_waiting
    changes = [each for each in messages if not isinstance(each, ReportedBalances)]
    assert sorted(map(str, (each for each in released if not isinstance(each, ReportedBalances)))) == sorted(
        map(str, changes)
    )
