"""Records of the journal that Postgres lacks and that Kafka did not keep long enough."""

from collections.abc import Mapping
from typing import NamedTuple

from infra.postgres.writer import Writer
from infra.settings import Settings
from streams.reading import partitions_of, reading
from streams.topics import JOURNAL


class Gap(NamedTuple):
    """A partition of the journal that begins behind what Postgres has.

    Attributes:
        partition: Its number.
        next_offset: The first record that is not in Postgres.
        beginning: The first record that the journal still has.
    """

    partition: int
    next_offset: int
    beginning: int

    def __str__(self) -> str:
        return (
            f"{JOURNAL.name}[{self.partition}] begins at offset {self.beginning}, but Postgres has only what is before "
            f"{self.next_offset}: what is between was not kept, and the accounts of this partition stand still in "
            "Postgres. `portfolio rebuild` makes their tables anew from the log; the sink then goes on by itself"
        )


def find_gaps(next_offsets: Mapping[int, int], beginnings: Mapping[int, int]) -> dict[int, Gap]:
    """The gaps, by partition.

    Args:
        next_offsets: Partition to the first offset that is not in Postgres; where it has nothing, not in it.
        beginnings: Partition to the first offset that the journal still has.
    """
    found = (Gap(partition, next_offsets.get(partition, 0), first) for partition, first in beginnings.items())
    return {gap.partition: gap for gap in found if gap.next_offset < gap.beginning}


async def look_for_gaps(settings: Settings) -> dict[Gap, int]:
    """Every gap, and where its partition of the journal ends now.

    Raises:
        DatabaseError: Postgres does not answer.
        KafkaError: The brokers do not answer.
    """
    partitions = partitions_of([JOURNAL], settings)
    async with Writer(settings.database_dsn) as writer:
        next_offsets = await writer.next_offsets(JOURNAL.name)
    async with reading(settings) as consumer:
        if JOURNAL.name not in await consumer.topics():
            return {}
        beginnings = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    gaps = find_gaps(next_offsets, {tp.partition: first for tp, first in beginnings.items()})
    return {gaps[tp.partition]: end for tp, end in ends.items() if tp.partition in gaps}
