"""A worker that dies anywhere, from one seed: the ledger's own steps, on a broker and a disk of a few lines.

What is simulated is what a crash leaves behind. The disk (RocksDB) keeps every write at once, or is lost whole. The
broker keeps what was published and a first part of the changelog, and the committed offset follows the
acknowledgements as Faust's does: past records that were never delivered. Records are skipped now and then, as Faust
skips them at a rebalance.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

import agents.ledger
from portfolio import LogPosition, decode_book
from streams import topics
from streams.account_log import Applied, apply_record, partition_of
from streams.dead_letters import Burials
from streams.fence import Fence
from streams.processing import Abandoned, Event, Rest
from streams.publishing import Output
from streams.records import dead_letters, journal_records
from streams.tables import BookTable, is_account_key
from tests.support.worker import fill, record

PARTITIONS = 8
HOME = 3
ACCOUNTS = [name for name in (f"account-{number}" for number in range(60)) if partition_of(name, PARTITIONS) == HOME][
    :3
]
BAD = b"no json"

Record = tuple[str, bytes]


class Crash(BaseException):
    """SIGKILL; nothing of the service's catches it."""


def deal_log(dice: random.Random, length: int) -> list[Record]:
    """Fills of a few accounts, some of them again under a new offset, some records that cannot be read."""
    numbers: defaultdict[str, int] = defaultdict(int)
    log = []
    for _ in range(length):
        account = dice.choice(ACCOUNTS)
        if dice.random() < 0.1:
            log += [(account, BAD)] * dice.randint(1, 8)
            continue
        if dice.random() < 0.8:
            numbers[account] += 1
        log.append((account, record(account, fill(max(1, numbers[account])))))
    return log


def pure_books(log: list[Record]) -> dict[bytes, bytes]:
    """Folded in one go."""
    books: dict[bytes, bytes] = {}
    for offset, (account, value) in enumerate(log):
        key, position = account.encode(), LogPosition(HOME, offset)
        step = apply_record(key, value, position=position, stored=books.get(key), partitions=PARTITIONS)
        if isinstance(step, Applied):
            books[key] = step.stored
    return books


@dataclass
class Broker:
    """What outlives every crash."""

    log: list[Record]
    published: list[Output] = field(default_factory=list)
    changelog: list[tuple[bytes, bytes]] = field(default_factory=list)
    committed: int = 0

    def table(self) -> dict[bytes, bytes]:
        """The table as whoever takes over recovers it."""
        return dict(self.changelog)


class Table:
    """The table of one worker: writes are on disk at once, and on their way to the changelog."""

    def __init__(self, broker: Broker, disk: dict[bytes, bytes], may_die: Callable[[], None]) -> None:
        self.disk = disk
        self._broker = broker
        self._may_die = may_die
        self._on_their_way: list[tuple[bytes, bytes] | Event] = []

    def get(self, key: bytes) -> bytes | None:
        return self.disk.get(key)

    def __getitem__(self, key: bytes) -> bytes:
        return self.disk[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.disk[key] = value
        self._on_their_way.append((key, value))
        self._may_die()

    def acknowledge_after_changes(self, event: Event) -> None:
        self._on_their_way.append(event)
        self._may_die()

    def arrive(self, count: int) -> None:
        """The broker answers: entries of the changelog, and the acknowledgements that wait for them."""
        while self._on_their_way and count > 0:
            first = self._on_their_way.pop(0)
            if isinstance(first, tuple):
                self._broker.changelog.append(first)
            else:
                first.ack()
            count -= 1


class Worker:
    """The ledger's own code for one record, with everything around it simulated."""

    def __init__(self, broker: Broker, disk: dict[bytes, bytes], dice: random.Random, *, dies: bool) -> None:
        self._broker = broker
        self._dice = dice
        self._dies = dies
        self._steps_to_live = dice.randint(1, 60)
        self.next = self.committed_at_start = broker.committed
        self._unacknowledged: set[int] = set()
        self._acknowledged: set[int] = set()
        self._burying: list[asyncio.Future[None]] = []
        self._given_up: set[int] = set()
        self._is_dead = False
        self.table = Table(broker, disk, self._may_die)

    def _may_die(self) -> None:
        self._steps_to_live -= 1
        if self._dies and self._steps_to_live <= 0:
            raise Crash

    async def publish(self, _app: object, outputs: tuple[Output, ...], _claim: object) -> None:
        if any(output.topic == topics.DEAD_LETTERS.name for output in outputs):
            for _ in range(self._dice.randint(0, 4)):
                await asyncio.sleep(0)
            if self._dice.random() < 0.1:
                raise Abandoned
        for output in outputs:
            self._may_die()
            self._broker.published.append(output)
        self._may_die()

    def rewind(self, _topic: str, _partition: int, offset: int) -> None:
        """The partition is read again from there."""
        self.next = offset

    def event(self, offset: int) -> Event:
        """A record as it is delivered."""
        account, value = self._broker.log[offset]

        def acknowledge() -> None:
            self._unacknowledged.discard(offset)
            self._acknowledged.add(offset)

        message = SimpleNamespace(
            topic=topics.ACCOUNT_EVENTS.name,
            partition=HOME,
            offset=offset,
            key=account.encode(),
            value=value,
            generation_id=1,
            headers=None,
            timestamp=1_700_000_000.0,
        )
        return cast("Event", SimpleNamespace(message=message, ack=acknowledge))

    async def run(self) -> None:
        """Read to the end of the log, or until it dies."""
        end = len(self._broker.log)
        steps = 0
        while self.next < end:
            steps += 1
            assert steps < 100 * end, "it goes round in circles"
            if self.committed_at_start and self._dies and self._dice.random() < 0.05:
                self.next = min(end - 1, self.next + self._dice.randint(1, 3))
            offset, self.next = self.next, self.next + 1
            self._unacknowledged.add(offset)
            try:
                rest = await agents.ledger.apply_event(self.event(offset))
            except Abandoned:
                self._unacknowledged.discard(offset)
            else:
                if rest is not None:
                    self._burying.append(asyncio.ensure_future(self._bury(offset, rest)))
            await self._turn(self.next == end)
            self.table.arrive(self._dice.randint(0, 6))
            if self._dice.random() < 0.5:
                self._commit()
        self.table.arrive(1_000_000)
        self._commit()

    async def _bury(self, offset: int, rest: Rest) -> None:
        try:
            await rest
        except Abandoned:
            self._unacknowledged.discard(offset)
            self._given_up.add(offset)
        except Crash:
            self._is_dead = True

    async def _turn(self, is_end: bool) -> None:
        """Let letters that are on their way go on; at the end whoever is next reads what was given up."""
        if is_end:
            await asyncio.gather(*self._burying)
        else:
            await asyncio.sleep(0)
        if self._is_dead:
            raise Crash
        self._burying = [one for one in self._burying if not one.done()]
        if is_end and self._given_up:
            self.next = min(self._given_up)
            self._given_up.clear()

    def _commit(self) -> None:
        if self._acknowledged:
            beyond = max(self._acknowledged) + 1
            self._broker.committed = max(self._broker.committed, min(self._unacknowledged, default=beyond))
        assert_committed_is_kept(self._broker)


def assert_committed_is_kept(broker: Broker) -> None:
    """What is committed is never read again: so the changelog must have it."""
    needed = {name.encode(): at for at, (name, value) in enumerate(broker.log[: broker.committed]) if value != BAD}
    table = broker.table()
    for account, offset in needed.items():
        kept = decode_book(table[account]).position
        assert kept is not None
        assert kept.offset >= offset


def install(worker: Worker, monkeypatch: pytest.MonkeyPatch, session_timeout_s: float = 6.0) -> None:
    """Let the ledger run on what is simulated."""
    table = cast("BookTable[bytes, bytes]", worker.table)
    for name, value in {
        "app": SimpleNamespace(
            conf=SimpleNamespace(broker_session_timeout=session_timeout_s, topic_partitions=PARTITIONS),
            flow_control=SimpleNamespace(is_active=lambda: True),
            consumer_generation_id=1,
        ),
        "books": table,
        "burials": Burials(),
        "fence": Fence(table, lambda _partition: worker.committed_at_start or None),
        "rewinder": worker,
        "publish": worker.publish,
        "book_view": SimpleNamespace(put=lambda _partition, _book: None),
    }.items():
        monkeypatch.setattr(agents.ledger, name, value)


@pytest.fixture
def run_worker(monkeypatch: pytest.MonkeyPatch) -> Callable[[Worker], bool]:
    def run(worker: Worker) -> bool:
        """Run it; whether it lived to the end of the log."""
        install(worker, monkeypatch)
        try:
            asyncio.run(worker.run())
        except Crash:
            return False
        return True

    return run


@pytest.mark.parametrize("seed", range(25))
def test_whatever_a_crash_leaves_behind_the_books_are_the_fold_of_the_log(
    seed: int, run_worker: Callable[[Worker], bool]
) -> None:
    dice = random.Random(seed)
    broker = Broker(deal_log(dice, 40))
    disk: dict[bytes, bytes] = {}
    for _ in range(12):
        worker = Worker(broker, disk, dice, dies=True)
        if not run_worker(worker):
            # What was on its way arrives in part; the next worker has the same disk, or another with nothing on it.
            worker.table.arrive(dice.randint(0, 4))
        disk = worker.table.disk if dice.random() < 0.6 else broker.table()
    last = Worker(broker, broker.table(), dice, dies=False)
    assert run_worker(last)

    expected = pure_books(broker.log)
    for table in (last.table.disk, broker.table()):
        assert {key: value for key, value in table.items() if is_account_key(key)} == expected
    assert_everything_was_told(broker)


def test_a_worker_that_was_suspended_beyond_its_session_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker may have the partition by now, without this one having heard of it."""
    dice = random.Random(1)
    broker = Broker([(ACCOUNTS[0], record(ACCOUNTS[0], fill(number))) for number in (1, 2)])
    worker = Worker(broker, {}, dice, dies=False)
    install(worker, monkeypatch)
    asyncio.run(agents.ledger.apply_event(worker.event(0)))
    before = dict(worker.table.disk)

    install(worker, monkeypatch, session_timeout_s=0.0)
    with pytest.raises(Abandoned):
        asyncio.run(agents.ledger.apply_event(worker.event(1)))

    assert worker.table.disk == before
    assert worker.next == 1  # read again, in case that the partition is still its own


def assert_everything_was_told(broker: Broker) -> None:
    """Each record has its journal record or its dead letter, and what was published twice is the same twice."""
    told: defaultdict[int, set[bytes]] = defaultdict(set)
    for output in broker.published:
        if output.topic == topics.JOURNAL.name:
            told[journal_records.decode(output.value).update.position.offset].add(output.value)
    rejected = {
        dead_letters.decode(output.value).offset
        for output in broker.published
        if output.topic == topics.DEAD_LETTERS.name
    }
    assert rejected == {offset for offset, (_, value) in enumerate(broker.log) if value == BAD}
    assert told.keys() | rejected == set(range(len(broker.log)))
    assert all(len(values) == 1 for values in told.values())
