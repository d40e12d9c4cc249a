"""`portfolio up`."""

import signal
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

import httpx
import typer
from rich.markup import escape

from cli.pipeline import Options, Pipeline, api_url
from cli.up_display import Display
from infra.embedded.checks import require_free_port
from infra.embedded.data_directory import claim, clear, require_same_account
from infra.embedded.processes import NotReadyError, StartCancelledError, log_tail, stop_leftovers
from infra.embedded.servers import Directories
from infra.embedded.supervisor import Stage, Supervisor
from infra.errors import RemediableError
from infra.settings import Settings, load_settings

_FLOWS_TIMEOUT_S = 90.0


def up(
    *,
    workers: Annotated[int, typer.Option(help="How many Faust workers share the partitions.", min=1, max=64)] = 1,
    speed: Annotated[float, typer.Option(help="How many times as fast the simulated market runs.", min=0.01)] = 1.0,
    port: Annotated[
        int | None, typer.Option(help="Port of the API and the dashboard.", min=1, max=65535, show_default="8000")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Let the demo trader trade on the simulated exchange.")] = True,
    reset: Annotated[bool, typer.Option("--reset", help="Delete the data first; asks nothing.")] = False,
) -> None:
    """Start the whole pipeline on this machine and watch over it, until Ctrl-C.

    Kafka, Postgres, Redis, a simulated exchange, the gateway, Faust workers, the API with the dashboard, and a
    demo trader. With BINANCE_API_KEY and BINANCE_SECRET_KEY set, that account is followed instead; no order is
    ever sent there. With a portfolio.toml its accounts are followed: docs/gateway.md. With KAFKA_BROKERS, DATABASE_URL
    or REDIS_URL set, those servers are used.

    What dies is started again. Data are kept in PORTFOLIO_DATA_DIR, and the next start goes on with them.

    Example: portfolio up --workers 3 --speed 10
    """
    settings = load_settings()
    if port is not None:
        settings = settings.model_copy(update={"port": port})
    directories = Directories(settings.data_dir.expanduser().absolute())
    cancelled = _cancelled_by_signals()
    display = Display()
    with claim(directories):
        for name in stop_leftovers(directories.run):
            display.say(f"stopped {name}, left running by a start that was killed")
        if reset:
            _require_whole_reset(settings)
            clear(directories)
        require_same_account(directories, settings)
        require_free_port(settings.port, purpose="api", setting="PORTFOLIO_PORT or --port", host=settings.host)
        pipeline = Pipeline(settings, directories, Options(workers=workers, speed=speed, with_demo=demo))
        _run(pipeline, display, api_url(settings), cancelled)


def _require_whole_reset(settings: Settings) -> None:
    """The log and what was made of it go together: books that outlive their log would never be written again."""
    own = [name for name in ("KAFKA_BROKERS", "DATABASE_URL") if getattr(settings, name.lower()) is not None]
    if own:
        raise RemediableError(
            f"--reset deletes the data directory only, and {' and '.join(own)} point elsewhere",
            "Delete the topics portfolio.* and the database there yourself, both, and start without --reset",
        )


def _cancelled_by_signals() -> threading.Event:
    cancelled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: cancelled.set())
    return cancelled


def _run(pipeline: Pipeline, display: Display, url: str, cancelled: threading.Event) -> None:
    supervisor = Supervisor(display.report, cancelled)
    try:
        with display.starting(), suppress(StartCancelledError):
            _start(pipeline, supervisor, display)
            _wait_for_data(supervisor, display, f"{url}/admin/status")
        if not cancelled.is_set():
            if not display.is_ready("pipeline"):
                _explain(pipeline, display)
            display.show_addresses([*pipeline.servers(), *pipeline.services()], f"{url}/")
        supervisor.watch()
    except NotReadyError as error:
        display.fail(str(error))
        sys.exit(1)
    finally:
        supervisor.stop()
    display.say("stopped; the data are kept for the next start")


def _start(pipeline: Pipeline, supervisor: Supervisor, display: Display) -> None:
    for name, reason in pipeline.skipped():
        display.report(name, Stage.SKIPPED, reason)
    database_schema, topics = pipeline.preparations()
    supervisor.start(*pipeline.servers(), database_schema)
    supervisor.start(topics)
    supervisor.start(*pipeline.services())


def _wait_for_data(supervisor: Supervisor, display: Display, url: str) -> None:
    """The API knows whether gateway and workers do their part; a process that runs may still do nothing."""
    display.report("pipeline", Stage.STARTING, "waiting for data to flow")
    answer = "no answer"
    notes: list[str] = []

    def is_ready() -> bool:
        nonlocal answer
        try:
            response = client.get(url)
        except httpx.TransportError as error:
            answer = str(error)
            return False
        answer = response.text
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            notes.append(
                "; it asks for a key: `portfolio keys create dashboard --scope portfolio:read --scope admin:read`"
            )
            return True
        if not response.is_success:
            return False
        states = {each["account"]: each["sync_status"] for each in response.json()["accounts"]}
        # An account that a person must look after is no reason to wait for, as long as another one runs.
        if "live" not in states.values() or not set(states.values()) <= {"live", "failed"}:
            return False
        if failed := [name for name, state in states.items() if state == "failed"]:
            notes.append(f", but for {', '.join(failed)}: see {url}")
        return True

    # The certificate is for the name that others know this machine by.
    with httpx.Client(timeout=2, trust_env=False, verify=False) as client:  # noqa: S501 - this machine asks itself
        if supervisor.watch(is_ready, timeout_s=_FLOWS_TIMEOUT_S):
            display.report("pipeline", Stage.READY, f"data flow{''.join(notes[-1:])}")
        else:
            display.report("pipeline", Stage.DIED, f"{url} says, after {_FLOWS_TIMEOUT_S:.0f} s: {answer}")


def _explain(pipeline: Pipeline, display: Display) -> None:
    for part in pipeline.services():
        display.say(f"\n{part.name} says last ({escape(str(part.process.log_file))}):")
        display.say(escape(log_tail(part.process.log_file, lines=6)))
