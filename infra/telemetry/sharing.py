"""Metrics of every process in one place: each keeps its own in Redis, and one scrape reads all of them.

So Prometheus needs one target however many processes run wherever, and no process needs a port. It is best effort:
nothing waits for it, and without Redis the process that is scraped tells of itself alone.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import redis.asyncio
from redis.exceptions import RedisError

from infra.telemetry.metrics import exposition

logger = logging.getLogger(__name__)

KEY_PREFIX: Final = "portfolio:metrics:"
INDEX: Final = "portfolio:metrics"
"""A sorted set of the keys, by when they were last written, so that nobody has to look through the whole of Redis."""

INTERVAL_S: Final = 5.0
KEPT_S: Final = 20
"""A process that has not written for that long is no longer told of."""

_TIMEOUT_S: Final = 1.0
_INDEXED_S: Final = 3_600.0


class ProcessName(NamedTuple):
    """A running process.

    Attributes:
        process: What it is: gateway, worker, executions, alerts or api.
        host: The machine that it runs on.
        pid: Its number there.
    """

    process: str
    host: str
    pid: str

    @property
    def key(self) -> str:
        """Where its metrics are kept."""
        return f"{KEY_PREFIX}{self.process}:{self.host}:{self.pid}"


def this_process(process: str) -> ProcessName:
    """The name of the process that asks."""
    return ProcessName(process, socket.gethostname(), str(os.getpid()))


class MetricsStore:
    """Metrics of processes, as they last told them."""

    def __init__(self, url: str) -> None:
        """Make a store; it connects when it is first used.

        Args:
            url: redis://[:password@]host:port/db.
        """
        self._redis: Any = redis.asyncio.from_url(url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S)
        self._is_away = False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def put(self, name: ProcessName, text: bytes) -> None:
        """Keep what a process tells, for a while."""
        now_s = time.time()
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                pipeline.set(name.key, text, ex=KEPT_S)
                pipeline.zadd(INDEX, {name.key: now_s})
                pipeline.zremrangebyscore(INDEX, "-inf", now_s - _INDEXED_S)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away(error)
        else:
            self._is_away = False

    async def remove(self, name: ProcessName) -> None:
        """Forget a process that ends; while Redis is away it is forgotten by itself."""
        if self._is_away:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S), self._redis.pipeline(transaction=False) as pipeline:
                pipeline.delete(name.key)
                pipeline.zrem(INDEX, name.key)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            logger.debug("the metrics of %s are forgotten by themselves: %s", name.key, error)

    async def all(self) -> list[tuple[ProcessName, bytes]]:
        """What every process last told; nothing while Redis is away."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                keys: Sequence[bytes] = await self._redis.zrange(INDEX, 0, -1)
                texts: Sequence[bytes | None] = await self._redis.mget(keys) if keys else []
        except (RedisError, OSError, TimeoutError) as error:
            self._note_away(error)
            return []
        self._is_away = False
        names = [_name_of(key) for key in keys]
        return [(name, text) for name, text in zip(names, texts, strict=True) if name is not None and text is not None]

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("metrics are not shared while Redis is away: %r", error)
        self._is_away = True


async def share_metrics(url: str, process: str, collect: Callable[[], None] = lambda: None) -> None:
    """Keep a process's metrics in Redis until cancelled, and forget them then.

    Args:
        url: Where Redis is.
        process: What the process is, one of `STAGES`.
        collect: Called before each writing, to bring up to date what is measured rather than counted.
    """
    store, name = MetricsStore(url), this_process(process)
    try:
        while True:
            try:
                collect()
            except Exception:
                # What is told of the work must never end the work.
                logger.exception("a metric could not be measured")
            await store.put(name, exposition(process))
            await asyncio.sleep(INTERVAL_S)
    finally:
        await store.remove(name)
        await store.close()


def _name_of(key: bytes) -> ProcessName | None:
    process, _, rest = key.decode(errors="replace").removeprefix(KEY_PREFIX).partition(":")
    host, _, pid = rest.rpartition(":")
    return ProcessName(process, host, pid) if process and host and pid else None
