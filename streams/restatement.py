"""What a worker does with a trade correction: fold the account's log anew, publish what changed, page by page."""

import asyncio
import logging

import faust
from aiokafka.errors import KafkaError

from infra.settings import load_settings
from portfolio import LogPosition
from streams.account_log import Applied, NeedsRefold, Rejected
from streams.log_reader import open_log
from streams.processing import Claim, Event
from streams.publishing import Output, publish
from streams.refold import Refold

logger = logging.getLogger(__name__)

_PUBLISHED_BYTES = 4 * 1024 * 1024
"""Pages are published when they have come to so much, which bounds what is held in memory."""


async def restate(app: faust.App, event: Event, claim: Claim, needed: NeedsRefold) -> Applied | Rejected:
    """Fold an account's log anew up to a trade correction, and publish all but the last page of what it restates.

    Pages that are published a second time, by this worker or another, are the same pages: what they say is decided by
    the log alone. Who keeps a copy waits for the last one, which comes with the other outputs of the record.

    Args:
        app: The application.
        event: The record with the correction.
        claim: Kept alive, since a long log takes longer than a session.
        needed: The correction, and the book before it.

    Raises:
        Abandoned: The partition was taken away meanwhile.
    """
    attempt = 0
    while True:
        try:
            return await _restate(app, event, claim, needed)
        except (KafkaError, OSError) as error:
            logger.warning("the log cannot be read for correction %s, trying again: %s", needed.correction.id, error)
            await claim.back_off(attempt)
            claim.renew()
            attempt += 1


async def _restate(app: faust.App, event: Event, claim: Claim, needed: NeedsRefold) -> Applied | Rejected:
    message = event.message
    refold = Refold(needed, LogPosition(message.partition, message.offset), app.conf.topic_partitions)
    pages: list[Output] = []
    size = 0
    async with open_log(load_settings(), message.partition, message.offset) as log:
        if log.first > 0:
            return Rejected(
                f"correction {needed.correction.id} needs the account's whole history, but the log begins at offset "
                f"{log.first}"
            )
        async for batch in log.batches():
            claim.renew()
            for record in batch:
                if record.key != message.key:
                    continue
                page = refold.take(message.key, record.value, LogPosition(record.partition, record.offset))
                if page is not None:
                    pages.append(page)
                    size += len(page.value)
                if size > _PUBLISHED_BYTES:
                    await publish(app, pages, claim)
                    pages, size = [], 0
                # Heartbeats, and the events of other partitions, go on meanwhile.
                await asyncio.sleep(0)
                claim.renew()
    await publish(app, pages, claim)
    claim.renew()
    return refold.finish(message.key, message.value)
