"""A fuzzer that follows the branches of the code, run as a program of its own: it instruments what it imports."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def fuzz(program: str, samples: Iterable[bytes], corpus: Path, *, runs: int, length_max: int) -> None:
    """Run a fuzzer from samples on, always in the same order; it must find nothing."""
    for number, sample in enumerate(samples):
        (corpus / f"sample-{number}").write_bytes(sample)
    limits = [f"-runs={runs}", f"-max_len={length_max}", "-max_total_time=240", "-seed=7"]
    done = subprocess.run(
        [sys.executable, f"tests/property/{program}", str(corpus), *limits],
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
