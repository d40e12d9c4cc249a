"""The journal: one JSON line for each transaction, appended and flushed before the exchange answers.

The lines survive a SIGKILL, since what was written is the operating system's. A line that a kill tore is the last
one and was never answered for: it is cut off at the next start.
"""

import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec

from infra.exchange.records import Transaction

_logger = logging.getLogger(__name__)


class JournalError(Exception):
    """The journal cannot be used; the message says what to do."""


class Journal:
    """An append-only file of transactions, held by one process at a time.

    Args:
        directory: Where it lives; made when missing.

    Raises:
        JournalError: Another exchange holds it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "journal.jsonl"
        self._file = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise JournalError(
                f"{self._path} is in use by another exchange: stop it or choose another --state"
            ) from error

    def read(self) -> Iterator[Transaction]:
        """Every transaction, in order.

        Raises:
            JournalError: A line before the last cannot be read.
        """
        decoder = msgspec.json.Decoder(Transaction)
        self._file.seek(0)
        good_bytes = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                _logger.warning("%s: line %d was torn by a kill and is cut off", self._path, number)
                self._file.truncate(good_bytes)
                return
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise JournalError(
                    f"{self._path}: line {number} cannot be read ({error}); restore the file or start afresh"
                ) from error
            good_bytes += len(line)

    def append(self, transaction: Transaction) -> None:
        """Write a transaction and hand it to the operating system.

        Raises:
            SystemExit: It cannot be written. Memory is ahead of the disk then, so only a restart is safe.
        """
        try:
            self._file.write(msgspec.json.encode(transaction) + b"\n")
            self._file.flush()
        except OSError as error:
            raise SystemExit(f"{self._path} cannot be written ({error}): free the disk, then start again") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
