"""Dead letters: what could not be read, as it came, with the reason."""

import logging
import time

from streams import topics
from streams.processing import Event
from streams.publishing import Output
from streams.records import DeadLetter, dead_letters

logger = logging.getLogger(__name__)

KEPT_BYTES_MAX = 8 * 1024 * 1024
"""What is kept of key and value, each: in base64 they must fit into one record. The log itself has the whole."""


def dead_letter(event: Event, reason: str) -> Output:
    """The dead letter for an event, and a line in the worker's log."""
    message = event.message
    where = f"{message.topic}[{message.partition}]@{message.offset}"
    logger.error("record %s goes to %s: %s", where, topics.DEAD_LETTERS.name, reason)
    key, value = message.key, message.value
    if value is not None and len(value) > KEPT_BYTES_MAX:
        reason += f" (cut to {KEPT_BYTES_MAX} of {len(value)} bytes; the record itself is at {where})"
        value = value[:KEPT_BYTES_MAX]
    letter = DeadLetter(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        reason=reason,
        time_us=time.time_ns() // 1_000,
        key=key,
        value=value,
    )
    # Kafka partitions by the key, and a long one is no use for that.
    return Output(topics.DEAD_LETTERS.name, None if key is None else key[:1024], dead_letters.encode(letter))
