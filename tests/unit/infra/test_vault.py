"""Secrets at rest: encrypted, authenticated, rotated."""

import json
import stat
from pathlib import Path

import pytest

from infra.errors import RemediableError
from infra.secrets import open_vault, resolve_secret, rotate_master_key
from infra.settings import Settings, load_settings
from infra.vault import MasterKey, Vault, decode_key, encode_key, new_key

SECRET = "canary-4f1c-secret-key"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        secrets_file=tmp_path / "kept" / "secrets.json",
        master_key=f"file:{tmp_path / 'elsewhere' / 'master.key'}",
        _env_file=None,
    )


def test_what_is_kept_comes_back_and_is_nowhere_in_clear(settings: Settings, tmp_path: Path) -> None:
    open_vault(settings, make_key=True).set("main.secret_key", SECRET, time_us=7)
    vault = open_vault(settings)
    assert vault.get("main.secret_key") == SECRET
    assert vault.set_times_us() == {"main.secret_key": 7}
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_reference_leads_to_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    open_vault(settings, make_key=True).set("main.secret_key", SECRET, time_us=7)
    monkeypatch.setenv("PORTFOLIO_SECRETS_FILE", str(settings.secrets_file))
    monkeypatch.setenv("PORTFOLIO_MASTER_KEY", settings.master_key)
    load_settings.cache_clear()
    try:
        assert resolve_secret("secret:main.secret_key").get_secret_value() == SECRET
        with pytest.raises(RemediableError, match="there is no secret 'other'"):
            resolve_secret("secret:other")
    finally:
        load_settings.cache_clear()


def test_one_secret_cannot_take_the_place_of_another(settings: Settings) -> None:
    vault = open_vault(settings, make_key=True)
    vault.set("a", "1", time_us=1)
    vault.set("b", "2", time_us=1)
    content = json.loads(settings.secrets_path.read_bytes())
    content["secrets"]["a"] = content["secrets"]["b"]
    settings.secrets_path.write_text(json.dumps(content))
    with pytest.raises(RemediableError, match="tampered"):
        open_vault(settings).get("a")


def test_another_master_key_is_refused(settings: Settings) -> None:
    open_vault(settings, make_key=True).set("a", "1", time_us=1)
    MasterKey(settings.master_key).write(new_key())
    with pytest.raises(RemediableError, match="another master key"):
        open_vault(settings)


def test_a_lost_master_key_is_not_replaced_in_silence(settings: Settings, tmp_path: Path) -> None:
    open_vault(settings, make_key=True).set("a", "1", time_us=1)
    (tmp_path / "elsewhere" / "master.key").unlink()
    with pytest.raises(RemediableError, match="no master key"):
        open_vault(settings, make_key=True)


def test_rotation_keeps_the_secrets_and_ends_the_old_key(settings: Settings) -> None:
    open_vault(settings, make_key=True).set("a", SECRET, time_us=1)
    old = MasterKey(settings.master_key).read()
    rotate_master_key(settings, open_vault(settings))
    assert open_vault(settings).get("a") == SECRET
    assert MasterKey(settings.master_key).read() != old
    assert old is not None
    with pytest.raises(RemediableError, match="another master key"):
        Vault(settings.secrets_path, old)


@pytest.mark.parametrize("has_changed_hands", [False, True])
def test_a_rotation_that_was_cut_off_is_finished_or_undone(settings: Settings, *, has_changed_hands: bool) -> None:
    vault = open_vault(settings, make_key=True)
    vault.set("a", SECRET, time_us=1)
    key = new_key()
    beside = settings.secrets_path.with_name(f"{settings.secrets_path.name}.next-key")
    MasterKey(f"file:{beside}").write(key)
    if has_changed_hands:
        vault.rotate(key)
    assert open_vault(settings).get("a") == SECRET
    assert not beside.exists()
    assert open_vault(settings).get("a") == SECRET


def test_a_key_in_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    monkeypatch.setenv("THE_KEY", encode_key(key))
    in_environment = settings.model_copy(update={"master_key": "env:THE_KEY"})
    open_vault(in_environment, make_key=True).set("a", SECRET, time_us=1)
    assert open_vault(in_environment).get("a") == SECRET
    assert decode_key(encode_key(key)) == key
    with pytest.raises(RemediableError, match="Change it there"):
        MasterKey("env:THE_KEY").write(new_key())


@pytest.mark.parametrize("text", ["", "short", "*" * 44, encode_key(b"x" * 31)])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(RemediableError, match="32 bytes") as caught:
        decode_key(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("reference", ["", "keyring:x", "file:", "the-key-itself"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(RemediableError, match="no reference"):
        MasterKey(reference)


def test_a_file_of_rubbish_is_told(settings: Settings) -> None:
    open_vault(settings, make_key=True)
    settings.secrets_path.parent.mkdir(parents=True, exist_ok=True)
    settings.secrets_path.write_bytes(b"{")
    with pytest.raises(RemediableError, match="cannot be read"):
        open_vault(settings)
