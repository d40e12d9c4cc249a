"""Keys are known by their secret, and sign as the exchange checks it."""

from pathlib import Path
from typing import Any

import pytest
from Crypto.PublicKey import ECC, RSA

from infra.binance.keys import KeyKind, SigningKey
from infra.errors import RemediableError
from infra.exchange.parameters import Parameters
from infra.exchange.security import AccountKey, verify, websocket_payloads

ED25519, RSA_KEY, P256 = ECC.generate(curve="ed25519"), RSA.generate(2048), ECC.generate(curve="p256")
NOW_US = 1_700_000_000_000_000


def text(pem: Any) -> str:
    return str(pem if isinstance(pem, str) else pem.decode())


ED25519_PEM, RSA_PEM = text(ED25519.export_key(format="PEM")), text(RSA_KEY.export_key(pkcs=8))
PROTECTION: Any = {"passphrase": b"open sesame", "protection": "PBKDF2WithHMAC-SHA1AndAES128-CBC"}
ENCRYPTED_ED25519 = text(ED25519.export_key(format="PEM", use_pkcs8=True, **PROTECTION))
ENCRYPTED_RSA = text(RSA_KEY.export_key(pkcs=8, **PROTECTION))
PUBLIC = {
    KeyKind.HMAC: "a-secret",
    KeyKind.RSA: text(RSA_KEY.public_key().export_key()),
    KeyKind.ED25519: text(ED25519.public_key().export_key(format="PEM")),
}


@pytest.mark.parametrize(
    ("secret", "passphrase", "kind"),
    [
        ("a-secret", "", KeyKind.HMAC),
        (RSA_PEM, "", KeyKind.RSA),
        (text(RSA_KEY.export_key()), "", KeyKind.RSA),  # PKCS#1, as older tools write it
        (ENCRYPTED_RSA, "open sesame", KeyKind.RSA),
        (ED25519_PEM, "", KeyKind.ED25519),
        (ED25519_PEM.replace("\n", "\r\n") + "\r\n", "", KeyKind.ED25519),
        (ENCRYPTED_ED25519, "open sesame", KeyKind.ED25519),
    ],
)
def test_each_kind_is_recognized_and_its_signature_is_accepted(secret: str, passphrase: str, kind: KeyKind) -> None:
    key = SigningKey("my key", secret, passphrase)
    assert key.kind is kind
    params = {"apiKey": "my key", "timestamp": NOW_US // 1_000, "note": "a=b&c d"}
    values = {name: str(value) for name, value in params.items()} | {"signature": key.sign(params)}
    owner = AccountKey("demo", "my key", PUBLIC[kind])
    verify(owner, websocket_payloads(values)[:1], Parameters(values), NOW_US)


def test_a_private_key_can_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(ED25519_PEM)
    assert SigningKey("k", str(path)).kind is KeyKind.ED25519
    with pytest.raises(RemediableError, match="cannot be read"):
        SigningKey("k", str(tmp_path / "another.pem"))


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (ENCRYPTED_RSA, "BINANCE_KEY_PASSPHRASE"),
        (ENCRYPTED_ED25519, "BINANCE_KEY_PASSPHRASE"),
        (text(P256.export_key(format="PEM")), "Binance takes Ed25519, RSA and HMAC"),
        (PUBLIC[KeyKind.RSA], "a public key"),
        (PUBLIC[KeyKind.ED25519], "a public key"),
        ("-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----", "is damaged"),
        ("-----BEGIN", "is damaged"),
    ],
)
def test_what_cannot_sign_says_why(secret: str, reason: str) -> None:
    with pytest.raises(RemediableError, match=reason):
        SigningKey("k", secret)


def test_no_secret_is_in_its_text() -> None:
    assert "a-secret" not in repr(SigningKey("k", "a-secret"))
