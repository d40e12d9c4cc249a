"""Every example of docs/performance.md is executed, and every statistic has its place there."""

import doctest
import re
from pathlib import Path

import portfolio.performance

PAGE = Path(__file__).parents[3] / "docs" / "performance.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_examples_are_right() -> None:
    examples = "\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
    example = doctest.DocTestParser().get_doctest(examples, {}, PAGE.name, str(PAGE), 0)
    complaints: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=complaints.append)
    assert result.failed == 0, "".join(complaints)
    assert result.attempted > 40


def test_every_function_is_documented() -> None:
    functions = [name for name in portfolio.performance.__all__ if name.islower()]
    assert [name for name in functions if name not in TEXT and name != "investor_cash_flows"] == []


def test_every_statistic_names_its_formula_and_source() -> None:
    statistics = set(re.findall(r"show\((\w+)\(", TEXT))
    assert len(statistics) > 15
    for name in statistics:
        documentation = getattr(portfolio.performance, name).__doc__ or ""
        assert "Source: " in documentation, name
        assert re.search(r" [-/*] ", documentation), name
