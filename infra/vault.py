"""Secrets at rest: a file of them, each encrypted and authenticated, under one master key.

The cipher is AES-256-GCM with a random nonce for each secret. Its name is authenticated with it, so that one secret
cannot be put in the place of another. The file is replaced whole or not at all.
"""

import base64
import binascii
import hashlib
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from infra.errors import RemediableError

KEY_BYTES: Final = 32

_NONCE_BYTES: Final = 12
_KEY_ID_BYTES: Final = 8
_KEYRING_SERVICE: Final = "portfolio-service"
_KEYRING_USER: Final = "master-key"
_DOMAIN: Final = b"portfolio.vault.1:"


class Sealed(msgspec.Struct, frozen=True):
    """One secret, encrypted."""

    nonce: bytes
    ciphertext: bytes
    set_time_us: int
    """When it was set, epoch microseconds."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: int = 1
    key_id: str
    """Tells the master key from others; no secret."""
    secrets: dict[str, Sealed] = {}


class Vault:
    """The secrets in one file."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open the file, or begin one.

        Args:
            path: The file.
            key: The master key, 32 bytes.

        Raises:
            RemediableError: It cannot be read, or is under another key.
        """
        self._path = path
        self._key = key
        self._content = _read(path) or _File(key_id=key_id_of(key))
        if self._content.key_id != key_id_of(key):
            raise RemediableError(
                f"the secrets in {path} are under another master key", "Set PORTFOLIO_MASTER_KEY to where that one is"
            )

    def get(self, name: str) -> str:
        """A secret.

        Raises:
            RemediableError: There is none of that name, or somebody has changed it.
        """
        sealed = self._content.secrets.get(name)
        if sealed is None:
            raise RemediableError(f"there is no secret {name!r}", f"Set it: portfolio secrets set {name}")
        try:
            return AESGCM(self._key).decrypt(sealed.nonce, sealed.ciphertext, _associated(name)).decode()
        except InvalidTag as error:
            raise RemediableError(
                f"the secret {name!r} in {self._path} was tampered with", "Set it anew, and find out who did it"
            ) from error

    def set(self, name: str, value: str, *, time_us: int) -> None:
        """Keep a secret, in the place of one that was there."""
        sealed = _sealed(self._key, name, value, time_us)
        self._write(replace(self._content, secrets={**self._content.secrets, name: sealed}))

    def remove(self, name: str) -> None:
        """Forget a secret.

        Raises:
            RemediableError: There is none of that name.
        """
        if name not in self._content.secrets:
            raise RemediableError(f"there is no secret {name!r}", "`portfolio secrets list` shows their names")
        kept = {other: sealed for other, sealed in self._content.secrets.items() if other != name}
        self._write(replace(self._content, secrets=kept))

    def set_times_us(self) -> Mapping[str, int]:
        """The names, each with when it was set."""
        return {name: sealed.set_time_us for name, sealed in sorted(self._content.secrets.items())}

    def rotate(self, key: bytes) -> None:
        """Encrypt every secret anew, under another master key."""
        sealed = {
            name: _sealed(key, name, self.get(name), before.set_time_us)
            for name, before in self._content.secrets.items()
        }
        self._write(_File(key_id=key_id_of(key), secrets=sealed))
        self._key = key

    def _write(self, content: _File) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes the file readable to its owner only.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(content), indent=1))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._content = content


def key_id_in(path: Path) -> str | None:
    """Which master key the secrets in a file are under; None where there is no file.

    Raises:
        RemediableError: It cannot be read.
    """
    content = _read(path)
    return None if content is None else content.key_id


def key_id_of(key: bytes) -> str:
    """What tells a master key from others without giving it away."""
    return hashlib.sha256(_DOMAIN + key).hexdigest()[: 2 * _KEY_ID_BYTES]


def new_key() -> bytes:
    """A master key that nobody has."""
    return secrets.token_bytes(KEY_BYTES)


def encode_key(key: bytes) -> str:
    """A master key as text."""
    return base64.b64encode(key).decode()


def decode_key(text: str) -> bytes:
    """The inverse of `encode_key`.

    Raises:
        RemediableError: The text is no master key; it is not shown.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise RemediableError(
            f"the master key is not {KEY_BYTES} bytes in Base64", "`portfolio secrets rotate` makes a new one"
        )
    return key


class MasterKey:
    """Where the master key is: `file:PATH`, `env:NAME`, or `keyring`, the operating system's own."""

    def __init__(self, reference: str) -> None:
        """Refer to it.

        Args:
            reference: The setting PORTFOLIO_MASTER_KEY.

        Raises:
            RemediableError: It is no such reference.
        """
        self._kind, _, self._name = reference.partition(":")
        is_known = (self._kind in {"file", "env"} and self._name) or reference == "keyring"
        if not is_known:
            raise RemediableError(
                "PORTFOLIO_MASTER_KEY is no reference", "Write file:PATH, env:NAME or keyring, never the key itself"
            )

    @property
    def is_kept_by_us(self) -> bool:
        """Whether it can be made and replaced here; a key in the environment is its owner's to change."""
        return self._kind != "env"

    def read(self) -> bytes | None:
        """The key; None where there is none yet.

        Raises:
            RemediableError: What is there is no key, or cannot be read.
        """
        text = self._text()
        return None if text is None else decode_key(text)

    def write(self, key: bytes) -> None:
        """Keep a key, in the place of one that was there.

        Raises:
            RemediableError: There is nowhere to keep it.
        """
        if self._kind == "file":
            _write_private(Path(self._name).expanduser(), encode_key(key))
        elif self._kind == "keyring":
            _keyring_set(encode_key(key))
        else:
            raise RemediableError(f"the master key is in the environment variable {self._name}", "Change it there")

    def _text(self) -> str | None:
        if self._kind == "env":
            return os.environ.get(self._name) or None
        if self._kind == "keyring":
            return _keyring_get()
        try:
            return Path(self._name).expanduser().read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise RemediableError(
                f"the master key in {self._name} cannot be read", "Correct the path or its rights"
            ) from error


def _associated(name: str) -> bytes:
    return _DOMAIN + name.encode()


def _sealed(key: bytes, name: str, value: str, time_us: int) -> Sealed:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return Sealed(nonce, AESGCM(key).encrypt(nonce, value.encode(), _associated(name)), time_us)


def _read(path: Path) -> _File | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise RemediableError(
            f"the secrets in {path} cannot be read", "Correct its rights, or restore it from a copy"
        ) from error


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def _keyring_get() -> str | None:
    import keyring  # noqa: PLC0415 - slow, and rarely wanted

    try:
        return keyring.get_password(_KEYRING_SERVICE, _KEYRING_USER)
    except keyring.errors.KeyringError as error:
        raise _no_keyring(error) from error


def _keyring_set(text: str) -> None:
    import keyring  # noqa: PLC0415 - slow, and rarely wanted

    try:
        keyring.set_password(_KEYRING_SERVICE, _KEYRING_USER, text)
    except keyring.errors.KeyringError as error:
        raise _no_keyring(error) from error


def _no_keyring(error: Exception) -> RemediableError:
    return RemediableError(
        f"the keyring of this system cannot be used ({error})", "Set PORTFOLIO_MASTER_KEY to file:PATH or env:NAME"
    )
