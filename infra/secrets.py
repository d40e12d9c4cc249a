"""Secrets by reference: what stands in a file that may be read says where a secret is, never the secret itself.

A reference is `env:NAME` (an environment variable, or a line of `.env`) or `file:PATH` (what the file holds, without
the line break at its end).
"""

import os
import re
from pathlib import Path
from typing import Final

from dotenv import dotenv_values
from pydantic import SecretStr

from infra.errors import RemediableError

_REFERENCE: Final = re.compile(r"(?P<store>env|file):(?P<name>.+)", re.DOTALL)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_BYTES_MAX: Final = 64 * 1024
_ENV_FILE: Final = ".env"

FORMS: Final = "env:NAME or file:PATH"
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
    read = _from_environment if found["store"] == "env" else _from_file
    return read(found["name"])


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
