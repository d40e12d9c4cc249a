"""The core is pure, exact, documented and small."""

import ast
import importlib
import inspect
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import portfolio

CORE = Path(portfolio.__file__).parent
MODULES = sorted(CORE.rglob("*.py"))
MONEY = [path for path in MODULES if "performance" not in path.parts]
"""Ratios and statistics may be floats; they live in `performance`."""

ALLOWED = {"msgspec", "polars", "portfolio"}
IMPURE = {
    "asyncio",
    "concurrent",
    "ctypes",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
}
"""Parts of the standard library that have a clock, a network, a disk or chance in them."""

CLOCKS = {"now", "utcnow", "today"}
LINES_MAX = 400


def named(path: Path) -> str:
    return str(path.relative_to(CORE.parent))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports in the core are absolute"
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_imports_nothing_of_the_outside_world(path: Path) -> None:
    """Allowed: the pure part of the standard library, msgspec, polars, itself. So no Kafka, HTTP, clock or settings."""
    roots = {name.partition(".")[0] for name in imports(tree(path))}
    assert roots - ALLOWED <= sys.stdlib_module_names - IMPURE


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_asks_no_clock_and_opens_nothing(path: Path) -> None:
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await)
        if isinstance(node, ast.Call):
            called = node.func
            assert not (isinstance(called, ast.Attribute) and called.attr in CLOCKS), f"line {node.lineno}"
            assert not (isinstance(called, ast.Name) and called.id in {"open", "print", "input"}), f"line {node.lineno}"


@pytest.mark.parametrize("path", MONEY, ids=named)
def test_no_float_is_money(path: Path) -> None:
    """No float is made, annotated or written down where there is money; `float` may be named only to refuse one."""
    module = tree(path)
    refusals = {
        id(name)
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
        for name in ast.walk(node.args[1])
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and node.id == "float":
            assert id(node) in refusals, f"{named(path)}:{node.lineno}"
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float), f"{named(path)}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_is_small_and_says_what_it_is(path: Path) -> None:
    with tokenize.open(path) as source:
        assert sum(1 for _ in source) <= LINES_MAX
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("name", portfolio.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    """A name that is exported exists; a class or function says what it is in words of its own."""
    public = getattr(portfolio, name)
    if inspect.isclass(public) or inspect.isfunction(public):
        assert inspect.getdoc(public) not in {None, inspect.getdoc(type(public)), ""}
        assert public.__doc__, name
        for base in getattr(public, "__mro__", ())[1:]:
            assert public.__doc__ != base.__doc__


def test_exports_are_sorted_and_whole() -> None:
    """What the core's own `__init__` imports is what it exports."""
    assert list(portfolio.__all__) == sorted(portfolio.__all__, key=lambda name: (not name.isupper(), name))
    imported = {
        alias.asname or alias.name
        for node in tree(CORE / "__init__.py").body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(portfolio.__all__)


def test_the_core_is_usable_alone() -> None:
    """The example in its docstring runs and says what it says."""
    text = inspect.getdoc(importlib.import_module("portfolio")) or ""
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    *code, last = lines
    expression, _, expected = last.partition("#")
    scope: dict[str, object] = {}
    exec("\n".join(code), scope)
    assert repr(eval(expression.strip(), scope)) == expected.strip()
