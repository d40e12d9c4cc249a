"""Every decoder of the wire, fed with the same bytes: only the errors that are named may leave one."""

from collections.abc import Callable
from contextlib import suppress

from infra.errors import RemediableError
from infra.redis.events import ChannelMessage, StreamEntry
from portfolio import InvalidBook, LogPosition, decode_book, encode_book
from portfolio.replay.formats import read_lines
from portfolio.replay.lines import InvalidLine
from streams import records
from streams.account_log import Applied, apply_record, partition_of, read_account
from streams.alerts.records import decode_alert_record
from streams.dead_letter_box import LetterId
from streams.executions.decoding import UnreadableExecution, decode_execution
from streams.executions.records import execution_records
from streams.records import UnreadableRecord
from streams.tables import applied_key, is_older

ACCOUNT = "main"
PARTITIONS = 8
HOME = LogPosition(partition_of(ACCOUNT, PARTITIONS), 7)


def decode_everywhere(data: bytes) -> None:
    """Give the bytes to each decoder; another error than the named ones, or a wrong answer, leaves this function."""
    for decode in _DECODERS:
        with suppress(UnreadableRecord, UnreadableExecution, InvalidBook, InvalidLine, RemediableError):
            decode(data)


def _apply(data: bytes) -> None:
    """What is accepted can be stored and read again: else the next record of the account would stop the worker."""
    step = apply_record(ACCOUNT.encode(), data, position=HOME, stored=None, partitions=PARTITIONS)
    if isinstance(step, Applied):
        assert encode_book(decode_book(step.stored)) == step.stored
        for output in step.outputs:
            output.value.decode()


def _execution(data: bytes) -> None:
    for channel in ("anything", "roottrading:cycle:1", "roottrading:order:1"):
        with suppress(UnreadableExecution):
            decode_execution(ChannelMessage(channel, data), ACCOUNT)
    middle = len(data) // 2
    decode_execution(StreamEntry("s", "1-0", {data[:middle]: data[middle:], b"symbol": data}), ACCOUNT)


def _replayed(data: bytes) -> None:
    for _ in read_lines(data.decode(errors="replace").splitlines()):
        pass


def _older(data: bytes) -> None:
    for key in (ACCOUNT.encode(), applied_key(3)):
        is_older(key, data, data)


_DECODERS: tuple[Callable[[bytes], object], ...] = (
    records.account_events.decode,
    records.marks_pages.decode,
    records.pnl_records.decode,
    records.position_records.decode,
    records.balance_records.decode,
    records.journal_records.decode,
    records.dead_letters.decode,
    decode_alert_record,
    execution_records.decode,
    decode_book,
    read_account,
    lambda data: LetterId.parse(data.decode(errors="replace")),
    _apply,
    _execution,
    _older,
    _replayed,
)
