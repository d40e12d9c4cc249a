"""A small disk that can be full: a tmpfs of the run's own, which shrinks to what is on it."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_BYTES_MAX = 3 * 1024**3
_NEW_MOUNT_NAMESPACE = 0x00020000  # CLONE_NEWNS of <sched.h>


class Disk(AbstractContextManager["Disk"]):
    """A directory on a disk that can be full, where this machine allows it; else a directory like any other.

    The disk is in a mount namespace of this process and its children, so it goes with them, however they end.
    To be entered before there is another thread.

    Attributes:
        path: The directory.
        cannot_be_full: Why it cannot; None where it can.
    """

    def __init__(self, path: Path) -> None:
        """Plan it.

        Args:
            path: A directory that exists and is empty.
        """
        self.path = path
        self.cannot_be_full: str | None = None

    def __enter__(self) -> Self:
        self.cannot_be_full = _why_not() or self._mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.cannot_be_full is None:
            _run("umount", "--lazy", str(self.path))

    def _mount(self) -> str | None:
        if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNT_NAMESPACE) != 0:
            return f"no mount namespace of its own: {os.strerror(ctypes.get_errno())}"
        return _run("mount", "--make-rprivate", "/") or _run(
            "mount", "-t", "tmpfs", "-o", f"size={_BYTES_MAX},mode=0755", "portfolio-chaos", str(self.path)
        )

    def fill(self) -> Callable[[], None]:
        """Leave no room; what is returned makes room again.

        Raises:
            OSError: It could not be done.
        """
        refused = None
        # What is written meanwhile may be more than there was just before.
        for _ in range(20):
            status = os.statvfs(self.path)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            refused = _run("mount", "-o", f"remount,size={used}", str(self.path))
            if refused is None:
                return self._make_room
        raise OSError(f"the disk cannot be made full: {refused}")

    def _make_room(self) -> None:
        refused = _run("mount", "-o", f"remount,size={_BYTES_MAX}", str(self.path))
        if refused is not None:
            raise OSError(f"the disk stays full: {refused}")

    def save(self, to: Path) -> None:
        """Copy what is on it to another directory: it does not outlive the run."""
        if self.cannot_be_full is None:
            shutil.copytree(self.path, to, symlinks=True)


def _why_not() -> str | None:
    if sys.platform != "linux":
        return f"a tmpfs that shrinks is Linux's own, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root may mount a disk"
    if psutil.virtual_memory().available < _BYTES_MAX:
        return f"a disk in memory needs {_BYTES_MAX // 1024**2} MiB of it, and less is free"
    return None


def _run(*command: str) -> str | None:
    """Run a command: None when it did, else what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
