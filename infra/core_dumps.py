"""No process that knows secrets leaves its memory on a disk when it crashes."""

import resource


def forbid_core_dumps() -> None:
    """Have the kernel write no core of this process, nor of those that it starts.

    Where cores are piped to a program (`/proc/sys/kernel/core_pattern` begins with `|`), the kernel leaves it to that
    program to respect the limit; systemd-coredump does.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
