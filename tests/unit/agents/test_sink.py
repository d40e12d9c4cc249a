"""How the sink takes what the consumer group does to it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, KafkaError

from agents import sink

BATCH: Any = {TopicPartition("portfolio.journal", 3): [SimpleNamespace(offset=7), SimpleNamespace(offset=8)]}


class Consumer:
    """A member of a group that answers a commit with an error."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self._error = error
        self.committed: dict[TopicPartition, int] = {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self._error is not None:
            raise self._error
        self.committed = offsets


async def test_the_group_is_told_how_far_the_batch_went() -> None:
    consumer = Consumer()
    await sink._commit(cast("Any", consumer), BATCH)
    assert consumer.committed == {TopicPartition("portfolio.journal", 3): 9}


@pytest.mark.parametrize("error", [CommitFailedError(), IllegalStateError("Partition is not assigned")])
async def test_a_rebalance_is_no_reason_to_leave_the_group(error: KafkaError) -> None:
    """Who leaves and joins again makes another rebalance, at which the commits of the others fail, and so on."""
    await sink._commit(cast("Any", Consumer(error)), BATCH)


async def test_a_broker_that_is_away_is() -> None:
    with pytest.raises(KafkaConnectionError):
        await sink._commit(cast("Any", Consumer(KafkaConnectionError())), BATCH)
