"""The budget of request weight against an exchange that counts in minutes of its own, in virtual time."""

import asyncio
import random
from collections import Counter

import pytest

from infra.binance.budget import BACKFILL_SHARE, Priority, WeightBudget
from tests.support.virtual_time import run_in_virtual_time

LIMIT = 600


def now_s() -> float:
    return asyncio.get_running_loop().time()


class CountingExchange:
    """Counts weights by minutes of a clock that is ahead of the client's by some phase."""

    def __init__(self, phase_s: float, seed: int = 0) -> None:
        self.minutes: Counter[int] = Counter()
        self._phase_s = phase_s
        self._chance = random.Random(seed)

    def minute_left_s(self) -> float:
        return 60 - (now_s() + self._phase_s) % 60

    def count(self, weight: int) -> int:
        minute = int((now_s() + self._phase_s) // 60)
        self.minutes[minute] += weight
        return self.minutes[minute]

    async def answer(self, weight: int) -> int:
        await asyncio.sleep(self._chance.uniform(0.01, 0.3))
        used = self.count(weight)
        await asyncio.sleep(self._chance.choice([0.01, 0.05, 2.0]))
        return used


async def request(budget: WeightBudget, exchange: CountingExchange, weight: int, priority: Priority) -> None:
    async with budget.hold(weight, priority) as held:
        budget.learn(held, await exchange.answer(weight))


@pytest.mark.parametrize("phase_s", [0.0, 17.3, 59.9])
@pytest.mark.parametrize("is_clock_known", [True, False])
def test_no_minute_of_the_exchange_holds_more_than_the_limit(phase_s: float, is_clock_known: bool) -> None:
    async def run() -> Counter[int]:
        exchange = CountingExchange(phase_s)
        minute_left_s = exchange.minute_left_s if is_clock_known else lambda: 60.0
        budget = WeightBudget(LIMIT, now=now_s, minute_left_s=minute_left_s)
        end_s = now_s() + 300
        chance = random.Random(1)

        async def work(weight: int, priority: Priority) -> None:
            while now_s() < end_s:
                await request(budget, exchange, weight, priority)
                await asyncio.sleep(chance.choice([0, 0, 3]))

        await asyncio.gather(*(work(20, Priority.BACKFILL) for _ in range(4)), work(1, Priority.LIVE))
        return exchange.minutes

    minutes = run_in_virtual_time(run())
    assert max(minutes.values()) <= LIMIT
    # It is used, too: over five minutes more than six tenths of what history may have.
    assert sum(minutes.values()) > 5 * LIMIT * BACKFILL_SHARE * 0.6


def test_what_is_live_waits_for_no_history() -> None:
    async def run() -> float:
        exchange = CountingExchange(0)
        budget = WeightBudget(LIMIT, now=now_s, minute_left_s=exchange.minute_left_s)
        history = [asyncio.create_task(request(budget, exchange, 20, Priority.BACKFILL)) for _ in range(100)]
        await asyncio.sleep(20)
        assert sum(not task.done() for task in history) == 100 - LIMIT * BACKFILL_SHARE / 20
        started_s = now_s()
        async with budget.hold(20):
            waited_s = now_s() - started_s
        for task in history:
            task.cancel()
        await asyncio.gather(*history, return_exceptions=True)
        return waited_s

    assert run_in_virtual_time(run()) == 0


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_what_others_use_is_left_to_them(share: float) -> None:
    """Another process behind the same address: the exchange tells how much that was."""

    async def run() -> tuple[int, int]:
        exchange = CountingExchange(0)
        budget = WeightBudget(LIMIT, share=share, now=now_s, minute_left_s=exchange.minute_left_s)
        await asyncio.sleep(60 - now_s() % 60 + 5)
        exchange.count(500)
        sent = 0

        async def work() -> None:
            nonlocal sent
            while True:
                async with budget.hold(20) as held:
                    budget.learn(held, exchange.count(20))
                    sent += 20

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), 30)
        return sent, max(exchange.minutes.values())

    assert run_in_virtual_time(run()) == (100, LIMIT)


def test_a_share_is_kept_from_the_start() -> None:
    async def run() -> int:
        budget = WeightBudget(LIMIT, share=0.5, now=now_s)
        sent = 0

        async def work() -> None:
            nonlocal sent
            while True:
                async with budget.hold(7):
                    sent += 7

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work(), 59)
        return sent

    assert run_in_virtual_time(run()) == 294


def test_nobody_sends_while_the_address_is_refused() -> None:
    async def run() -> list[float]:
        budget = WeightBudget(LIMIT, now=now_s)
        started_s = now_s()
        budget.block(120)
        budget.block(5)

        async def one() -> float:
            async with budget.hold(1):
                return now_s() - started_s

        return [*await asyncio.gather(one(), one())]

    assert run_in_virtual_time(run()) == [120, 120]


def test_small_requests_do_not_pass_a_large_one_that_waits() -> None:
    async def run() -> list[int]:
        budget = WeightBudget(100, now=now_s)
        order: list[int] = []

        async def one(weight: int) -> None:
            async with budget.hold(weight):
                order.append(weight)

        async with budget.hold(90):
            pass
        large = asyncio.create_task(one(50))
        await asyncio.sleep(1)
        small = asyncio.create_task(one(1))
        await asyncio.gather(large, small)
        return order

    assert run_in_virtual_time(run()) == [50, 1]


def test_a_request_that_nobody_waits_for_any_more_lets_the_next_one_go() -> None:
    async def run() -> None:
        budget = WeightBudget(100, now=now_s)
        async with budget.hold(90):
            pass
        given_up = asyncio.create_task(budget.hold(50).__aenter__())
        await asyncio.sleep(1)
        given_up.cancel()
        async with asyncio.timeout(1), budget.hold(5):
            assert budget.spent() == 95

    run_in_virtual_time(run())


def test_a_limit_that_shrinks_below_one_request_stops_nothing_for_ever() -> None:
    async def run() -> float:
        budget = WeightBudget(LIMIT, now=now_s)
        budget.set_limit(10)
        started_s = now_s()
        for _ in range(2):
            async with budget.hold(20):
                pass
        return now_s() - started_s

    assert 60 <= run_in_virtual_time(run()) <= 62
