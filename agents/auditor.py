"""The auditor: what is to be in the audit trail onto its topic, and the topic into the chain in Postgres.

A service beside the agents, as the sink is: nothing of the ledger waits for it, and what is away is waited for. Any
number of workers run it; the ways in and the chain each let one at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from mode import Service

from infra.backoff import backoff_s
from infra.postgres.audit import ChainBroken
from infra.postgres.configuration import keep_trying_to_note
from infra.postgres.errors import DatabaseError
from infra.redis.client import RedisAway
from infra.settings import Settings, load_settings
from streams.app import app
from streams.audit import carry_announced, carry_outbox, carry_told, keep_chain
from streams.gateway.log import open_producer

logger = logging.getLogger(__name__)

_BACKOFF_FIRST_S = 0.5
_BACKOFF_MAX_S = 15.0
_BROKEN_PAUSE_S = 60.0


@app.service
class Auditor(Service):
    """Keeps the audit trail."""

    @Service.task
    async def _carry_outbox(self) -> None:
        await self._persistently("carry the outbox", lambda: _with_producer(carry_outbox))

    @Service.task
    async def _carry_told(self) -> None:
        await self._persistently("carry what topics tell", lambda: _with_producer(carry_told))

    @Service.task
    async def _carry_announced(self) -> None:
        await self._persistently("carry what the API announces", lambda: _with_producer(carry_announced))

    @Service.task
    async def _keep_chain(self) -> None:
        await self._persistently("chain its entries", lambda: keep_chain(load_settings()))

    @Service.task
    async def _note_configuration(self) -> None:
        await keep_trying_to_note(load_settings(), "worker")

    async def _persistently(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        attempt = 0
        while not self.should_stop:
            started = asyncio.get_running_loop().time()
            wait_s = _BROKEN_PAUSE_S
            try:
                await work()
            except ChainBroken as error:
                logger.critical("the audit trail was tampered with: %s; see `portfolio audit verify`", error)
            except (DatabaseError, KafkaError, RedisAway, OSError) as error:
                if asyncio.get_running_loop().time() - started > _BACKOFF_MAX_S:
                    attempt = 0
                wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
                attempt += 1
                logger.warning("audit trail: cannot %s (%s); next attempt in %.1f s", what, error, wait_s)
            except Exception:
                # The books do not depend on it; what is not in the trail stays where it waits.
                logger.exception("audit trail: cannot %s until the cause is removed", what)
            await self.sleep(wait_s)


async def _with_producer(carry: Callable[[Settings, AIOKafkaProducer], Awaitable[None]]) -> None:
    settings = load_settings()
    async with open_producer(settings) as producer:
        await carry(settings, producer)
