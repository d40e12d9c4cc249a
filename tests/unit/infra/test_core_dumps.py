"""Whoever reads the settings, and with them secrets, leaves no core."""

import subprocess
import sys

import pytest

LIMIT = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"


@pytest.mark.parametrize("start", ["from infra.settings import load_settings; load_settings()", "import streams.app"])
def test_a_process_with_settings_may_write_no_core(start: str) -> None:
    told = subprocess.run([sys.executable, "-c", f"{start}; {LIMIT}"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "(0, 0)"
