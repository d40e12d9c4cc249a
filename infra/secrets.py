"""Secrets by reference: what stands in a file that may be read says where a secret is, never the secret itself.

A reference is `env:NAME` (an environment variable, or a line of `.env`), `file:PATH` (what the file holds, without
the line break at its end) or `secret:NAME` (what `portfolio secrets set` keeps, encrypted).
"""

import os
import re
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import SecretStr

from infra.errors import RemediableError
from infra.settings import Settings, load_settings
from infra.vault import MasterKey, Vault, key_id_in, key_id_of, new_key

_REFERENCE: Final = re.compile(r"(?P<store>env|file|secret):(?P<name>.+)", re.DOTALL)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_BYTES_MAX: Final = 64 * 1024
_ENV_FILE: Final = ".env"

FORMS: Final = "env:NAME, file:PATH or secret:NAME"
"""How a reference is written."""


def is_reference(text: str) -> bool:
    """Whether a text is a reference to a secret, and not (perhaps) a secret itself."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and (found["store"] != "env" or _VARIABLE.fullmatch(found["name"]) is not None)


def resolve_secret(reference: str) -> SecretStr:
    """Read the secret that a reference leads to.

    Raises:
        RemediableError: It is no reference (it is not shown then, since it may be a secret), or leads to nothing.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None or not is_reference(reference):
        raise RemediableError("what should be a reference to a secret is none", f"Write {FORMS}, never the secret")
    match found["store"]:
        case "env":
            return _from_environment(found["name"])
        case "file":
            return _from_file(found["name"])
        case _:
            return SecretStr(open_vault(load_settings()).get(found["name"]))


def open_vault(settings: Settings, *, make_key: bool = False) -> Vault:
    """The encrypted secrets of this service.

    Args:
        settings: Where they are, and where their master key is.
        make_key: Whether a master key is made where there is none yet.

    Raises:
        RemediableError: There is no master key, or not the one that they are under.
    """
    master, path = MasterKey(settings.master_key), settings.secrets_path
    _finish_rotation(master, path)
    key = master.read()
    if key is None and make_key and not path.exists():
        key = new_key()
        master.write(key)
    if key is None:
        raise RemediableError(
            f"there is no master key at {settings.master_key}",
            "Set PORTFOLIO_MASTER_KEY to where it is; `portfolio secrets set` makes one when there are no secrets yet",
        )
    return Vault(path, key)


def rotate_master_key(settings: Settings, vault: Vault) -> None:
    """Make a new master key, and encrypt every secret anew.

    A copy of the new key is beside the secrets while they change hands, so that a crash loses neither.
    """
    key, beside = new_key(), _next_key(settings.secrets_path)
    MasterKey(f"file:{beside}").write(key)
    vault.rotate(key)
    _finish_rotation(MasterKey(settings.master_key), settings.secrets_path)


def _finish_rotation(master: MasterKey, path: Path) -> None:
    beside = _next_key(path)
    key = MasterKey(f"file:{beside}").read()
    if key is None:
        return
    if key_id_in(path) == key_id_of(key):
        master.write(key)
    beside.unlink()


def _next_key(path: Path) -> Path:
    return path.with_name(f"{path.name}.next-key")


def _from_environment(name: str) -> SecretStr:
    value = os.environ.get(name) or dotenv_values(_ENV_FILE).get(name)
    if not value:
        raise RemediableError(f"the environment variable {name} is not set", f"Set it, or add it to {_ENV_FILE}")
    return SecretStr(value)


def _from_file(name: str) -> SecretStr:
    path = Path(name).expanduser()
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_BYTES_MAX + 1)
        value = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RemediableError(
            f"the secret in {path} cannot be read ({reason})", "Correct the path or its rights"
        ) from (error)
    if not value or len(content) > _SECRET_BYTES_MAX:
        what = "is empty" if not value else f"is larger than {_SECRET_BYTES_MAX} bytes"
        raise RemediableError(f"the file of a secret, {path}, {what}", "Write the secret to it, and nothing else")
    return SecretStr(value)
