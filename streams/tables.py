"""The table `books`: account to book, one MessagePack value, on RocksDB with a changelog in Kafka.

Beside the books each partition keeps one key of another kind: the last offset of the log that was applied, which
`streams.fence` needs. It can never be an account's, since account names begin with a letter or a digit.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import faust
import msgspec
from faust.stores.rocksdb import Store
from faust.types import TP, FutureMessage

from portfolio import LogPosition
from streams.processing import Event

logger = logging.getLogger(__name__)


_APPLIED = b"~applied:"


def applied_key(partition: int) -> bytes:
    """The key under which a partition keeps the last offset that was applied."""
    return _APPLIED + str(partition).encode()


def is_account_key(key: bytes) -> bool:
    """Whether a key of the table is an account's."""
    return not key.startswith(_APPLIED)


class _Positioned(msgspec.Struct):
    """What is read of a stored book to know how new it is."""

    position: LogPosition | None = None


_positions = msgspec.msgpack.Decoder(_Positioned)


def applied_offset(key: bytes, value: bytes | None) -> int | None:
    """The offset of the log that a value of the table has come to; None where it does not say."""
    if value is None:
        return None
    try:
        if not is_account_key(key):
            return int(value)
        position = _positions.decode(value).position
    except (ValueError, RecursionError):
        return None
    return None if position is None else position.offset


def is_older(key: bytes, value: bytes | None, than: bytes | None) -> bool:
    """Whether a changelog entry is of a time before a value that is known.

    What does not say its time, a tombstone or bytes that are no book, is never older: whoever wrote it meant it, or it
    is to be noticed.
    """
    known, offset = applied_offset(key, than), applied_offset(key, value)
    return known is not None and offset is not None and offset < known


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

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed on as they come
        super().__init__(*args, **kwargs)
        self._outdated: set[tuple[int, bytes]] = set()
        """Partition and key of what the changelog has an older value of than this worker."""

    def apply_changelog_batch(self, batch: Iterable[Event]) -> None:
        """Apply entries of the changelog, at a recovery or on a standby; an entry older than what is there is left out.

        The last entry of a key is not always its newest. A worker that lost its partition without hearing of it, since
        it was suspended or cut off from the brokers for longer than its session, may still have an entry on its way:
        its producer delivers it when the brokers answer again, behind the entries of the new owner. Taken, it would
        undo what the new owner has booked. So the position in the log decides, not the place in the changelog, and
        what was overwritten is written again.
        """
        newest: dict[tuple[int, bytes], bytes | None] = {}
        offsets: dict[TP, int] = {}
        taken: list[Event] = []
        outdated: set[tuple[int, bytes]] = set()
        for event in batch:
            message = event.message
            offsets[message.tp] = max(message.offset, offsets.get(message.tp, -1))
            if message.key is None:  # nobody of ours writes that
                continue
            place = (message.partition, message.key)
            if place not in newest:
                newest[place] = self._stored(*place)
            if is_older(message.key, message.value, newest[place]):
                outdated.add(place)
                continue
            outdated.discard(place)
            newest[place] = message.value
            taken.append(event)
        super().apply_changelog_batch(taken)
        for tp, offset in offsets.items():
            self.data.set_persisted_offset(tp, offset)
        self._outdated = {place for place in self._outdated if place not in newest} | outdated
        for partition, key in outdated:
            logger.warning(
                "the changelog of %s[%d] ends with an older value of %r than is known: the newer one is kept",
                self.name,
                partition,
                key,
            )

    def _stored(self, partition: int, key: bytes) -> bytes | None:
        # Faust's own way to the value needs the event of an agent, and there is none.
        store = cast("Store", self.data)
        return cast("bytes | None", store._db_for_partition(partition).get(key))  # noqa: SLF001

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Write again what the changelog has an old value of, so that its compaction keeps the newest."""
        active = {tp.partition for tp in active_tps}
        for partition, key in sorted(self._outdated):
            if partition in active:
                self.send_changelog(partition, key, self._stored(partition, key))
        self._outdated = {place for place in self._outdated if place[0] not in active}
        await super().on_recovery_completed(active_tps, standby_tps)

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
