"""How many files, connections among them, this process may have open. Many systems say 1,024 unless they are asked."""

import resource
from typing import Final

REMEDY: Final = "Raise the limit on open files: `ulimit -Hn` as root, LimitNOFILE= in a unit of systemd"


def allow_open_files(wanted: int) -> int:
    """Raise the limit of this process to what is wanted, as far as the system lets it; it is never lowered.

    Returns:
        How many may be open now, at most `wanted`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    except (ValueError, OSError):  # macOS has a limit of its own below the one that it tells
        return soft
    return possible
