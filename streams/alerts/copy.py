"""The copy of the alerts in Postgres: their last state, as soon as the database is there, and then the live feed."""

import asyncio
import logging
from typing import Final

from infra.backoff import backoff_s
from infra.postgres.alerts import write_alerts, write_silences
from infra.postgres.connection import connected
from infra.postgres.errors import DatabaseError
from infra.settings import Settings
from portfolio.alerts.engine import Alert, Silence
from streams.live import LiveTeller

log = logging.getLogger(__name__)

_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 30.0


class AlertCopy:
    """Writes alerts and silences to Postgres. What is not written yet waits, each with its last state only.

    The live feed is told of news once it is written, so that whoever hears of an alert also finds it.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare.

        Args:
            settings: Where Postgres and Redis are.
        """
        self._dsn = settings.database_dsn
        self._alerts: dict[str, Alert] = {}
        self._silences: dict[str, Silence] = {}
        self._news: set[str] = set()
        self._is_new = asyncio.Event()
        self._live = LiveTeller(settings.redis_dsn)

    async def close(self) -> None:
        """Close the connections."""
        await self._live.close()

    def put(self, change: Alert | Silence, *, is_news: bool) -> None:
        """Have a change written.

        Args:
            change: An alert or a silence as it is now.
            is_news: Whether it has just become so; otherwise the live feed was told before.
        """
        if isinstance(change, Alert):
            self._alerts[change.id] = change
            if is_news:
                self._news.add(change.id)
        else:
            self._silences[change.id] = change
        self._is_new.set()

    async def run(self) -> None:
        """Write until cancelled."""
        attempt = 0
        while True:
            await self._is_new.wait()
            self._is_new.clear()
            alerts, silences = dict(self._alerts), dict(self._silences)
            news, self._news = self._news, set()
            try:
                async with connected(self._dsn) as connection, connection.transaction():
                    await write_alerts(connection, alerts.values())
                    await write_silences(connection, silences.values())
            except DatabaseError as error:
                if attempt == 0:
                    log.warning("alerts are not copied to Postgres until it is back: %s", error)
                self._is_new.set()
                self._news |= news
                await asyncio.sleep(backoff_s(attempt, first_s=_BACKOFF_FIRST_S, longest_s=_BACKOFF_MAX_S))
                attempt += 1
            else:
                attempt = 0
                self._alerts = {name: one for name, one in self._alerts.items() if alerts.get(name) is not one}
                self._silences = {name: one for name, one in self._silences.items() if silences.get(name) is not one}
                await self._live.tell_alerts([alerts[name] for name in sorted(news)])
