"""The limit on open files is raised where it can be, and never lowered."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from infra.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 256))
print(allow_open_files({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("wanted", "told"), [(100, "100 128"), (200, "200 200"), (300, "256 256")])
def test_the_limit_is_raised_as_far_as_the_system_lets_it(wanted: int, told: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(wanted=wanted)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == told
