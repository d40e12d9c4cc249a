"""Runs of dead letters: what is sent together, what is given up together, and what the worker's log says."""

import asyncio
import logging
from types import SimpleNamespace
from typing import cast

import pytest

import streams.dead_letters
from streams.dead_letters import Burials, Run, dead_letter
from streams.processing import Abandoned, Claim, Event
from streams.records import dead_letters
from tests.support.worker import until

CLAIM = cast("Claim", None)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams.dead_letters, "_told", streams.dead_letters._Told())


def event(offset: int, partition: int = 3) -> Event:
    message = SimpleNamespace(
        topic="t", partition=partition, offset=offset, key=b"k", value=b"v", generation_id=1, headers=None
    )
    return cast("Event", SimpleNamespace(message=message))


def offsets(run: Run) -> list[int]:
    assert [dead_letters.decode(letter.value).offset for letter in run.letters] == [
        one.message.offset for one in run.events
    ]
    return [one.message.offset for one in run.events]


class Sexton:
    """Buries runs when it is told to."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.given_up: list[list[int]] = []
        self.may_go_on = asyncio.Event()
        self.is_failing = False

    async def bury(self, run: Run) -> None:
        try:
            await run.begin()
            self.begun.append(offsets(run))
            await self._send()
        except Abandoned:
            self.given_up.append(offsets(run))
            raise

    async def _send(self) -> None:
        await self.may_go_on.wait()
        if self.is_failing:
            raise Abandoned


async def follow(burials: Burials, sexton: Sexton, *numbers: int, partition: int = 3) -> list["asyncio.Future[None]"]:
    """Put records behind one another; each is waited for beside the ones that follow, as a worker does."""
    rests: list[asyncio.Future[None]] = []
    for number in numbers:
        one = event(number, partition)
        rests.append(asyncio.ensure_future(burials.follow(one, CLAIM, dead_letter(one, "no JSON"), sexton.bury)))
        await asyncio.sleep(0)
    return rests


async def test_what_comes_while_letters_are_on_their_way_is_sent_together() -> None:
    burials, sexton = Burials(), Sexton()
    rests = await follow(burials, sexton, 1, 2, 3, 4)
    elsewhere = await follow(burials, sexton, 1, partition=5)
    settling = asyncio.ensure_future(burials.settle(event(5)))
    await asyncio.sleep(0)
    assert sexton.begun == [[1], [1]]  # the first of each partition, at once
    assert not settling.done()

    sexton.may_go_on.set()
    await asyncio.gather(*rests, *elsewhere, settling)

    assert sexton.begun == [[1], [1], [2, 3, 4]]
    await burials.settle(event(5))


async def test_what_is_given_up_takes_with_it_what_waits_behind_it_also_a_record_that_has_come_again() -> None:
    burials, sexton = Burials(), Sexton()
    sexton.is_failing = True
    rests = await follow(burials, sexton, 1, 2, 3)
    settling = asyncio.ensure_future(burials.settle(event(4)))
    await asyncio.sleep(0)
    sexton.may_go_on.set()
    with pytest.raises(Abandoned):
        await rests[0]
    # The run of 2 and 3 does not know yet that the one before was given up.
    rests += await follow(burials, sexton, 1)

    ended = await asyncio.gather(*rests, settling, return_exceptions=True)

    assert [type(one) for one in ended] == [Abandoned] * 5
    assert sexton.begun == [[1]]
    assert sexton.given_up == [[1], [2, 3, 1]]


async def test_after_a_run_that_was_given_up_another_begins() -> None:
    burials, sexton = Burials(), Sexton()
    sexton.is_failing = True
    sexton.may_go_on.set()
    (first,) = await follow(burials, sexton, 1)
    with pytest.raises(Abandoned):
        await first

    sexton.is_failing = False
    await asyncio.gather(*await follow(burials, sexton, 1, 2))

    assert sexton.begun[0] == [1]
    assert [offset for run in sexton.begun[1:] for offset in run] == [1, 2]


async def test_an_unexpected_error_leaves_by_one_record_and_the_others_are_given_up() -> None:
    burials = Burials()
    gate = asyncio.Event()

    async def bury(run: Run) -> None:
        await run.begin()
        await gate.wait()
        if len(run.events) > 1:
            raise ZeroDivisionError

    rests = []
    for number in (1, 2, 3):
        one = event(number)
        rests.append(asyncio.ensure_future(burials.follow(one, CLAIM, dead_letter(one, "no JSON"), bury)))
        await asyncio.sleep(0)
    gate.set()

    ended = await asyncio.gather(*rests, return_exceptions=True)

    assert [type(one) for one in ended] == [type(None), ZeroDivisionError, Abandoned]


async def test_the_log_tells_the_first_letter_at_once_and_then_how_many_more(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams.dead_letters, "_TELL_INTERVAL_S", 0.01)
    # However slow the machine is, all of it happens within the interval.
    monkeypatch.setattr(streams.dead_letters, "time", SimpleNamespace(monotonic=lambda: 100.0, time_ns=lambda: 0))
    with caplog.at_level(logging.ERROR):
        for number in range(1000):
            dead_letter(event(number), f"reason {number}")
        first = [line.getMessage() for line in caplog.records]
        await until(lambda: len(caplog.records) > 1, "no count")
    assert first == ["record t[3]@0 goes to portfolio.dead-letters: reason 0"]
    assert caplog.records[1].getMessage() == (
        "999 more records go to portfolio.dead-letters, the last t[3]@999: reason 999"
    )
