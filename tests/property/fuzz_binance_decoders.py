"""Feeds the decoders of Binance's messages with what a coverage-guided fuzzer makes up.

python tests/property/fuzz_binance_decoders.py CORPUS -runs=100000
"""

import sys

import atheris

with atheris.instrument_imports(include=["infra", "portfolio", "tests"]):
    from tests.support.binance_decoders import decode_everywhere

if __name__ == "__main__":
    atheris.Setup(sys.argv, decode_everywhere)
    atheris.Fuzz()
