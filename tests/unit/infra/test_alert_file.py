"""The table [alerts]: what it says, and what is said about what it cannot say."""

from decimal import Decimal
from pathlib import Path

import pytest

from infra.alert_file import load_alert_config, open_target
from infra.errors import RemediableError
from infra.settings import Settings
from portfolio.alerts.defaults import DEFAULT_RULES
from portfolio.alerts.rules import KINDS, DeadLetters, Loss, Severity, StaleData, kind_of

DOCUMENT = Path(__file__).parents[3] / "docs" / "alerts.md"


def settings_of(directory: Path, text: str) -> Settings:
    path = directory / "portfolio.toml"
    path.write_text(text)
    return Settings(portfolio_config=path)


def test_without_a_file_the_default_rules_hold_and_nobody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PORTFOLIO_CONFIG", raising=False)
    config = load_alert_config(Settings())
    assert config.rules == DEFAULT_RULES
    assert config.targets == {}


def test_a_rule_is_read_exactly(tmp_path: Path) -> None:
    written = (
        '[alerts.rules.a]\nkind = "loss"\namount = "1000.000000000000000001"\npercent = 2.5\nseverity = "critical"'
    )
    rule = load_alert_config(settings_of(tmp_path, written)).rules["a"]
    assert rule == Loss(
        amount=Decimal("1000.000000000000000001"), percent=Decimal("2.5"), severity=Severity.CRITICAL
    )  # fmt: skip


def test_a_default_rule_is_adjusted_and_keeps_the_rest(tmp_path: Path) -> None:
    config = load_alert_config(settings_of(tmp_path, '[alerts.rules.stale-data]\nafter = "5m"'))
    assert config.rules["stale-data"] == StaleData(after="5m", severity=Severity.CRITICAL)
    assert config.rules["dead-letters"] == DeadLetters()
    alone = load_alert_config(
        settings_of(tmp_path, '[alerts]\ndefaults = false\n[alerts.rules.a]\nkind="dead_letters"')
    )
    assert alone.rules == {"a": DeadLetters()}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[alerts]\nrule = 1", "[alerts]: object contains unknown field `rule`"),
        ("[alerts]\nrules = 1", "[alerts]: rules: expected `object`, got `int`"),
        ("[alerts.rules.a]\npercent = 1", "[alerts.rules.a]: it has no kind. The kinds are loss, drawdown"),
        ('[alerts.rules.a]\nkind = "los"', "there is no kind 'los'"),
        ('[alerts.rules.a]\nkind = ["loss"]', "there is no kind ['loss']"),
        ('[alerts.rules.a]\nkind = "loss"', "[alerts.rules.a]: it has no threshold; write amount or percent, or both"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = -5', "percent is -5; it must be above 0"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = nan', "NaN is not a finite number"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = "many"', "percent: invalid decimal string"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = 5\nperiod = "3w"', "'3w' is no span of time; write it as 90s"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = 5\nperiod = "0s"', "a period of 0s has no loss"),
        ('[alerts.rules.a]\nkind = "loss"\npercnt = 5', "object contains unknown field `percnt`"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = 5\naccounts = "main"', "accounts: expected `array`, got `str`"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = 5\nclear_at = 1.5', "clear_at is 1.5; it must be above 0"),
        ('[alerts.rules.a]\nkind = "loss"\npercent = 5\nseverity = "bad"', "severity: invalid enum value 'bad'"),
        (
            '[alerts.rules.a]\nkind = "loss"\npercent = 5\ntargets = ["x"]',
            "there is no target x. Write",
        ),
        ('[alerts.rules."a b"]\nkind = "loss"\npercent = 5', "[alerts.rules.a b]: this is no name"),
        ('[alerts.rules.a]\nkind = "dead_letters"\ncount = 0', "count: expected `int` >= 1"),
        ("[alerts.targets.t]", "[alerts.targets.t]: object missing required field `url`"),
        ('[alerts.targets.t]\nurl = "tgram://s3cret/1"', "the address must not stand in the file itself"),
        ('[alerts.targets.t]\nurl = "env:A"\nleast = "loud"', "least: invalid enum value 'loud'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(RemediableError) as caught:
        load_alert_config(settings_of(tmp_path, written))
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_address_is_looked_up_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_alert_config(settings_of(tmp_path, '[alerts.targets.t]\nurl = "env:T_URL"')).targets["t"]
    monkeypatch.delenv("T_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RemediableError, match="T_URL is not set"):
        open_target(target)
    monkeypatch.setenv("T_URL", "nonsense://s3cret")
    with pytest.raises(RemediableError, match="none that apprise knows") as caught:
        open_target(target)
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("T_URL", "tgram://123456789:AABBCCDDEEFF/1234")
    assert open_target(target).service == "Telegram"


def test_what_is_described_for_the_audit_trail_changes_with_every_key(tmp_path: Path) -> None:
    one, other = (
        load_alert_config(settings_of(tmp_path, f'[alerts.rules.a]\nkind = "loss"\npercent = {percent}')).described()
        for percent in (1, 2)
    )
    assert one.keys() == other.keys()
    assert {name for name in one if one[name] != other[name]} == {"rule a"}


def test_every_kind_of_rule_is_documented_and_can_be_said_in_a_sentence() -> None:
    text = DOCUMENT.read_text()
    for kind in KINDS:
        assert f"| `{kind}` |" in text
    for rule in DEFAULT_RULES.values():
        assert rule.told
        assert kind_of(rule) in KINDS


def test_the_documented_file_is_valid(tmp_path: Path) -> None:
    [example] = [block.partition("```")[0] for block in DOCUMENT.read_text().split("```toml\n")[1:]]
    config = load_alert_config(settings_of(tmp_path, example))
    assert {"bad-day", "too-much-of-one", "stale-data"} <= config.rules.keys()
    assert list(config.targets) == ["ops"]
