"""API keys: what kind they are, read from what the owner has, and signatures with them.

Binance knows three kinds. The secret of an HMAC key is a text that it shows once; of RSA and Ed25519 keys it has the
public half, and the owner the private one, as PEM.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import ECC, RSA
from Crypto.Signature import eddsa, pkcs1_15

from infra.binance.times import milliseconds
from infra.errors import RemediableError
from infra.hiding import hide

_PEM = "-----BEGIN"
_PEM_FILE = ".pem"
_CURVE = "Ed25519"


class KeyKind(StrEnum):
    """How a key signs."""

    HMAC = "HMAC"
    RSA = "RSA"
    ED25519 = "Ed25519"


class SigningKey:
    """An API key with which requests are signed; its secret is never in its text.

    Attributes:
        name: The API key as the exchange knows it.
        kind: How it signs.
        secret: The HMAC secret, or the private key as PEM without a passphrase.
    """

    def __init__(self, name: str, secret: str, passphrase: str = "") -> None:
        """Read a key.

        Args:
            name: The API key.
            secret: The HMAC secret; or an RSA or Ed25519 private key as PEM, or the name of a file that ends in `.pem`.
            passphrase: Of the private key, where it has one.

        Raises:
            RemediableError: The secret is no such key.
        """
        self.name = name
        hide(name)
        text = _from_file(secret) if secret.endswith(_PEM_FILE) and not secret.startswith(_PEM) else secret
        if not text.lstrip().startswith(_PEM):
            self.kind, self.secret = KeyKind.HMAC, text
            hide(text)
            return
        self._private: ECC.EccKey | RSA.RsaKey = _read_ed25519(text, passphrase) or _read_rsa(text, passphrase)
        if isinstance(self._private, RSA.RsaKey):
            self.kind, self.secret = KeyKind.RSA, self._private.export_key(pkcs=8).decode()
        else:
            self.kind, self.secret = KeyKind.ED25519, str(self._private.export_key(format="PEM"))

    def __repr__(self) -> str:
        return f"SigningKey({self.kind})"

    def signed(self, time_us: int, params: Mapping[str, object] | None = None) -> dict[str, object]:
        """Parameters of a request on the WebSocket API with key, timestamp and signature; epoch microseconds."""
        complete = {**(params or {}), "apiKey": self.name, "timestamp": milliseconds(time_us)}
        return {**complete, "signature": self.sign(complete)}

    def sign(self, params: Mapping[str, object]) -> str:
        """The signature of a request on the WebSocket API: of `name=value` in the order of the names."""
        payload = "&".join(f"{name}={_text(params[name])}" for name in sorted(params)).encode()
        if self.kind is KeyKind.HMAC:
            return hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest()
        if isinstance(self._private, RSA.RsaKey):
            return b64encode(pkcs1_15.new(self._private).sign(SHA256.new(payload))).decode()
        return b64encode(eddsa.new(self._private, "rfc8032").sign(payload)).decode()


def _text(value: object) -> str:
    """A JSON value as it stands in what is signed: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_file(name: str) -> str:
    path = Path(name).expanduser()
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no PEM"
        raise RemediableError(
            f"the private key in {path} cannot be read ({reason})", "Correct the path or its rights"
        ) from (error)


def _read_ed25519(text: str, passphrase: str) -> ECC.EccKey | None:
    try:
        key = ECC.import_key(text, passphrase=passphrase or None)
    except (ValueError, IndexError, TypeError):
        return None
    if key.curve != _CURVE:
        raise _refused(f"an elliptic curve key of {key.curve}", "Binance takes Ed25519, RSA and HMAC keys")
    if not key.has_private():
        raise _refused("a public key", "Give the private key that belongs to it")
    return key


def _read_rsa(text: str, passphrase: str) -> RSA.RsaKey:
    try:
        key = RSA.import_key(text, passphrase=passphrase or None)
    except (ValueError, IndexError, TypeError) as error:
        reason = "is encrypted, or damaged" if "ENCRYPTED" in text else "is damaged, or of a kind that Binance lacks"
        remedy = "Set BINANCE_KEY_PASSPHRASE to its passphrase, or give an RSA or Ed25519 private key as PEM"
        raise RemediableError(f"the private key {reason}", remedy) from error
    if not key.has_private():
        raise _refused("a public key", "Give the private key that belongs to it")
    return key


def _refused(what: str, remedy: str) -> RemediableError:
    return RemediableError(f"the secret of the API key is {what}", remedy)
