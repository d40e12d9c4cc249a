"""`portfolio load`."""

import json as json_format
import os
from typing import Annotated, Any

import typer

from infra.errors import RemediableError


def load(
    url: Annotated[str, typer.Option(help="Address of the API.")] = "http://127.0.0.1:8000",
    *,
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the key to send; default: no key.")
    ] = None,
    streams: Annotated[int, typer.Option(min=0, help="Live streams to hold.")] = 500,
    rate: Annotated[int, typer.Option(min=0, help="Requests a second, over the usual routes in turn.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold live streams open and ask the API at a steady rate, and report errors and latencies.

    Every request is for a full answer, never for one only if it has changed (`If-None-Match`), and takes gzip. It
    counts from the moment at which it was due, so a server that falls behind is not spared. Exit code 0 only if there
    was no error: each request sent and answered 200, each stream held to the end, and no message left out.

    Example: portfolio load --streams 500 --rate 1000 --seconds 60
    """
    import uvloop

    from cli.load_client import Plan, put_under_load

    key = None if key_env is None else os.environ.get(key_env)
    if key_env is not None and not key:
        raise RemediableError(f"{key_env} is not set", f"Set it to a key: `export {key_env}=...`")
    plan = Plan(url=url.rstrip("/"), key=key, streams=streams, rate=rate, seconds=seconds)
    told = uvloop.run(put_under_load(plan))
    print(json_format.dumps(told, indent=2) if json else _table(told))
    raise typer.Exit(1 if told["errors"] else 0)


def _table(told: dict[str, Any]) -> str:
    summary = (
        f"{told['requests']['count']} requests in {told['seconds']} s ({told['requests']['per_second']} a second), "
        f"{told['streams']['held']} streams, {told['streams']['messages']} messages, {told['errors']} errors; "
        f"this client used {told['client_cpu_seconds']} s of processor time"
    )
    rows = {**told["routes"], "all routes": told["requests"], "stream messages": told["streams"]["delay_ms"]}
    width = max(len(name) for name in rows)
    lines = [summary, f"{'milliseconds':<{width}} {'count':>8} {'p50':>8} {'p90':>8} {'p95':>8} {'p99':>8} {'max':>8}"]
    for name, row in rows.items():
        figures = " ".join(f"{row[each]!s:>8}" for each in ("count", "p50", "p90", "p95", "p99", "max"))
        lines.append(f"{name:<{width}} {figures}")
    lines += [f"{count} times: {what}" for what, count in told["error_kinds"].items()]
    return "\n".join(lines)
