"""Every setting as it may be shown: secrets masked."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from infra.settings import Settings

_MASK = "********"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as it is shown.

    Attributes:
        variable: The environment variable.
        value: The value in force, a secret masked; empty if it is unset.
        default: The value it has when nobody sets it; empty if it is unset then.
        meaning: What it is for.
    """

    variable: str
    value: str
    default: str
    meaning: str


def setting_rows(settings: Settings) -> list[SettingRow]:
    """Every setting, in the order in which they are defined."""
    return [
        SettingRow(
            variable=_variable(name, field),
            value=_shown(getattr(settings, name)),
            default=_shown(field.get_default()),
            meaning=field.description or "",
        )
        for name, field in Settings.model_fields.items()
    ]


def settings_markdown() -> str:
    """The table of settings for the README: names, defaults and meanings, no values."""
    lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for row in setting_rows(Settings.model_construct()):
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.variable}` | {default} | {row.meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else name.upper()


def _shown(value: object) -> str:
    match value:
        case None:
            return ""
        case SecretStr():
            return _masked(value.get_secret_value())
        case frozenset() | set():
            return ",".join(sorted(str(item) for item in value))
        case dict():
            return ",".join(f"{name}={item:g}" for name, item in sorted(value.items()))
        case Path() if value.is_relative_to(Path.home()):
            return f"~/{value.relative_to(Path.home())}"
        case _:
            return str(value)


def _masked(secret: str) -> str:
    """A secret that is an address keeps what helps to see where it points: scheme, user, host, path."""
    try:
        parts = urlsplit(secret)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return _MASK
    if not (parts.scheme and parts.hostname):
        return _MASK
    user = parts.username or ""
    login = f"{user}:{_MASK}@" if parts.password is not None else f"{user}@" if user else ""
    return f"{parts.scheme}://{login}{parts.hostname}{port}{parts.path}"
