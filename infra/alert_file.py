"""The table `[alerts]` of `portfolio.toml`: the rules, and who is told.

```toml
[alerts.rules.big-loss]
kind = "loss"
percent = 5

[alerts.targets.ops]
url = "env:ALERT_URL"
```
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from pydantic import SecretStr

from infra.errors import RemediableError
from infra.notifications import Target
from infra.portfolio_file import load_portfolio_file
from infra.secrets import FORMS, is_reference, resolve_secret
from infra.settings import Settings
from portfolio.alerts.defaults import DEFAULT_RULES
from portfolio.alerts.rules import KINDS, Name, Rule, Severity

_T = TypeVar("_T")

_AT: Final = re.compile(r"(?P<message>.*) - at `\$\.?(?P<key>.*)`", re.DOTALL)
_REMEDY: Final = "Correct it there; docs/alerts.md has every kind of rule"


class TargetTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table `[alerts.targets.NAME]`.

    Attributes:
        url: A reference to the address, which is a secret.
        least: Only alerts at least as bad are told there.
        accounts: Only alerts of these accounts are told there; empty: all.
    """

    url: str
    least: Severity = Severity.INFO
    accounts: tuple[str, ...] = ()


class _AlertsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    defaults: bool = True
    rules: dict[str, dict[str, Any]] = {}
    targets: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class AlertConfig:
    """What is watched, and who is told.

    Attributes:
        rules: The rules by name: those of the file, and before them the default ones.
        targets: The targets by name.
    """

    rules: Mapping[str, Rule] = field(default_factory=lambda: DEFAULT_RULES)
    targets: Mapping[str, TargetTable] = field(default_factory=dict)

    def described(self) -> dict[str, str]:
        """Everything by name, for the audit trail; of targets only where their address is kept."""
        rules = {f"rule {name}": msgspec.json.encode(rule).decode() for name, rule in self.rules.items()}
        return rules | {f"target {name}": target.url for name, target in self.targets.items()}


def load_alert_config(settings: Settings) -> AlertConfig:
    """Read the table of the file that the settings name; the default rules where there is none.

    Raises:
        RemediableError: The file cannot be read, or says something that it cannot; names the table and the key.
    """
    path = settings.portfolio_config.expanduser()
    table = _converted(load_portfolio_file(settings).alerts, _AlertsTable, f"{path}, [alerts]")
    rules = {name: _rule(written, f"{path}, [alerts.rules.{name}]", name) for name, written in table.rules.items()}
    targets = {
        name: _target(written, f"{path}, [alerts.targets.{name}]", name) for name, written in table.targets.items()
    }
    for name, rule in rules.items():
        for target in rule.targets:
            if target not in targets:
                place = f"{path}, [alerts.rules.{name}]"
                remedy = f"The targets are {', '.join(targets)}" if targets else "Write [alerts.targets.NAME] first"
                raise RemediableError(f"{place}: there is no target {target}", remedy)
    return AlertConfig((DEFAULT_RULES if table.defaults else {}) | rules, targets)


def open_target(target: TargetTable) -> Target:
    """A target as it can be sent to; its address is looked up now, so one that is replaced is found.

    Raises:
        RemediableError: The reference leads to nothing, or to no address.
    """
    address: SecretStr = resolve_secret(target.url)
    return Target(address)


def _rule(written: dict[str, Any], place: str, name: str) -> Rule:
    _require_name(name, place)
    kind = written.get("kind")
    if kind is None and name in DEFAULT_RULES:
        # A default rule that is only adjusted keeps its kind and whatever else is not written.
        default = msgspec.to_builtins(DEFAULT_RULES[name])
        return _converted({**default, **written}, type(DEFAULT_RULES[name]), place)
    if not isinstance(kind, str) or kind not in KINDS:
        what = "it has no kind" if kind is None else f"there is no kind {kind!r}"
        raise RemediableError(f"{place}: {what}", f"The kinds are {', '.join(KINDS)}")
    return _converted(written, KINDS[kind], place)


def _target(written: dict[str, Any], place: str, name: str) -> TargetTable:
    _require_name(name, place)
    target = _converted(written, TargetTable, place)
    if not is_reference(target.url):
        raise RemediableError(
            f"{place}: the address must not stand in the file itself, it is a secret", f"Write {FORMS}"
        )
    return target


def _require_name(name: str, place: str) -> None:
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        remedy = "Use up to 60 letters, digits and ._-, beginning with a letter or a digit"
        raise RemediableError(f"{place}: this is no name", remedy) from error


def _converted(written: object, kind: type[_T], place: str) -> _T:
    try:
        return msgspec.convert(written, kind)
    except msgspec.ValidationError as error:
        found = _AT.fullmatch(str(error))
        message, key = (str(error), "") if found is None else (found["message"], f"{found['key']}: ")
        if message.split()[0].istitle():
            message = message[0].lower() + message[1:]
        raise RemediableError(f"{place}: {key}{message}", _REMEDY) from error
