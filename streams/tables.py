"""The table `books`: account to book, one MessagePack value, on RocksDB with a changelog in Kafka.

Beside the books each partition keeps one key of another kind: the last offset of the log that was applied, which
`streams.fence` needs. It can never be an account's, since account names begin with a letter or a digit.
"""

import asyncio
import logging
from typing import Any, TypeVar

import faust
from faust.types import FutureMessage

from streams.processing import Event

logger = logging.getLogger(__name__)


_APPLIED = b"~applied:"


def applied_key(partition: int) -> bytes:
    """The key under which a partition keeps the last offset that was applied."""
    return _APPLIED + str(partition).encode()


def is_account_key(key: bytes) -> bool:
    """Whether a key of the table is an account's."""
    return not key.startswith(_APPLIED)


Key = TypeVar("Key")
Value = TypeVar("Value")


class BookTable(faust.Table[Key, Value]):
    """A table that acknowledges an event when, and only when, the broker has its changelog entries.

    Faust commits offsets after `producer.flush()`. That is not enough: `ProducerBuffer.flush_atmost` gives up after
    0.1 s without progress, and a changelog entry that fails is logged and forgotten. Either way an offset could be
    committed whose change is in no changelog, and the next failover would lose it. Here the event is acknowledged by
    the broker's answer to the last entry (entries of a partition stay in order, so the ones before have arrived), and
    an entry that fails stops the worker.
    """

    _last_sent: FutureMessage | None = None

    def send_changelog(self, *args: Any, **kwargs: Any) -> FutureMessage:  # noqa: ANN401 - handed on as they come
        """Send a change to the changelog; Faust calls it for each change of the table."""
        sent = super().send_changelog(*args, **kwargs)
        sent.add_done_callback(self._stop_if_lost)
        self._last_sent = sent
        return sent

    def acknowledge_after_changes(self, event: Event) -> None:
        """Acknowledge the event once the broker has the changes made so far."""
        if self._last_sent is None or self._last_sent.done():
            event.ack()
            return

        def acknowledge(sent: "asyncio.Future[Any]") -> None:
            if not sent.cancelled() and sent.exception() is None:
                event.ack()

        self._last_sent.add_done_callback(acknowledge)

    def _stop_if_lost(self, sent: "asyncio.Future[Any]") -> None:
        if sent.cancelled():
            return
        error = sent.exception()
        if error is not None:
            logger.critical("a change of the table %s did not reach its changelog: stopping: %s", self.name, error)
            self.add_future(self.app.crash(error))
