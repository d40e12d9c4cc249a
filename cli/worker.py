"""`portfolio worker`."""

import os
import sys
from typing import Annotated

import typer

from infra.settings import load_settings


def worker(
    *,
    index: Annotated[
        int, typer.Option(help="Number of this worker on this machine; it has its own tables on disk.", min=1)
    ] = 1,
) -> None:
    """Run a Faust worker: ledger, valuation, and the sinks. Workers share the partitions between them.

    It is `faust -A streams.app worker` with the log level and the data directory of the settings; a worker must
    keep its number to find its tables again, else it recovers them from Kafka.

    Example, in two terminals: portfolio worker --index 1, portfolio worker --index 2
    """
    settings = load_settings()
    data_directory = settings.data_dir.absolute() / f"worker-{index}"
    data_directory.mkdir(parents=True, exist_ok=True)
    faust = [sys.executable, "-m", "faust", "-A", "streams.app", "--datadir", str(data_directory)]
    if settings.log_format == "json":
        faust.append("--quiet")  # its banner is no JSON
    # Faust takes the place of this process, so that a signal to the one stops the other.
    os.execv(sys.executable, [*faust, "worker", "--loglevel", settings.log_level.lower(), "--without-web"])  # noqa: S606
