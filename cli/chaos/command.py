"""The command itself: options, progress, report, exit code."""

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli.chaos.disk import Disk
from cli.chaos.report import ChaosReport
from cli.chaos.run import ChaosOptions, run_chaos
from infra.embedded.processes import NotReadyError
from infra.settings import load_settings


def chaos(
    *,
    seed: Annotated[int, typer.Option(help="Decides the faults, their times, and what is traded.")] = 0,
    faults: Annotated[int, typer.Option(help="How many faults.", min=0)] = 5,
    fills: Annotated[int, typer.Option(help="At least how many fills.", min=1)] = 200,
    workers: Annotated[int, typer.Option(help="How many Faust workers.", min=1, max=16)] = 2,
    accounts: Annotated[int, typer.Option(help="How many accounts trade.", min=1, max=100)] = 3,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data of the run also when all agrees.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Start a stack of its own, trade, kill and suspend its parts at random, and compare all books.

    Workers, gateway, Kafka, Postgres, Redis and the exchange die by SIGKILL or hang by SIGSTOP; tables of workers are
    deleted; workers leave and join; the exchange closes its streams or lets them fall silent, and its clock jumps; the
    disk is full (on Linux, as root; else that is left out, and the report says so). Meanwhile the accounts trade,
    assets move in and out, and trades, costs and flows are corrected by hand. Then the exchange's own books, the fold
    of the log, the books of the workers, Postgres and the API, and the pnl topic must agree exactly, every fill once,
    and a rebuild must come to the same rows. Exit code 0 only if they do.

    Ports and data are its own; a stack that runs here already is not touched. The data of a run that does not agree
    are kept.

    Example: portfolio chaos --seed 7 --faults 20 --fills 2000 --json
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: what was started must not be left behind.
        signal.signal(number, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    options = ChaosOptions(seed=seed, faults=faults, fills=fills, workers=workers, accounts=accounts)
    report = _run(options, keep=keep)
    print(msgspec.json.encode(report).decode() if json else _summary(report))
    raise typer.Exit(0 if report.agrees else 1)


def _run(options: ChaosOptions, *, keep: bool) -> ChaosReport:
    """Run, and keep the data only where there is something to find in them."""
    root = Path(tempfile.mkdtemp(prefix="portfolio-chaos-"))
    # Postgres runs as another user where this one is root.
    root.chmod(0o711)
    data = root / "data"
    data.mkdir()
    is_worth_a_look = keep
    try:
        with Disk(data) as disk:
            if disk.cannot_be_full is not None:
                _say(f"the disk cannot be full here ({disk.cannot_be_full}); those faults are left out")
            try:
                report = asyncio.run(run_chaos(options, load_settings(), root, disk, _say))
                is_worth_a_look = is_worth_a_look or not report.agrees
            except (NotReadyError, TimeoutError) as error:
                is_worth_a_look = True
                _say(f"the stack did not get ready: {error}")
                raise typer.Exit(1) from None
            finally:
                if is_worth_a_look:
                    disk.save(root / "kept")
    finally:
        if is_worth_a_look:
            _say(f"the data are in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    return report


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _summary(report: ChaosReport) -> str:
    slowest = max((fault.recovered_s or 0.0 for fault in report.faults), default=0.0)
    return "\n".join(
        [
            f"seed {report.seed}: {len(report.faults)} faults in {report.lasted_s:.0f} s",
            f"{report.fills} fills and {report.flows} flows on {report.accounts} accounts",
            f"{report.corrections} corrections by hand",
            *(f"left out: {each.kind} of {each.target}: {each.reason}" for each in report.skipped),
            f"lost {report.lost}, duplicated {report.duplicated}",
            f"slowest recovery {slowest:.1f} s, longest silence {report.longest_silence_s:.1f} s",
            *report.differences,
            "all books agree" if report.agrees else "the books do not agree",
        ]
    )
