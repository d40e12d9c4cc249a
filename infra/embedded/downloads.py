"""Verified, resumable downloads into a cache directory.

A file is written as `NAME.part`, continued from where it was cut off, checked against its sha256 and only then
renamed. So a file that stands under its final name is whole and right.
"""

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath

import certifi
import httpx

from infra.embedded.checks import unwritable
from infra.embedded.processes import StartCancelledError
from infra.errors import RemediableError

OnProgress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes there will be, from any of the downloading threads."""

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"

_CONNECTIONS = 8
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file to fetch.

    Attributes:
        sha256: Hex digest that the content must have.
        size: Length in bytes.
        path: Path below the repository's base address.
    """

    sha256: str
    size: int
    path: str

    @property
    def file_name(self) -> str:
        """The last part of the path; the file's name in the cache directory."""
        return PurePosixPath(self.path).name


def read_artifacts(lines: Iterable[str]) -> list[Artifact]:
    """Read a list of `sha256 size path` lines; empty lines and those that begin with `#` are left out."""
    fields = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return [Artifact(sha256=sha256, size=int(size), path=path) for sha256, size, path in fields]


class _Progress:
    """The bytes of every artifact that are here, added up for one callback."""

    def __init__(self, artifacts: Sequence[Artifact], missing: Sequence[Artifact], on_progress: OnProgress) -> None:
        self._total = sum(artifact.size for artifact in artifacts)
        self._here = {artifact: artifact.size for artifact in artifacts} | dict.fromkeys(missing, 0)
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def set(self, artifact: Artifact, size: int) -> None:
        with self._lock:
            self._here[artifact] = size
            self._on_progress(sum(self._here.values()), self._total)


@dataclass(frozen=True, slots=True)
class Downloader:
    """Fetches artifacts from one repository into one directory.

    Attributes:
        base_url: Address that the artifacts' paths are below.
        directory: Where the files go.
        url_setting: Environment variable that names another repository, for the error messages.
        directory_setting: Environment variable that names another directory.
    """

    base_url: str
    directory: Path
    url_setting: str = "PORTFOLIO_MAVEN_URL"
    directory_setting: str = "PORTFOLIO_CACHE_DIR"

    def fetch(
        self,
        artifacts: Sequence[Artifact],
        *,
        on_progress: OnProgress = lambda _here, _total: None,
        cancelled: threading.Event | None = None,
    ) -> list[Path]:
        """Bring what is missing, several files at a time, and return the path of every artifact.

        Raises:
            RemediableError: The repository cannot be reached, has not got a file, sent other content than was
                pinned, or the disk is full.
            StartCancelledError: `cancelled` was set meanwhile; what has arrived is kept.
        """
        missing = [artifact for artifact in artifacts if not self._is_here(artifact)]
        if missing:
            progress = _Progress(artifacts, missing, on_progress)
            self._fetch_missing(missing, progress, cancelled or threading.Event())
        return [self.directory / artifact.file_name for artifact in artifacts]

    def _is_here(self, artifact: Artifact) -> bool:
        path = self.directory / artifact.file_name
        return path.is_file() and path.stat().st_size == artifact.size

    def _fetch_missing(self, artifacts: Sequence[Artifact], progress: _Progress, stop: threading.Event) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.directory, error, setting=self.directory_setting) from error
        abandoned = threading.Event()

        def fetch_one(artifact: Artifact) -> None:
            try:
                self._fetch_one(client, artifact, progress, lambda: stop.is_set() or abandoned.is_set())
            except BaseException:
                abandoned.set()  # the first failure is the one that is told; the others need not finish
                raise

        with (
            httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, connect=10), verify=_trusted()) as client,
            ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="download") as pool,
        ):
            futures = [pool.submit(fetch_one, artifact) for artifact in artifacts]
        errors = [failure for future in futures if (failure := future.exception()) is not None]
        if errors:
            raise min(errors, key=lambda failure: isinstance(failure, StartCancelledError))

    def _fetch_one(
        self, client: httpx.Client, artifact: Artifact, progress: _Progress, is_stopped: Callable[[], bool]
    ) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._continue(client, artifact, progress, is_stopped)
                self._accept(artifact)
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS or isinstance(error, httpx.ConnectError):
                    raise self._unreachable(artifact, error) from error
            except OSError as error:
                raise unwritable(self.directory, error, setting=self.directory_setting) from error
            else:
                return

    def _continue(
        self, client: httpx.Client, artifact: Artifact, progress: _Progress, is_stopped: Callable[[], bool]
    ) -> None:
        part = self._part(artifact)
        have = part.stat().st_size if part.exists() else 0
        if have >= artifact.size:
            return
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with client.stream("GET", f"{self.base_url.rstrip('/')}/{artifact.path}", headers=headers) as response:
            self._require_content(artifact, response.status_code)
            resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
            have = have if resumed else 0
            with part.open("ab" if resumed else "wb") as file:
                for chunk in response.iter_raw():
                    if is_stopped():
                        raise StartCancelledError
                    file.write(chunk)
                    have += len(chunk)
                    progress.set(artifact, have)

    def _accept(self, artifact: Artifact) -> None:
        part = self._part(artifact)
        with part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != artifact.sha256:
            part.unlink()
            message = (
                f"{artifact.file_name} from {self.base_url} is not the file that was pinned: its sha256 is {sha256}"
            )
            raise RemediableError(message, f"Start again; if it stays so, set {self.url_setting} to another mirror")
        part.replace(self.directory / artifact.file_name)

    def _require_content(self, artifact: Artifact, status: int) -> None:
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            message = f"{self.base_url} answered {status} for {artifact.path}"
            raise RemediableError(message, f"Try again later, or set {self.url_setting} to another mirror")

    def _unreachable(self, artifact: Artifact, error: httpx.TransportError) -> RemediableError:
        cause = str(error) or type(error).__name__
        return RemediableError(
            f"cannot download {artifact.file_name} from {self.base_url} ({cause})",
            f"Connect to the network (needed for the first start only), or set {self.url_setting} to a mirror",
        )

    def _part(self, artifact: Artifact) -> Path:
        return self.directory / f"{artifact.file_name}.part"


def _trusted() -> ssl.SSLContext:
    """The system's certificate authorities, which a company may have added to, and certifi's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
