"""The command line of the service: `portfolio COMMAND`.

A command's module is imported when the command is run or asked for its help, so that `portfolio --help` and light
commands never pay for Faust, polars or a web framework.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from infra.errors import RemediableError

# An empty line between two examples keeps typer from joining them.
_EPILOG = """Examples:

portfolio up: the whole pipeline on this machine, with a simulated exchange

portfolio up --workers 3 --speed 10: three workers, a market ten times as fast

portfolio replay fills.jsonl: what a file of fills amounts to, with no server

portfolio COMMAND --help: what a command does, its options and an example
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command in the list.

    Attributes:
        help: One line, shown in the list of commands.
        section: The heading that it is listed under.
    """

    help: str
    section: str


_RUN, _LOOK, _PARTS = "Run everything", "Look and calculate", "Run one part"

# Each is the function of the same name in the module `cli.<name>`; where the command has a dash, they have `_`.
COMMANDS: dict[str, _Entry] = {
    "up": _Entry("Start the whole pipeline on this machine and watch over it.", _RUN),
    "config": _Entry("Show every setting: its value, default, environment variable and meaning.", _LOOK),
    "replay": _Entry("Fold a file of events into books, with no broker or database.", _LOOK),
    "report": _Entry("Report realized gains, lot by lot, from the journal or a file.", _LOOK),
    "stats": _Entry("Compute performance figures from a CSV of returns, trades or equity.", _LOOK),
    "doctor": _Entry("Check everything that the service needs, and say what to do.", _LOOK),
    "adjust": _Entry("Adjust a cost, book a flow by hand, or correct a trade.", _LOOK),
    "reclassify": _Entry("Name the kind of a flow that the exchange gave no reason for.", _LOOK),
    "verify": _Entry("Compare log, tables, Postgres and exchange, and show each difference.", _LOOK),
    "rebuild": _Entry("Make the tables in Postgres anew from the log.", _LOOK),
    "dead-letters": _Entry("List, show or retry records that could not be read or booked.", _LOOK),
    "alerts": _Entry("Watch the accounts by rules and tell people; list, acknowledge, silence, test.", _LOOK),
    "secrets": _Entry("Keep API keys and other secrets encrypted, and refer to them.", _LOOK),
    "keys": _Entry("Make, list, end and replace the keys to the API.", _LOOK),
    "audit": _Entry("List the audit trail, or verify that nobody tampered with it.", _LOOK),
    "chaos": _Entry("Kill and suspend the parts of a stack of its own at random, and compare all books.", _LOOK),
    "storm": _Entry("Let everything go wrong between exchange and gateway, and compare the log.", _LOOK),
    "load": _Entry("Hold live streams and ask the API at a steady rate, and report latencies.", _LOOK),
    "version": _Entry("Show the versions of the service and of what it runs on.", _LOOK),
    "exchange": _Entry("Run the simulated Binance exchange.", _PARTS),
    "demo": _Entry("Run the demo trader on the simulated exchange.", _PARTS),
    "gateway": _Entry("Carry account events and marks from Binance to Kafka.", _PARTS),
    "executions": _Entry(
        "Carry executions that bots announce in Redis to Kafka, and compare them with the fills.", _PARTS
    ),
    "worker": _Entry("Run a Faust worker: ledger, valuation, and the sinks.", _PARTS),
    "api": _Entry("Serve the REST API and the dashboard.", _PARTS),
    "migrate": _Entry("Bring the database schema up to date.", _PARTS),
    "topics": _Entry("Create the Kafka topics, or check those that exist.", _PARTS),
    "backup": _Entry("Write Postgres to a file, or restore it from one.", _PARTS),
}


class _LazyCommand(TyperCommand):
    """A command whose module is imported when it is needed, and not to be listed."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: Any = None,  # noqa: ANN401 - typer keeps the type of a context to itself
        **extra: object,
    ) -> typer.Context:
        command = _load_command(str(self.name))
        return cast("typer.Context", command.make_context(info_name, args, parent, **extra))


class _LazyGroup(TyperGroup):
    """The list of commands, in the order written above."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - the signature is typer's
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | None:  # noqa: ARG002 - the signature is typer's
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return _LazyCommand(cmd_name, help=entry.help, rich_help_panel=entry.section, callback=lambda: None)


def _load_command(name: str) -> TyperCommand:
    function_name = name.replace("-", "_")
    module_name = f"cli.{function_name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        remedy = "Update it, for example with `git pull` and `./dev`"
        raise RemediableError(f"this copy of the service has no command {name}", remedy) from error
    single = typer.Typer(add_completion=False)
    single.command(name)(getattr(module, function_name))
    return cast("TyperCommand", typer.main.get_command(single))


app = typer.Typer(
    name="portfolio",
    cls=_LazyGroup,
    help="Exact, conserved, replayable books of a Binance spot account: positions, PnL and equity as it happens.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _portfolio() -> None:
    """Make typer build a group, whose commands come from the list above."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that a person can clear is one line and exit code 1.

    Args:
        arguments: What follows the program's name; None: those of this process.
    """
    try:
        app(arguments, prog_name="portfolio")
    except RemediableError as error:
        print(f"portfolio: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
