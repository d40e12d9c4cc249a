"""Worlds to test in."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from infra.exchange.fees import FeeSchedule
from infra.exchange.journal import Journal
from infra.exchange.market import Market
from infra.exchange.recording import load_recording
from tests.support.exchange_world import Clock, World, small_market


@pytest.fixture(scope="session")
def recorded_market() -> Market:
    return Market(load_recording())


@pytest.fixture
def world() -> World:
    return World(small_market(), Clock(), None, FeeSchedule())


class Reopener:
    """Opens the exchange of one journal again and again, as a restart does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._journals: list[Journal] = []

    def open(self, speed: Fraction = Fraction(1)) -> World:
        self.close()
        self._journals.append(Journal(self.directory))
        return World(small_market(speed), Clock(), self._journals[-1], FeeSchedule())

    def close(self) -> None:
        for journal in self._journals:
            journal.close()


@pytest.fixture
def reopener(tmp_path: Path) -> Iterator[Reopener]:
    reopener = Reopener(tmp_path)
    yield reopener
    reopener.close()
