"""The keeper of dead letters: a line of each into Postgres, for the API. Beside the agents, as the sink is."""

from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from mode import Service

from infra.postgres.connection import connected
from infra.postgres.letters import LetterLine, write_letters
from infra.settings import Settings, load_settings
from streams import topics
from streams.app import app
from streams.connection import client_options
from streams.perseverance import persistently
from streams.records import UnreadableRecord, dead_letters

GROUP: Final = "portfolio-letters"

_POLL_MS: Final = 500


@app.service
class LetterKeeper(Service):
    """Keeps a line of each dead letter."""

    @Service.task
    async def _keep(self) -> None:
        # The letters are on their topic; only the list of the API stays behind.
        await persistently(self, "tell dead letters to Postgres", lambda: self._carry(load_settings()))

    async def _carry(self, settings: Settings) -> None:
        async with connected(settings.database_dsn) as connection:
            consumer = AIOKafkaConsumer(
                topics.DEAD_LETTERS.name,
                **client_options(settings),
                group_id=GROUP,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                max_partition_fetch_bytes=topics.MESSAGE_BYTES_MAX,
            )
            try:
                await consumer.start()
                while not self.should_stop:
                    batch = await consumer.getmany(timeout_ms=_POLL_MS)
                    lines = [_line(record) for records in batch.values() for record in records]
                    if lines:
                        await write_letters(connection, lines)
                        await consumer.commit({tp: records[-1].offset + 1 for tp, records in batch.items()})
            finally:
                await consumer.stop()


def _line(record: ConsumerRecord) -> LetterLine:
    try:
        letter = dead_letters.decode(record.value)
    except UnreadableRecord as error:
        return LetterLine(
            letter_partition=record.partition,
            letter_offset=record.offset,
            topic=record.topic,
            partition=record.partition,
            log_offset=record.offset,
            time_us=record.timestamp * 1_000,
            key="",
            bytes=len(record.value or b""),
            reason=f"this is no dead letter: {error}",
        )
    return LetterLine(
        letter_partition=record.partition,
        letter_offset=record.offset,
        topic=letter.topic,
        partition=letter.partition,
        log_offset=letter.offset,
        time_us=letter.time_us,
        key=(letter.key or b"").decode(errors="replace"),
        bytes=len(letter.value or b""),
        reason=letter.reason,
    )
