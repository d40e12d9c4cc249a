"""How verdicts follow from what was measured, and what a broken check becomes."""

import pytest
from pydantic import SecretStr

from infra.binance.permissions import rights_of_account, rights_of_key
from infra.binance.rest import AccountFlags, KeyRestrictions
from infra.doctor.findings import (
    Finding,
    Verdict,
    has_failed,
    judge_clock,
    judge_disk,
    judge_latency,
    judge_rights,
    judge_weight,
    run_checks,
)
from infra.errors import RemediableError
from infra.settings import Settings

GIB = 1024**3


@pytest.mark.parametrize(
    ("offset_ms", "verdict", "direction"),
    [
        (0, Verdict.OK, "ahead of"),
        (500, Verdict.OK, "behind"),
        (501, Verdict.WARN, "behind"),
        (-501, Verdict.WARN, "ahead of"),
        (5_000, Verdict.WARN, "behind"),
        (5_001, Verdict.FAIL, "behind"),
        (-5_001, Verdict.FAIL, "ahead of"),
    ],
)
def test_a_clock_is_judged_in_both_directions(offset_ms: int, verdict: Verdict, direction: str) -> None:
    finding = judge_clock(offset_ms)
    assert finding.verdict is verdict
    assert f"{abs(offset_ms)} ms {direction} " in finding.seen
    assert ("recvWindow" in finding.seen) == (verdict is Verdict.FAIL)
    assert bool(finding.remedy) == (verdict is not Verdict.OK)


@pytest.mark.parametrize(
    ("restrictions", "words"),
    [
        ({"enable_spot_and_margin_trading": True}, "the key may trade, from any address"),
        (
            {"enable_withdrawals": True, "ip_restrict": True},
            "the key may withdraw, from the addresses that are allowed",
        ),
        (
            {"enable_spot_and_margin_trading": True, "enable_futures": True, "permits_universal_transfer": True},
            "the key may trade, transfer between wallets and trade futures, from any address",
        ),
    ],
)
def test_more_than_reading_is_a_warning_in_words_or_a_failure_where_it_is_refused(
    restrictions: dict[str, bool], words: str
) -> None:
    rights = rights_of_key(KeyRestrictions(**restrictions))
    assert (judge_rights(rights).verdict, judge_rights(rights).seen) == (Verdict.WARN, words)
    refused = judge_rights(rights, "refuse")
    assert refused.verdict is Verdict.FAIL
    assert refused.seen.startswith(words)


def test_where_only_the_account_tells_that_is_said() -> None:
    finding = judge_rights(rights_of_account(AccountFlags(can_trade=True, can_withdraw=True)))
    assert finding.verdict is Verdict.WARN
    assert finding.seen == "as far as the account's flags show, the key may trade and withdraw"


def test_a_key_that_can_only_read_is_what_is_wanted_and_one_that_cannot_is_useless() -> None:
    assert judge_rights(rights_of_key(KeyRestrictions()), "refuse").verdict is Verdict.OK
    assert judge_rights(rights_of_key(KeyRestrictions(enable_reading=False))).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (judge_weight(4_999), Verdict.OK),
        (judge_weight(5_000), Verdict.WARN),
        (judge_weight(6_000), Verdict.FAIL),
        (judge_latency("x", 1_000), Verdict.OK),
        (judge_latency("x", 1_001), Verdict.WARN),
        (judge_disk("d", 5 * GIB, writable=True), Verdict.OK),
        (judge_disk("d", 5 * GIB - 1, writable=True), Verdict.WARN),
        (judge_disk("d", GIB - 1, writable=True), Verdict.FAIL),
        (judge_disk("d", 5 * GIB, writable=False), Verdict.FAIL),
    ],
)
def test_limits(finding: Finding, verdict: Verdict) -> None:
    assert finding.verdict is verdict
    assert bool(finding.remedy) == (verdict is not Verdict.OK)


def test_warnings_are_no_failure() -> None:
    assert not has_failed([judge_clock(600), judge_weight(5_000)])
    assert has_failed([judge_clock(600), judge_clock(6_000)])


async def test_a_check_that_breaks_is_a_finding_and_takes_no_other_with_it() -> None:
    async def breaks(_settings: Settings) -> list[Finding]:
        raise ValueError("invalid literal for int(): 'hunter2'")

    async def names_its_remedy(_settings: Settings) -> list[Finding]:
        raise RemediableError("the key is refused", "Use another")

    async def works(_settings: Settings) -> list[Finding]:
        return [judge_clock(0)]

    found = await run_checks(Settings(), [("a", breaks), ("b", names_its_remedy), ("c", works)])

    assert [(each.check, each.verdict) for each in found] == [
        ("a", Verdict.FAIL),
        ("b", Verdict.FAIL),
        ("clock", Verdict.OK),
    ]
    assert "hunter2" not in found[0].seen
    assert found[1].remedy == "Use another"


async def test_no_secret_is_in_a_finding() -> None:
    settings = Settings(
        binance_secret_key=SecretStr("hunter2-secret"),
        database_url=SecretStr("postgresql://ada:hunter2%2Fdb@db.example/books"),
    )

    async def tells_all(_settings: Settings) -> list[Finding]:
        return [Finding("x", Verdict.FAIL, "hunter2-secret, hunter2%2Fdb, hunter2/db")]

    [found] = await run_checks(settings, [("x", tells_all)])

    assert found.seen == "***, ***, ***"


async def test_the_name_of_a_key_file_is_shown() -> None:
    settings = Settings(binance_secret_key=SecretStr("/keys/main.pem"))

    async def names_it(_settings: Settings) -> list[Finding]:
        return [Finding("key", Verdict.FAIL, "the private key in /keys/main.pem cannot be read")]

    [found] = await run_checks(settings, [("key", names_it)])

    assert "/keys/main.pem" in found.seen
