"""The auditor: what is to be in the audit trail onto its topic, and the topic into the chain in Postgres.

A service beside the agents, as the sink is: nothing of the ledger waits for it, and what is away is waited for. Any
number of workers run it; the ways in and the chain each let one at a time.
"""

import logging
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from mode import Service

from infra.postgres.audit import ChainBroken
from infra.postgres.configuration import keep_trying_to_note
from infra.settings import Settings, load_settings
from streams.app import app
from streams.audit import carry_announced, carry_outbox, carry_told, keep_chain
from streams.gateway.log import open_producer
from streams.perseverance import persistently

logger = logging.getLogger(__name__)


@app.service
class Auditor(Service):
    """Keeps the audit trail."""

    @Service.task
    async def _carry_outbox(self) -> None:
        await persistently(self, "carry the outbox of the audit trail", lambda: _with_producer(carry_outbox))

    @Service.task
    async def _carry_told(self) -> None:
        await persistently(self, "carry what topics tell to the audit trail", lambda: _with_producer(carry_told))

    @Service.task
    async def _carry_announced(self) -> None:
        what = "carry what the API announces to the audit trail"
        await persistently(self, what, lambda: _with_producer(carry_announced))

    @Service.task
    async def _keep_chain(self) -> None:
        await persistently(self, "chain the entries of the audit trail", _keep_chain)

    @Service.task
    async def _note_configuration(self) -> None:
        await keep_trying_to_note(load_settings(), "worker")


async def _keep_chain() -> None:
    try:
        await keep_chain(load_settings())
    except ChainBroken as error:
        logger.critical("the audit trail was tampered with: %s; see `portfolio audit verify`", error)


async def _with_producer(carry: Callable[[Settings, AIOKafkaProducer], Awaitable[None]]) -> None:
    settings = load_settings()
    async with open_producer(settings) as producer:
        await carry(settings, producer)
