"""The report is one page without a network, escapes what it is told, and fits a phone and a desktop."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from synth_engine.encode.keys import KEPT
from synth_engine.privacy.attacks import closest_records
from synth_engine.quality.columns import scored_columns
from synth_engine.quality.fidelity import score
from synth_engine.quality.report import ReportInput, build_report_input, render
from synth_engine.schema import Column, ForeignKey, Kind, Provenance, Schema, Table

HOSTILE = "<script>alert('x')</script> & \"co\" " + "long" * 40


@pytest.fixture(scope="module")
def report(shop) -> ReportInput:
    twin = shop.frames(7)
    privacy = {
        name: closest_records(frame.iloc[100:], frame.iloc[:100], twin[name], scored_columns(shop.schema, name)).to_dict()
        for name, frame in shop.real.items()
    }
    validation = {"passed": True, "expectations": 67, "failures": (), "checks": {"primary key": 3, "foreign key": 3}}
    return build_report_input(
        shop.schema,
        shop.real,
        twin,
        score(shop.schema, shop.real, twin),
        privacy=privacy,
        validation=validation,
        entities=["customers: each row is an entity, with its rows of orders"],
        rules=["orders.total: computed as quantity * price"],
        protections=["orders.status: 2 categories of fewer than 5 entities were replaced"],
        steps=[("train", 141.2), ("generate", 22.9)],
        versions={"python": "3.11.4"},
        seed=11,
        notes=["Training stopped at its time budget."],
    )


class Outline(html.parser.HTMLParser):
    """Collects what a browser would fetch, and whether every tag that is opened is closed."""

    VOID = frozenset({"meta", "br", "link", "img", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "srcset", "data") or (k == "href" and not v.startswith("#"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_self_contained_well_formed_and_small(report):
    page = render(report)
    outline = Outline(page)
    assert outline.fetched == [] and outline.open == []
    assert not {"script", "link", "iframe", "img"} & set(outline.tags)
    assert "url(" not in page and "@import" not in page
    assert len(page) < 3_000_000


def test_everything_promised_is_on_the_page(report):
    page = render(report)
    for words in ("All 67 checks", "Cardinality", "customer_id → customers", "replaced", "2 min 21 s", "3.11.4", "time budget"):
        assert words in page, words
    drawn = {"country", "born", "active", "placed", "opens", "total", "status", "quantity", "reason"}
    assert all(re.search(rf'<span class="name">{name}</span>', page) for name in drawn)
    assert page.count('class="matrix"') == 3 * len(report.associations) > 0


def test_warnings_stand_at_the_top_in_red(report):
    page = render(replace(report, warnings=["These tables are real: <country>."]))
    assert page.index('<p class="poor" role="alert"><strong>These tables are real: &lt;country&gt;.</strong></p>') < page.index(
        'id="scores"'
    )
    assert 'role="alert"' not in render(report)


def test_the_page_says_where_each_key_comes_from(shop, report):
    tables = dict(shop.schema.tables)
    orders = tables["orders"]
    key = replace(orders.foreign_keys[0], provenance=Provenance.DBT_TEST)
    undeclared = {orders.primary_key: Provenance.INFERRED}
    tables["orders"] = replace(orders, foreign_keys=(key, *orders.foreign_keys[1:]), undeclared=undeclared)
    page = render(replace(report, schema=Schema(tables)))
    assert "· key dbt test</p>" in page
    known = re.findall(r"<tr><td>orders</td><td[^>]*>([^<]*)</td><td>[^<]*</td><td>([^<]*)</td></tr>", page)
    assert {("primary key", "inferred"), ("foreign key", "dbt test")} <= set(known)


def test_values_that_settings_keep_are_said_in_red(report):
    page = render(replace(report, protections=[*report.protections, f"country.code: {KEPT}"]))
    assert f'<li class="poor">country.code: {KEPT}</li>' in page
    assert page.count('<li class="poor">') == 1


def test_a_category_that_is_not_synthetic_is_not_on_the_page(shop):
    real, twin = dict(shop.real), shop.frames(7)
    real["orders"] = real["orders"].assign(status=["canary-of-one-owner"] * 20 + real["orders"]["status"].tolist()[20:])
    scores = score(shop.schema, real, twin)
    validation = {"passed": True, "expectations": 1, "failures": (), "checks": {"primary key": 1}}
    page = render(
        build_report_input(
            shop.schema,
            real,
            twin,
            scores,
            privacy={},
            validation=validation,
            entities=[],
            rules=[],
            protections=[],
            steps=[],
            versions={},
            seed=0,
            notes=[],
        )
    )
    assert "paid" in page
    assert "canary-of-one-owner" not in page


def test_no_value_of_a_row_that_is_not_frequent_is_on_the_page(report, shop):
    page = render(report)
    assert "user0-" not in page and "@example.org" not in page
    assert f"{shop.real['orders']['total'].max():,.6g}" not in page


def test_failures_and_warnings_are_said_first(report):
    failure = {"table": "orders", "expectation": "total stays in range", "count": 12, "detail": None}
    figures = {**report.privacy["orders"], "verdict": "warn", "reasons": ("9.00% of the synthetic rows repeat a training row",)}
    bad = replace(
        report,
        validation={"passed": False, "expectations": 67, "failures": [failure], "checks": {}},
        privacy={**report.privacy, "orders": figures},
    )
    page = render(bad)
    lead = page[page.index('class="lead"') : page.index("<nav")]
    assert "1 of 67 checks failed" in lead and "see privacy" in lead and "integrity: failed" in lead
    assert "total stays in range" in page and "repeat a training row" in page


def test_a_run_without_validation_or_privacy_still_reports(report):
    page = render(replace(report, validation=None, privacy={}, protections=(), notes=()))
    assert "not validated" in page and "No figures were computed" in page


def hostile_report() -> ReportInput:
    import pandas as pd

    columns = (Column("id", Kind.IDENTIFIER, "int64"), Column(HOSTILE, Kind.CATEGORY, "string"), Column("self", Kind.IDENTIFIER, "int64"))
    key = ForeignKey(("self",), HOSTILE, ("id",))
    schema = Schema.of([Table(HOSTILE, columns, ("id",), foreign_keys=(key,), notes=(HOSTILE,))])
    frame = pd.DataFrame({"id": range(60), HOSTILE: [HOSTILE, "b"] * 30, "self": [i // 2 for i in range(60)]})
    frames = {HOSTILE: frame}
    return build_report_input(
        schema,
        frames,
        frames,
        score(schema, frames, frames),
        privacy={HOSTILE: closest_records(frame, frame, frame, columns[1:2]).to_dict()},
        validation={
            "passed": False,
            "expectations": 1,
            "failures": [{"table": HOSTILE, "expectation": HOSTILE, "count": 1, "detail": None}],
            "checks": {},
        },
        entities=[HOSTILE],
        rules=[HOSTILE],
        protections=[HOSTILE],
        steps=[(HOSTILE, 1.0)],
        versions={HOSTILE: HOSTILE},
        seed=0,
        notes=[HOSTILE],
    )


def test_hostile_names_are_escaped():
    page = render(hostile_report())
    assert "<script" not in page
    assert Outline(page).open == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("which", ["shop", "hostile"])
def test_the_page_fits_the_screen(report, tmp_path, width, which):
    chromium = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("COULD NOT RUN: no Chromium is installed to open the report in")
    (tmp_path / "report.html").write_text(render(report if which == "shop" else hostile_report()), encoding="utf-8")
    # A frame, because headless Chromium opens no window narrower than 500 pixels.
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="report.html" style="border:0;width:{width}px;height:900px"></iframe><script>onload = () => {{'
        "const e = document.getElementById('f').contentDocument.documentElement;"
        "document.title = `${e.clientWidth} ${e.scrollWidth} ${e.scrollHeight}`; }</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--allow-file-access-from-files",
    ]
    page = (tmp_path / "frame.html").as_uri()
    command = [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom", page]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    inner, scrolled, height = map(int, re.search(r"<title>(\d+) (\d+) (\d+)</title>", dom).groups())
    assert width - 20 <= inner <= width
    assert scrolled <= inner and height > 1500
