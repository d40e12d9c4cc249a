"""The disk that a run makes full."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from pathlib import Path
from cli.chaos.disk import Disk

with Disk(Path(sys.argv[1])) as disk:
    if disk.cannot_be_full is not None:
        sys.exit(disk.cannot_be_full)
    file = disk.path / "file"
    file.write_bytes(b"before")
    make_room = disk.fill()
    try:
        (disk.path / "more").write_bytes(bytes(1024 * 1024))
    except OSError as error:
        print(error.strerror)
    make_room()
    (disk.path / "more").write_bytes(bytes(1024 * 1024))
    disk.save(Path(sys.argv[2]))
    print(file.read_bytes())
"""


def test_nothing_can_be_written_until_there_is_room_again(tmp_path: Path) -> None:
    disk, saved = tmp_path / "disk", tmp_path / "saved"
    disk.mkdir()
    # A process of its own: the disk is in a mount namespace that lasts as long as the process.
    program = [sys.executable, "-c", _PROGRAM, str(disk), str(saved)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode == 1 and not done.stdout and "Traceback" not in done.stderr:
        pytest.skip(done.stderr.strip())

    assert done.stdout.splitlines() == ["No space left on device", "b'before'"], done.stderr
    assert (saved / "file").read_bytes() == b"before"
    assert list(disk.iterdir()) == []
