"""`portfolio alerts`."""

import asyncio
import contextlib
import getpass
import json as json_format
import logging
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.errors import RemediableError
from infra.settings import Settings, load_settings
from portfolio.alerts.durations import duration_us
from portfolio.alerts.engine import Alert, Silence
from portfolio.errors import InvalidRule


class Action(StrEnum):
    """What to do."""

    RUN = "run"
    LIST = "list"
    ACK = "ack"
    SILENCE = "silence"
    TEST = "test"
    CHECK = "check"


def alerts(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    alert: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="An alert, as `list` shows it; for `test`, a target's name.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="List also what is over.")] = False,
    account: Annotated[str, typer.Option(help="List or silence only this account.")] = "",
    rule: Annotated[str, typer.Option(help="List or silence only this rule.")] = "",
    span: Annotated[str, typer.Option("--for", help="How long to silence: 30m, 8h, 2d; 0s ends a silence.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why, for the audit trail.")] = "",
    by: Annotated[str, typer.Option(help="Who you are; your login when not given.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Watch the accounts by the rules of portfolio.toml, and tell people.

    `run` watches until it is stopped (`portfolio up` runs it; a second one waits to take its place). `list` shows what
    is open. `ack` says that you take care of an alert: it is not told again. `silence` keeps alerts of a rule, an
    account, or all from being told for a while. `check` says in a sentence what each rule means, and what is wrong with
    the file. `test` sends a message to every target, or one, and says what came of it.

    Example: portfolio alerts check; portfolio alerts test; portfolio alerts silence --rule stale-data --for 2h
    """
    settings = load_settings()
    if action is not Action.RUN:
        # Each failed attempt to connect would be a line of its own, beside ours.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    match action:
        case Action.RUN:
            _run(settings)
        case Action.LIST:
            _list(settings, every=every, account=account, rule=rule, as_json=json)
        case Action.ACK:
            _acknowledge(settings, alert, by or getpass.getuser())
        case Action.SILENCE:
            _silence(settings, rule=rule, account=account, span=span, by=by or getpass.getuser(), reason=reason)
        case Action.TEST:
            _test(settings, alert)
        case Action.CHECK:
            _check(settings)


def _run(settings: Settings) -> None:
    from cli.pipeline import with_simulated_exchange
    from infra.telemetry.logs import configure_logging
    from streams.alerts.service import run_alerts

    configure_logging(settings, "alerts")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # While the brokers are away it writes hundreds of lines a second; what follows from it is logged by the watch.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def run() -> None:
        task = asyncio.create_task(run_alerts(with_simulated_exchange(settings)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def _list(settings: Settings, *, every: bool, account: str, rule: str, as_json: bool) -> None:
    from streams.alerts.desk import known_alerts

    known = asyncio.run(known_alerts(settings))
    shown = [
        alert
        for alert in known.alerts
        if (every or alert.is_open) and account in {"", alert.account} and rule in {"", alert.rule}
    ]
    if as_json:
        print(json_format.dumps([_described(alert) for alert in shown], indent=2))
        return
    _print_alerts(shown)
    for silence in known.silences:
        if silence.until_us > _now_us():
            what = f"rule {silence.rule or '(all)'}, account {silence.account or '(all)'}"
            why = f": {silence.reason}" if silence.reason else ""
            print(f"silenced until {_time(silence.until_us)} by {silence.by}: {what}{why}")


def _print_alerts(shown: Sequence[Alert]) -> None:
    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True)  # whole, to be copied
    for heading in ("state", "severity", "since", "account", "rule", "what"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"severity", "since"})
    for alert in shown:
        state = (
            "cleared" if not alert.is_open else f"ack by {alert.acknowledged_by}" if alert.acknowledged_by else "open"
        )
        table.add_row(
            *(alert.id, f"{state} (silenced)" if alert.silenced else state, alert.severity),
            *(_time(alert.raised_time_us), alert.account, f"{alert.rule} {alert.subject}".strip(), alert.text),
        )
    Console(markup=False, highlight=False).print(table if shown else "no alerts")


def _acknowledge(settings: Settings, wanted: str | None, by: str) -> None:
    from streams.alerts.desk import acknowledge

    if wanted is None:
        raise RemediableError("which alert?", "Give its id; `portfolio alerts list` shows them")
    alert = asyncio.run(acknowledge(settings, wanted, by, _now_us()))
    print(f"{alert.id} is acknowledged by {by}: {alert.text}")


def _silence(settings: Settings, *, rule: str, account: str, span: str, by: str, reason: str) -> None:
    from infra.alert_file import load_alert_config
    from streams.alerts.desk import publish_silence

    rules = load_alert_config(settings).rules
    if rule and rule not in rules:
        raise RemediableError(f"there is no rule {rule}", f"The rules are {', '.join(rules)}")
    try:
        until_us = _now_us() + duration_us(span)
    except InvalidRule as error:
        raise RemediableError(str(error), "Give --for as 30m, 8h or 2d") from error
    # One silence for each rule and account: a new one takes the place of the old.
    name = f"{rule or 'all'}:{account or 'all'}"
    silence = Silence(id=name, rule=rule, account=account, until_us=until_us, by=by, reason=reason, time_us=_now_us())
    asyncio.run(publish_silence(settings, silence))
    what = f"rule {rule or '(all)'}, account {account or '(all)'}"
    print(f"{what}: told again from {_time(until_us)} on")


def _test(settings: Settings, wanted: str | None) -> None:
    from infra.alert_file import load_alert_config
    from infra.notifications import Message, NotDelivered
    from streams.alerts.delivery import send

    targets = load_alert_config(settings).targets
    if wanted is not None and wanted not in targets:
        raise RemediableError(f"there is no target {wanted}", f"The targets are {', '.join(targets) or '(none)'}")
    if not targets:
        remedy = 'Write [alerts.targets.NAME] with url = "env:..." into portfolio.toml; docs/alerts.md has examples'
        raise RemediableError("nobody is told of alerts: there is no target", remedy)
    mark = secrets.token_hex(3)
    failed = 0
    for name in targets if wanted is None else [wanted]:
        started = time.monotonic()
        try:
            send(targets[name], Message("[test] portfolio", f"A test of the target {name}, {mark}.", is_failure=False))
        except (NotDelivered, RemediableError) as error:
            failed += 1
            print(f"{name}: not delivered: {error}")
        else:
            print(f"{name}: taken after {time.monotonic() - started:.1f} s; look for {mark}")
    if failed:
        sys.exit(1)


def _check(settings: Settings) -> None:
    from infra.alert_file import load_alert_config, open_target

    config = load_alert_config(settings)
    for name, rule in config.rules.items():
        whom = ", ".join(rule.targets) if rule.targets else "all targets"
        accounts = ", ".join(rule.accounts) if rule.accounts else "any account"
        hold = f" It must be so for {rule.hold}." if duration_us(rule.hold) else ""
        state = "" if rule.enabled else " (not enabled)"
        print(f"{name} [{rule.severity}]{state}: {accounts}: {rule.told}.{hold} Tells {whom}.")
    broken = 0
    for name, target in config.targets.items():
        try:
            print(f"target {name}: {open_target(target).service}, {target.least} and worse")
        except RemediableError as error:
            broken += 1
            print(f"target {name}: {error}")
    if not config.targets:
        print("no target: alerts are listed and published, and nobody is told")
    if broken:
        sys.exit(1)


def _described(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "rule": alert.rule,
        "kind": alert.kind,
        "severity": alert.severity.value,
        "account": alert.account,
        "subject": alert.subject,
        "status": alert.status.value,
        "text": alert.text,
        "raised": _time(alert.raised_time_us),
        "changed": _time(alert.changed_time_us),
        "silenced": alert.silenced,
        "acknowledged_by": alert.acknowledged_by,
    }


def _time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _now_us() -> int:
    return time.time_ns() // 1_000
