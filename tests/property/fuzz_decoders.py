"""Feeds the decoders with what a coverage-guided fuzzer makes up.

python tests/property/fuzz_decoders.py CORPUS -runs=100000
"""

import sys

import atheris

with atheris.instrument_imports(include=["portfolio", "streams", "tests"]):
    from tests.support.decoders import decode_everywhere

if __name__ == "__main__":
    atheris.Setup(sys.argv, decode_everywhere)
    atheris.Fuzz()
