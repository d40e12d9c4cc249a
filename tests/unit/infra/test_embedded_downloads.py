import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.embedded.checks import free_port
from infra.embedded.downloads import Artifact, Downloader, read_artifacts
from infra.embedded.kafka import kafka_artifacts
from infra.embedded.processes import StartCancelledError
from infra.errors import RemediableError

CONTENT = bytes(range(256)) * 4096
ARTIFACT = Artifact(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "org/example/one-1.0.jar")


class Repository(ThreadingHTTPServer):
    """A Maven repository on this machine, that can break off and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.knows_ranges = True
        self.breaks_off_after: list[int] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/maven2"


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.path != f"/maven2/{ARTIFACT.path}":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.knows_ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_off_after.pop(0)] if self.server.breaks_off_after else body)

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_and_then_found(repository: Repository, tmp_path: Path) -> None:
    downloader = Downloader(repository.url, tmp_path / "new")
    seen: list[tuple[int, int]] = []

    [path] = downloader.fetch([ARTIFACT], on_progress=lambda here, total: seen.append((here, total)))
    downloader.fetch([ARTIFACT])

    assert path.read_bytes() == CONTENT
    assert repository.ranges == [None]
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_download_that_was_cut_off_is_continued_where_it_stopped(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "one-1.0.jar.part").write_bytes(CONTENT[:1000])

    [path] = Downloader(repository.url, tmp_path).fetch([ARTIFACT])

    assert path.read_bytes() == CONTENT
    assert repository.ranges == ["bytes=1000-"]
    assert [found.name for found in tmp_path.iterdir()] == ["one-1.0.jar"]


def test_a_connection_that_breaks_is_taken_up_again_by_itself(repository: Repository, tmp_path: Path) -> None:
    repository.breaks_off_after = [200_000]

    [path] = Downloader(repository.url, tmp_path).fetch([ARTIFACT])

    assert path.read_bytes() == CONTENT
    assert repository.ranges[0] is None
    assert repository.ranges[1] == "bytes=200000-"


def test_a_server_that_ignores_ranges_is_read_from_the_start(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "one-1.0.jar.part").write_bytes(CONTENT[:1000])
    repository.knows_ranges = False

    [path] = Downloader(repository.url, tmp_path).fetch([ARTIFACT])

    assert path.read_bytes() == CONTENT


def test_other_content_than_was_pinned_is_refused_and_not_kept(repository: Repository, tmp_path: Path) -> None:
    repository.content = CONTENT[:-1] + b"!"

    with pytest.raises(RemediableError, match=r"one-1\.0\.jar .*not the file that was pinned"):
        Downloader(repository.url, tmp_path).fetch([ARTIFACT])

    assert list(tmp_path.iterdir()) == []


def test_a_missing_network_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(RemediableError, match=r"cannot download one-1\.0\.jar") as caught:
        Downloader(f"http://127.0.0.1:{free_port()}", tmp_path).fetch([ARTIFACT])

    assert "network" in caught.value.remedy
    assert "PORTFOLIO_MAVEN_URL" in caught.value.remedy
    assert "\n" not in str(caught.value)


def test_a_repository_without_the_file_is_named(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(RemediableError, match="answered 404 for org/example/other"):
        Downloader(repository.url, tmp_path).fetch([Artifact("00", 1, "org/example/other")])


def test_a_cancelled_download_keeps_what_has_arrived(repository: Repository, tmp_path: Path) -> None:
    cancelled = threading.Event()

    with pytest.raises(StartCancelledError):
        Downloader(repository.url, tmp_path).fetch(
            [ARTIFACT], on_progress=lambda _here, _total: cancelled.set(), cancelled=cancelled
        )

    assert 0 < (tmp_path / "one-1.0.jar.part").stat().st_size < len(CONTENT)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_a_full_disk_is_named(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "one-1.0.jar.part").symlink_to("/dev/full")

    with pytest.raises(RemediableError, match=r"the disk of .* is full\. Free some space.*PORTFOLIO_CACHE_DIR"):
        Downloader(repository.url, tmp_path).fetch([ARTIFACT])


def test_the_brokers_jars_are_pinned_each_with_its_digest() -> None:
    artifacts = kafka_artifacts()

    assert len({artifact.file_name for artifact in artifacts}) == len(artifacts) > 40
    assert all(len(artifact.sha256) == 64 and artifact.path.endswith(".jar") for artifact in artifacts)


def test_comments_and_empty_lines_of_a_list_are_left_out() -> None:
    assert read_artifacts(["# comment", "", "ab 12 org/x.jar\n"]) == [Artifact("ab", 12, "org/x.jar")]
