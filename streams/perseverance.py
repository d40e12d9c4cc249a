"""Work that goes on for as long as a service does, beside the agents: what is away is waited for."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka.errors import KafkaError
from mode import Service

from infra.backoff import backoff_s
from infra.postgres.errors import DatabaseError
from infra.redis.client import RedisAway

logger = logging.getLogger(__name__)

_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 15.0
_BROKEN_PAUSE_S: Final = 60.0


async def persistently(service: Service, what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again until a service stops; nothing of the books may depend on it.

    While Kafka, Postgres or Redis is away it is tried again with growing pauses, which begin anew once it went well for
    longer than the longest. After anything else that goes wrong, which is logged, and where the work ends by itself,
    there is a minute's pause.

    Args:
        service: Whose work it is.
        what: What it does, for the log: "cannot" stands before it.
        work: Does it, and only returns when it cannot go on.
    """
    attempt = 0
    while not service.should_stop:
        began_s = asyncio.get_running_loop().time()
        wait_s = _BROKEN_PAUSE_S
        try:
            await work()
        except (DatabaseError, KafkaError, RedisAway, OSError) as error:
            if asyncio.get_running_loop().time() - began_s > _BACKOFF_MAX_S:
                attempt = 0
            wait_s = backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S)
            attempt += 1
            logger.warning("cannot %s (%s); next attempt in %.1f s", what, error, wait_s)
        except Exception:
            logger.exception("cannot %s until the cause is removed", what)
        await service.sleep(wait_s)
