"""One text out of many processes: complete, unambiguous, and readable whatever one of them sends."""

from prometheus_client.parser import text_string_to_metric_families

from infra.telemetry.merging import merge
from infra.telemetry.metrics import LEDGER_EVENTS, LEDGER_FILL_TO_PNL, STAGES, exposition, sample_names
from infra.telemetry.sharing import ProcessName
from tests.support.monitoring import Scrape

FIRST, SECOND = ProcessName("worker", "a", "1"), ProcessName("worker", "b", "1")
COUNTED = b"# HELP fills_total Fills.\n# TYPE fills_total counter\nfills_total 3.0\n"


def test_the_same_metric_of_two_processes_is_two_series_of_one_family() -> None:
    text = merge([(FIRST, COUNTED), (SECOND, COUNTED.replace(b"3.0", b"4.0"))]).decode()
    assert text.count("# TYPE fills_total counter") == 1
    scrape = Scrape(text)
    assert scrape.values("fills_total", host="a", process="worker", pid="1") == [3.0]
    assert scrape.values("fills_total", host="b") == [4.0]


def test_what_is_no_metrics_is_left_out_and_the_others_are_told() -> None:
    for spoilt in (
        b"}{ 1",
        b"\xff\xfe",
        b"fills_total not-a-number",
        b"x{a=",
        b'x{a="',
        b"x{} \n",
        b'# TYPE a b c d\na{="1"} 1',
    ):
        text = merge([(FIRST, spoilt), (SECOND, COUNTED)]).decode()
        assert Scrape(text).values("fills_total", host="b") == [3.0], spoilt


def test_a_name_that_another_version_uses_for_something_else_does_not_spoil_the_text() -> None:
    other = b"# HELP fills_total Fills.\n# TYPE fills_total gauge\nfills_total 9.0\n"
    text = merge(
        [(FIRST, b"# TYPE x gauge\nx 1\n"), (SECOND, b'# TYPE x histogram\nx_bucket{le="1"} 1\n'), (FIRST, other)]
    )
    list(text_string_to_metric_families(text.decode()))
    assert text.decode().count("# TYPE x ") == 1


def test_nobody_who_tells_is_an_empty_text() -> None:
    assert merge([]) == b""


def test_a_label_with_quotes_and_lines_comes_out_as_it_went_in() -> None:
    text = merge([(FIRST, b'x{a="say \\"hi\\"\\n\\\\"} 1.0\n')]).decode()
    assert Scrape(text).values("x", a='say "hi"\n\\') == [1.0]


def test_each_process_tells_of_its_own_stages_only() -> None:
    LEDGER_EVENTS.labels("booked").inc()
    LEDGER_FILL_TO_PNL.observe(0.01)
    worker = Scrape(merge([(FIRST, exposition("worker"))]).decode())
    gateway = Scrape(merge([(FIRST, exposition("gateway"))]).decode())
    assert worker.total("portfolio_ledger_events_total", outcome="booked") >= 1
    assert worker.total("portfolio_ledger_fill_to_pnl_seconds_count") >= 1
    assert gateway.values("portfolio_ledger_dead_letters_total") == []
    assert gateway.values("portfolio_build_info") == [1.0]


def test_every_metric_has_one_meaning_and_a_unit_that_is_known() -> None:
    assert {"portfolio_ledger_lag_seconds", "portfolio_api_request_seconds_count"} <= sample_names()
    for name in sample_names():
        assert not name.endswith(("_ms", "_us", "_percent")), f"{name}: base units only"
    texts = [exposition(process).decode() for process in STAGES]
    for text in texts:
        for family in text_string_to_metric_families(text):
            assert family.documentation, family.name
