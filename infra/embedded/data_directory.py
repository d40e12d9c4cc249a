"""The data directory of a stack: one stack at a time, and only what the stack made is ever deleted."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from infra.embedded.checks import require_disk_space
from infra.embedded.servers import Directories
from infra.errors import RemediableError
from infra.portfolio_file import is_simulated, load_portfolio_file
from infra.settings import Settings

_MARKER = "THIS_IS_PORTFOLIO_DATA"
_MARKER_TEXT = "`portfolio up` keeps its data here; `portfolio up --reset` deletes everything in this directory.\n"
_OWNER = "account"
_SIMULATED = "the simulated exchange"
_NEEDED_MIB = 512
_SETTING = "PORTFOLIO_DATA_DIR"


@contextmanager
def claim(directories: Directories) -> Iterator[None]:
    """Hold the data directory; it is made if it is not there.

    The claim is a file lock: the system gives it up with the process, however that ends.

    Raises:
        RemediableError: Another stack holds it, it cannot be written, or its disk is full.
    """
    require_disk_space(directories.root, needed_mib=_NEEDED_MIB, setting=_SETTING)
    if not any(directories.root.iterdir()):
        (directories.root / _MARKER).write_text(_MARKER_TEXT)
    directories.run.mkdir(exist_ok=True)
    with (directories.run / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            message = f"a stack is running in {directories.root} already (process {lock.read().strip()})"
            raise RemediableError(message, f"Stop it with Ctrl-C, or set {_SETTING} to another directory") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_same_account(directories: Directories, settings: Settings) -> None:
    """Make sure that the books here are those of the account that is to be followed, and note whose they are.

    Raises:
        RemediableError: They are another account's. The log would go on where the other one ended.
    """
    owner = directories.root / _OWNER
    account = _SIMULATED
    if load_portfolio_file(settings).accounts:
        # The file names each account, and so does the log; a key may be replaced.
        account = _SIMULATED if is_simulated(settings) else "Binance, the accounts of portfolio.toml"
    elif settings.binance_api_key is not None and settings.follows_real_binance:
        # The key names an account and is no secret, but it need not lie around either.
        account = f"Binance, key {sha256(settings.binance_api_key.get_secret_value().encode()).hexdigest()[:16]}"
    if owner.exists() and (found := owner.read_text().strip()) != account:
        raise RemediableError(
            f"{directories.root} holds the books of another account ({found}, not {account})",
            f"Set {_SETTING} to another directory for this one, or delete the old books with --reset",
        )
    owner.write_text(f"{account}\n")


def holds_simulated_account(root: Path) -> bool:
    """Whether the books in a data directory are those of the simulated exchange."""
    owner = root / _OWNER
    return owner.exists() and owner.read_text().strip() == _SIMULATED


def clear(directories: Directories) -> None:
    """Delete what a claimed data directory holds, so that the next start begins afresh.

    Raises:
        RemediableError: The directory was not made by a stack; it is left as it is.
    """
    if not (directories.root / _MARKER).exists():
        raise RemediableError(
            f"{directories.root} was not made by `portfolio up`, so --reset does not delete it",
            f"Look what is in it and empty it yourself, or set {_SETTING} to a new directory",
        )
    for path in directories.root.iterdir():
        if path not in {directories.root / _MARKER, directories.run}:
            _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
