"""What a check found: a verdict, what was seen, what to do; and how the verdicts follow from what was measured."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import SecretStr

from infra.binance.permissions import READ_ONLY, KeyRights
from infra.errors import RemediableError
from infra.settings import Settings

CLOCK_OFFSET_WARN_MS = 500
CLOCK_OFFSET_FAIL_MS = 5_000
"""Binance's default recvWindow: a signed request that is older is refused with -1021."""

LATENCY_WARN_MS = 1_000
WEIGHT_WARN = 5_000
"""The gateway takes no more than its share of the limit (BINANCE_WEIGHT_SHARE): something else is at work here."""

WEIGHT_LIMIT = 6_000
DISK_WARN_BYTES = 5 * 1024**3
DISK_FAIL_BYTES = 1024**3

_CHECK_TIMEOUT_S = 15.0


class Verdict(StrEnum):
    """How bad it is: nothing to do, to be looked at, or in the way."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check; `remedy` is empty when there is nothing to do."""

    check: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def judge_latency(address: str, latency_ms: float) -> Finding:
    """Judge how long a ping of the exchange took."""
    seen = f"{address} answers in {latency_ms:.0f} ms"
    if latency_ms > LATENCY_WARN_MS:
        return Finding("binance", Verdict.WARN, seen, "Run the gateway nearer to the exchange, or look at the network")
    return Finding("binance", Verdict.OK, seen)


def judge_clock(offset_ms: int) -> Finding:
    """Judge the exchange's clock less this machine's, in milliseconds."""
    seen = f"this clock is {abs(offset_ms)} ms {'behind' if offset_ms > 0 else 'ahead of'} the exchange's"
    remedy = "Synchronize the clock, for example with chrony or systemd-timesyncd"
    if abs(offset_ms) > CLOCK_OFFSET_FAIL_MS:
        seen += "; outside the recvWindow of 5 s, so a request signed by this clock is refused with -1021"
        return Finding("clock", Verdict.FAIL, seen, remedy)
    if abs(offset_ms) > CLOCK_OFFSET_WARN_MS:
        return Finding("clock", Verdict.WARN, seen, remedy)
    return Finding("clock", Verdict.OK, seen)


def judge_rights(rights: KeyRights, policy: Literal["warn", "refuse"] = "warn") -> Finding:
    """Judge what a key may do; to read is enough.

    Args:
        rights: What it may do.
        policy: What the gateway does about a key that may do more: PORTFOLIO_KEY_PERMISSIONS.
    """
    if not rights.may_read:
        remedy = "In the exchange's API management give the key the right to read"
        return Finding("permissions", Verdict.FAIL, "the key may not read", remedy)
    whose = "the key" if rights.is_of_key else "as far as the account's flags show, the key"
    where = {True: ", from the addresses that are allowed", False: ", from any address", None: ""}[rights.is_bound]
    seen = f"{whose} may {rights}{where}"
    if not rights.powers:
        return Finding("permissions", Verdict.OK, seen)
    if policy == "refuse":
        return Finding("permissions", Verdict.FAIL, f"{seen}; PORTFOLIO_KEY_PERMISSIONS refuses it", READ_ONLY)
    return Finding("permissions", Verdict.WARN, seen, READ_ONLY)


def judge_weight(used: int) -> Finding:
    """Judge the request weight that was used in the running minute."""
    seen = f"{used} of {WEIGHT_LIMIT} in this minute"
    remedy = "Find what else sends requests from this address; the gateway waits rather than pass the limit"
    if used >= WEIGHT_LIMIT:
        return Finding("request weight", Verdict.FAIL, seen, remedy)
    if used >= WEIGHT_WARN:
        return Finding("request weight", Verdict.WARN, seen, remedy)
    return Finding("request weight", Verdict.OK, seen)


def judge_disk(directory: str, free_bytes: int, *, writable: bool) -> Finding:
    """Judge the room of the data directory."""
    seen = f"{free_bytes / 1024**3:.1f} GiB free at {directory}"
    remedy = "Make room, or set PORTFOLIO_DATA_DIR to a directory with more"
    if not writable:
        return Finding("disk", Verdict.FAIL, f"{directory} cannot be written", "Give this user the right to write")
    if free_bytes < DISK_FAIL_BYTES:
        return Finding("disk", Verdict.FAIL, seen, remedy)
    if free_bytes < DISK_WARN_BYTES:
        return Finding("disk", Verdict.WARN, seen, remedy)
    return Finding("disk", Verdict.OK, seen)


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether something is in the way."""
    return any(finding.verdict is Verdict.FAIL for finding in findings)


Check = Callable[[Settings], Awaitable[list[Finding]]]


async def run_checks(settings: Settings, checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """Run all checks at once; one that breaks is a finding, and takes no other with it. No secret is in the result.

    Args:
        settings: What is checked.
        checks: Name of each, for the finding when it breaks.
    """
    results = await asyncio.gather(*(_guarded(settings, name, check) for name, check in checks))
    secrets = _secrets(settings)
    return [_without(finding, secrets) for findings in results for finding in findings]


async def _guarded(settings: Settings, name: str, check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            return await check(settings)
    except RemediableError as error:
        return [Finding(name, Verdict.FAIL, error.message, error.remedy)]
    except TimeoutError:
        seen = f"no answer within {_CHECK_TIMEOUT_S:.0f} s"
        return [Finding(name, Verdict.FAIL, seen, "See whether it runs, is reachable and is not overloaded")]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks are shown
        # Only its kind: the text of an error about an address may have a part of the password.
        seen = f"the check ended with {type(error).__name__}"
        return [Finding(name, Verdict.FAIL, seen, "Check its settings with `portfolio config`")]


def _secrets(settings: Settings) -> list[str]:
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    found = set(values)
    for value in values:
        try:
            password = urlsplit(value).password
        except ValueError:
            continue
        if password:
            found |= {password, unquote(password)}
    # The name of a file with a private key is no secret, and tells which one cannot be read.
    return sorted((secret for secret in found if secret and not secret.endswith(".pem")), key=len, reverse=True)


def _without(finding: Finding, secrets: Iterable[str]) -> Finding:
    seen = finding.seen
    for secret in secrets:
        seen = seen.replace(secret, "***")
    return msgspec.structs.replace(finding, seen=seen)
