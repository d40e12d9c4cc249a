"""The container files hold to their formats; no Docker engine is needed to know it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_compose_file_follows_the_compose_specification() -> None:
    done = run(str(SCRIPTS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_passes_its_linter() -> None:
    done = run(str(SCRIPTS / "hadolint"), "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr
