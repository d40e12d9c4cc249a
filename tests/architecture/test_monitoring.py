"""Dashboards, alert rules and the list in the documents name metrics that there are, and labels that those have."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from infra.telemetry.metrics import STAGES, sample_names

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "infra" / "monitoring"
PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
RULES = yaml.safe_load((MONITORING / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
DASHBOARDS = sorted((MONITORING / "grafana").glob("*.json"))

# `up` is Prometheus' own; so are the labels of a target, and those that merging adds.
FOREIGN_METRICS = {"up"}
ADDED_LABELS = {"process", "host", "pid", "job", "instance", "le", "version"}
OPERATORS = {"and", "or", "unless", "by", "on", "without", "ignoring", "group_left", "group_right", "bool", "offset"}

TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[A-Za-z_:][A-Za-z0-9_:]*|\d+(?:\.\d+)?|=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},]|\s+'
)


class Named(NamedTuple):
    """What an expression names."""

    metrics: set[str]
    labels: set[str]


def named_in(expression: str) -> Named:
    """The metrics and labels of a PromQL expression: enough of its grammar for what we write."""
    tokens = [match.group() for match in TOKEN.finditer(expression)]
    assert "".join(tokens) == expression, f"{expression}: has something that is no PromQL"
    tokens = [token for token in tokens if not token.isspace()]
    named = Named(set(), set())
    open_brackets: list[str] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else ""
        if token == "(":
            is_labels = index > 0 and tokens[index - 1] in {"by", "on", "without", "ignoring"}
            open_brackets.append("labels" if is_labels else "(")
        elif token == "{":
            open_brackets.append("labels")
        elif token in {")", "}"}:
            assert open_brackets, f"{expression}: {token} too many"
            open_brackets.pop()
        elif re.match(r"[A-Za-z_:]", token) and token not in OPERATORS:
            if open_brackets and open_brackets[-1] == "labels":
                named.labels.add(token)
            elif following != "(" and tokens[index + 1 : index + 2] not in (["by"], ["without"]):
                named.metrics.add(token)
    assert not open_brackets, f"{expression}: a bracket is not closed"
    return named


def label_names() -> set[str]:
    registries = {registry for stages in STAGES.values() for registry in stages}
    metrics = [metric for registry in registries for metric in registry._collector_to_names]
    return {label for metric in metrics for label in getattr(metric, "_labelnames", ())}


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def panels(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> list[str]:
    shown = [target["expr"] for file in DASHBOARDS for panel in panels(file) for target in panel.get("targets", ())]
    return [*shown, *(rule["expr"] for rule in rules())]


def test_there_is_something_to_check() -> None:
    assert DASHBOARDS
    assert len(expressions()) > 50


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_exists(expression: str) -> None:
    named = named_in(expression)
    assert named.metrics
    assert named.metrics <= sample_names() | FOREIGN_METRICS
    assert named.labels <= label_names() | ADDED_LABELS


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ("sum by (account) (rate(fills_total[5m])) > 3", {"fills_total"}, {"account"}),
        ('a{b="c", d=~"(x|y)"} / on(e) f == 1', {"a", "f"}, {"b", "d", "e"}),
        ("sum without (pid) (a) or absent(b)", {"a", "b"}, {"pid"}),
    ],
)
def test_the_names_in_an_expression_are_found(expression: str, metrics: set[str], labels: set[str]) -> None:
    assert named_in(expression) == Named(metrics, labels)


@pytest.mark.parametrize("expression", ["sum(a", "sum(a))", "a ? b", "a{b='c'}"])
def test_what_is_no_expression_is_noticed(expression: str) -> None:
    with pytest.raises(AssertionError):
        named_in(expression)


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert set(re.findall(r"`(Portfolio\w+)`", PAGE)) == set(names)


def test_every_label_in_a_text_is_one_of_its_expression() -> None:
    for rule in rules():
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert shown <= named_in(rule["expr"]).labels, rule["alert"]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.name)
def test_panels_have_names_of_their_own_and_lie_beside_each_other(file: Path) -> None:
    boxes = []
    for panel in panels(file):
        box = panel["gridPos"]
        assert box["x"] + box["w"] <= 24
        boxes.append((box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"], panel["title"]))
        references = [target["refId"] for target in panel.get("targets", ())]
        assert len(references) == len(set(references))
    for one, other in combinations(boxes, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1], (one, other)
    identifiers = [panel["id"] for panel in panels(file)]
    assert len(identifiers) == len(set(identifiers))


def test_every_metric_of_ours_is_shown_and_described() -> None:
    own = {re.sub(r"_(bucket|count|sum)$", "", name) for name in sample_names() if name.startswith("portfolio_")}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for each in expressions() for name in named_in(each).metrics}
    assert own <= shown
    assert set(re.findall(r"^\| `(portfolio_\w+)` \|", PAGE, re.MULTILINE)) == own


def test_the_scrape_configuration_reads_the_rules_beside_it() -> None:
    configuration = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert all((MONITORING / "prometheus" / name).is_file() for name in configuration["rule_files"])
    (job,) = configuration["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("portfolio", "/metrics")
