"""What is checked before a server starts, so that a cause outside the service is named in one line."""

import errno
import os
import shutil
import socket
from pathlib import Path

import psutil

from infra.errors import RemediableError

_MEBIBYTE = 1024 * 1024


def require_free_port(port: int, *, purpose: str, setting: str, host: str = "127.0.0.1") -> None:
    """Check that nothing listens on the port.

    Args:
        port: TCP port that is about to be used.
        purpose: What wants the port, as shown to the user.
        setting: Environment variable that moves it elsewhere.
        host: Address that the port is to be opened on.

    Raises:
        RemediableError: The port is in use; the message names the process that holds it, where that can be known.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without it, the connections of a server that has just stopped would keep the port busy for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            message = f"port {port} ({purpose}) needs more rights than this user has"
            raise RemediableError(message, f"Set {setting} to a port above 1023") from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                message = f"port {port} ({purpose}) cannot be opened on {host}: {error.strerror}"
                raise RemediableError(message, f"Set {setting} or the address to one of this machine") from error
            message = f"port {port} ({purpose}) is in use by {_holder(port)}"
            raise RemediableError(message, f"Stop it, or set {setting} to a free port") from error


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS tells only root
        return "another process"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.Error:
                return f"process {connection.pid}"
    return "another process"


def free_port() -> int:
    """A port of 127.0.0.1 that is free now, chosen by the operating system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_disk_space(directory: Path, *, needed_mib: int, setting: str) -> None:
    """Create the directory and check that its disk has room.

    Raises:
        RemediableError: The directory cannot be made or written, or its disk has less than `needed_mib` MiB free.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(directory, error, setting=setting) from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise RemediableError(f"{directory} cannot be written by this user", f"Change its owner, or set {setting}")
    free_mib = shutil.disk_usage(directory).free // _MEBIBYTE
    if free_mib < needed_mib:
        message = f"the disk of {directory} is full: {free_mib} MiB free, {needed_mib} MiB needed"
        raise RemediableError(message, f"Free some space, or set {setting} to a directory on another disk")


def unwritable(path: Path, error: OSError, *, setting: str) -> RemediableError:
    """The one line for a failed write below `path`: a full disk, or whatever else the system says."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        message = f"the disk of {path} is full"
        return RemediableError(message, f"Free some space, or set {setting} to a directory on another disk")
    return RemediableError(f"{path} cannot be written: {error.strerror}", f"Change its owner, or set {setting}")
