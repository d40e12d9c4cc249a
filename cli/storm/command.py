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

from cli.storm.report import StormReport
from cli.storm.run import StormOptions, run_storm
from cli.storm.trader import SYMBOLS_MAX
from infra.embedded.processes import NotReadyError
from infra.settings import load_settings


def storm(
    *,
    seed: Annotated[int, typer.Option(help="Decides the faults, their times, and what is traded.")] = 0,
    faults: Annotated[int, typer.Option(help="How many faults, of each kind in turn.", min=0)] = 40,
    fills: Annotated[int, typer.Option(help="At least how many fills.", min=1)] = 2_000,
    symbols: Annotated[int, typer.Option(help="On how many symbols.", min=1, max=SYMBOLS_MAX)] = 30,
    accounts: Annotated[int, typer.Option(help="On how many accounts.", min=1, max=20)] = 3,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data of the run also when all agrees.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Let everything go wrong between the exchange and the gateway, and compare the log with the exchange's books.

    The simulated exchange loses, delays, repeats, reorders, cuts and garbles messages, drops connections or lets them
    fall silent, answers 429, 418, 403 and 5xx or not at all, shuts down, and its clock jumps. Meanwhile the accounts
    trade, and assets come and go in every way that the exchange knows. Then every fill must be on the log once, in
    order and to the last digit; the folded log must come to the exchange's balances; every flow must have its kind; and
    the request weight must never have passed its limit. Exit code 0 only if all of it holds.

    Kafka, the exchange and the gateway are its own, as are ports and data; a stack that runs here is not touched. The
    data of a run that does not agree are kept.

    Example: portfolio storm --seed 7 --faults 200 --fills 20000 --json
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: what was started must not be left behind.
        signal.signal(number, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    options = StormOptions(seed=seed, faults=faults, fills=fills, symbols=symbols, accounts=accounts)
    report = _run(options, keep=keep)
    print(msgspec.json.encode(report).decode() if json else _summary(report))
    raise typer.Exit(0 if report.agrees else 1)


def _run(options: StormOptions, *, keep: bool) -> StormReport:
    """Run, and keep the data only where there is something to find in them."""
    root = Path(tempfile.mkdtemp(prefix="portfolio-storm-"))
    is_worth_a_look = True
    try:
        report = asyncio.run(run_storm(options, load_settings(), root, _say))
        is_worth_a_look = keep or not report.agrees
    except (NotReadyError, TimeoutError) as error:
        _say(f"it did not get ready: {error}")
        raise typer.Exit(1) from None
    finally:
        if is_worth_a_look:
            _say(f"the data are in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    return report


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _summary(report: StormReport) -> str:
    most = max(report.weight.values(), key=lambda each: each.most_used / each.limit)
    faults = f"{sum(report.faults.values())} faults of {len(report.faults)} kinds"
    return "\n".join(
        [
            f"seed {report.seed}: {faults} in {report.lasted_s:.0f} s, settled after {report.settled_s:.0f} s more",
            f"{report.fills} fills and {report.flows} flows on {report.symbols} symbols and {report.accounts} accounts",
            f"lost {report.lost}, duplicated {report.duplicated}, out of order {report.disordered}",
            f"request weight at most {most.most_used} of {most.limit} in a minute",
            *report.differences,
            "the log is what the exchange says" if report.agrees else "the log is not what the exchange says",
        ]
    )
