"""Where the sink reads on: what it does when Postgres, the journal or the group is not where it was."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition

from infra.postgres.errors import DatabaseUnavailable
from infra.postgres.writer import LogRef
from streams import journal_places
from streams.journal_gaps import Gap, find_gaps
from streams.journal_places import JournalPlaces, JournalSkipped
from streams.topics import JOURNAL

ONE, TWO = (TopicPartition(JOURNAL.name, number) for number in (1, 2))


class Consumer:
    """A member of the group, of which only the places matter."""

    def __init__(self, beginnings: dict[TopicPartition, int]) -> None:
        self.beginnings = beginnings
        self.positions: dict[TopicPartition, int] = {}
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.beginnings)

    async def beginning_offsets(self, wanted: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.beginnings[tp] for tp in wanted}

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused.update(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused.difference_update(partitions)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset


class Postgres:
    """Says what is stored, or that it is away."""

    def __init__(self, **next_offsets: int) -> None:
        self.next_offsets_of = {int(name.removeprefix("p")): offset for name, offset in next_offsets.items()}
        self.is_away = False

    async def next_offsets(self, _topic: str) -> dict[int, int]:
        if self.is_away:
            raise DatabaseUnavailable("away")
        return dict(self.next_offsets_of)


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_places, "LOOK_AGAIN_S", 0.0)


def places_of(consumer: Consumer, postgres: Postgres) -> JournalPlaces:
    return JournalPlaces(cast("Any", consumer), cast("Any", postgres))


def records(tp: TopicPartition, *offsets: int) -> Any:
    return {tp: [SimpleNamespace(offset=offset) for offset in offsets]}


def test_a_journal_that_begins_behind_what_postgres_has_is_a_gap() -> None:
    assert find_gaps({0: 5, 1: 5, 2: 5}, {0: 4, 1: 5, 2: 6, 3: 0, 4: 1}) == {2: Gap(2, 5, 6), 4: Gap(4, 0, 1)}


async def test_a_partition_with_a_gap_stands_still_until_postgres_is_ahead_of_it() -> None:
    consumer, postgres = Consumer({ONE: 8, TWO: 0}), Postgres(p1=5, p2=3)
    places = places_of(consumer, postgres)
    await places.on_partitions_assigned([ONE, TWO])
    assert (consumer.positions, consumer.paused) == ({TWO: 3}, {ONE})
    assert places.gaps == {1: Gap(1, 5, 8)}
    await places.check()
    assert consumer.paused == {ONE}

    postgres.next_offsets_of[1] = 9
    await places.check()
    assert (consumer.positions[ONE], consumer.paused, places.gaps) == (9, set(), {})


async def test_where_postgres_does_not_say_where_it_stands_nothing_is_read() -> None:
    """aiokafka would write the error to the log, and read on where the group stands."""
    consumer, postgres = Consumer({ONE: 0}), Postgres()
    postgres.is_away = True
    places = places_of(consumer, postgres)
    await places.on_partitions_assigned([ONE])
    assert (consumer.positions, consumer.paused) == ({}, {ONE})
    with pytest.raises(DatabaseUnavailable):
        await places.check()


async def test_a_database_that_went_back_is_followed() -> None:
    consumer, postgres = Consumer({ONE: 0}), Postgres(p1=5)
    places = places_of(consumer, postgres)
    await places.on_partitions_assigned([ONE])
    places.follow(records(ONE, 5, 6))
    postgres.next_offsets_of[1] = 7
    places.note_stored([LogRef(JOURNAL.name, 1, 5), LogRef(JOURNAL.name, 1, 6)])
    await places.check()
    assert consumer.positions == {ONE: 5}, "all is well"

    postgres.next_offsets_of[1] = 2
    await places.check()
    assert consumer.positions == {ONE: 2}


async def test_what_is_no_record_of_ours_is_not_taken_for_a_database_that_went_back() -> None:
    consumer, postgres = Consumer({ONE: 0}), Postgres()
    places = places_of(consumer, postgres)
    await places.on_partitions_assigned([ONE])
    places.follow(records(ONE, 0))  # it could not be read, so nothing of it was stored
    await places.check()
    places.follow(records(ONE, 1))
    assert consumer.positions == {ONE: 0}


async def test_a_record_that_is_not_the_next_one_is_noticed() -> None:
    places = places_of(Consumer({ONE: 0}), Postgres(p1=5))
    await places.on_partitions_assigned([ONE])
    places.follow(records(ONE, 5, 6))
    places.follow(records(ONE, 3))  # the topic was made anew: what is stored already changes nothing
    places.follow(records(ONE, 4))
    with pytest.raises(JournalSkipped, match="5 should come next, 6 came"):
        places.follow(records(ONE, 6))


async def test_what_was_taken_away_is_looked_after_no_more() -> None:
    consumer, postgres = Consumer({ONE: 8, TWO: 0}), Postgres(p1=5, p2=3)
    places = places_of(consumer, postgres)
    await places.on_partitions_assigned([ONE, TWO])
    await places.on_partitions_revoked([ONE, TWO])
    places.note_stored([LogRef(JOURNAL.name, 2, 3)])
    assert (places.gaps, list(places.partitions)) == ({}, [])
    await places.check()
    places.follow(records(TWO, 77))
