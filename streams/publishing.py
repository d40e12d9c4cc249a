"""Records on their way out: sent, and acknowledged by the broker."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import faust
from aiokafka.errors import KafkaError
from faust.exceptions import ProducerSendError

from infra.telemetry.traces import trace_headers
from streams.processing import Claim

logger = logging.getLogger(__name__)


class Output(NamedTuple):
    """A record to publish."""

    topic: str
    key: bytes | None
    value: bytes
    partition: int | None = None
    """None: chosen by the key."""


async def publish(app: faust.App, outputs: Sequence[Output], claim: Claim) -> None:
    """Publish records and wait until the broker has acknowledged all of them.

    They are sent in order. While the brokers are away it tries again; records may then be published twice, which
    consumers tell by their log position.

    Raises:
        Abandoned: The partition of the event that caused them was taken away meanwhile.
    """
    attempt = 0
    while outputs:
        try:
            await claim.wait_for(asyncio.ensure_future(send_all(app, outputs)))
        except (KafkaError, ProducerSendError) as error:
            logger.warning("cannot publish to %s, trying again: %s", outputs[0].topic, error)
            await claim.back_off(attempt)
            attempt += 1
        else:
            return


async def send_all(app: faust.App, outputs: Sequence[Output]) -> None:
    """Send records in order, and wait until the broker has acknowledged all of them, or refused one.

    Their headers tell of the trace that is open here.

    Raises:
        KafkaError: The broker refused one.
        ProducerSendError: Likewise.
    """
    producer = await app.maybe_start_producer()
    headers = trace_headers()
    pending: list[asyncio.Future[Any]] = []
    for output in outputs:
        sent = await producer.send(output.topic, output.key, output.value, output.partition, None, headers)
        sent.add_done_callback(_note_error)
        pending.append(sent)
    # Not gather: where this is cancelled the records are on their way all the same.
    await asyncio.wait(pending)
    for sent in pending:
        sent.result()


def _note_error(sent: "asyncio.Future[Any]") -> None:
    if not sent.cancelled():
        sent.exception()
