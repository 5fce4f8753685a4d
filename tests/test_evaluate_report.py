"""The report is one safe, self-contained page for every kind of target; figures are PNG files."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pytest

from raypipe.audit import Finding
from raypipe.core.tensors import Target
from raypipe.evaluate import (
    AuditFacts,
    CandidateFacts,
    Evaluator,
    FeatureFacts,
    Gate,
    GateReport,
    Hold,
    ReportFacts,
    ScoredRows,
    SplitFacts,
    TableFacts,
    TrainingCurve,
    evaluate,
    figures,
    render_report,
    write_report,
)
from raypipe.pages import Html, figures_of, tag

NASTY = ("<script>alert(1)</script>", 'Gentoo "$x_{ & co', "_hidden")
FOUND = Finding(check="proxies", column="<b>price", severity="warn", text="AUC 0.9712 alone")
EVALUATOR = Evaluator(num_resamples=20, min_slice_rows=5)
CURVES = (
    TrainingCurve(
        name="xgboost", points=[{"train_auc": 0.6, "validation_auc": 0.5}, {"train_auc": 0.7, "validation_auc": 0.6}]
    ),
    TrainingCurve(name="mlp", points=[{"step": 1, "loss": 0.6}], step_name="epoch", best_step=1),
)


def rows_of(kind, *, seed=0, split="test"):
    random = np.random.default_rng(seed)
    slices = {"origin": random.choice(["JFK", "<b>LGA</b>"], 300)}
    if kind == "binary":
        y_N = (random.random(300) < 0.4).astype(np.float32)
        target = Target(kind="binary", name="late", classes=("false", NASTY[0]))
        scores = np.clip(0.3 + 0.3 * y_N + 0.1 * random.normal(size=300), 0, 1)
        return ScoredRows(target=target, split=split, y_N=y_N, scores=scores, threshold=0.45, slices=slices)
    if kind == "multiclass":
        y_N = random.integers(0, 3, 300)
        scores = np.full((300, 3), 0.2)
        scores[np.arange(300), (y_N + (random.random(300) < 0.2)) % 3] = 0.6
        target = Target(kind="multiclass", name="species", classes=NASTY)
        return ScoredRows(target=target, split=split, y_N=y_N, scores=scores, slices=slices)
    y_N = random.normal(size=300)
    target = Target(kind="regression", name="$delay_{")
    return ScoredRows(target=target, split=split, y_N=y_N, scores=y_N + 0.3 * random.normal(size=300), slices=slices)


def facts_of(kind, **more):
    rows = rows_of(kind)
    evaluation, champion = evaluate(rows, evaluator=EVALUATOR), evaluate(rows_of(kind), evaluator=EVALUATOR)
    comparison = Gate(num_resamples=20).compare(candidate=rows, champion=rows)
    decision = Gate().decide(
        GateReport(evaluation=evaluation, candidate_digest="a", champion_digest="b", comparison=comparison)
    )
    return ReportFacts(
        **{
            "model": "flights <&>",
            "version": "7",
            "digest": "3f9c2a7be01d4c55",
            "evaluation": evaluation,
            "champion": champion,
            "comparison": comparison,
            "decision": decision,
            "candidates": [
                CandidateFacts(name="xgboost", metrics=evaluation.metrics, engine="driver", seconds=1.2, outcome="chosen")
            ],
            "curves": CURVES,
            "tables": [TableFacts(name="flights", version=3, num_rows=336776, role="events")],
            "splits": [SplitFacts(name="train", num_rows=200, window="2013-01-01 to 2013-10-01", label_mean=0.24)],
            "set_aside": {"no label": 9430},
            "audit": AuditFacts(num_columns=24, checks=["proxies"], findings=[FOUND]),
            "features": [FeatureFacts(name="distance", kind="number", columns=["distance"], detail="median 872")],
            "run": {"Run id": "c0ffee"},
            **more,
        }
    )


class Page(HTMLParser):
    """Collects what the page loads, its ids, and whether tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.names, self.problems = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, name, attributes):
        self.names.append(name)
        self.ids += [value for key, value in attributes if key == "id"]
        self.loads += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        if name not in ("meta", "br"):
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        self.open.pop()

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.problems.append(name)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_page_is_well_formed_and_loads_nothing(kind):
    text = render_report(facts_of(kind))
    page = Page(text)
    assert (page.problems, page.open) == ([], [])
    assert "script" not in page.names
    assert "link" not in page.names
    assert all(target.startswith("#") for target in page.loads)
    assert "url(http" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "plots on one page must not share ids"
    assert {target.removeprefix("#") for target in page.loads} <= set(page.ids)
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(page.ids)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_page_tells_the_whole_story(kind):
    facts = facts_of(kind)
    text = render_report(facts)
    main = facts.evaluation.metrics[facts.evaluation.main]
    for expected in (
        "version 7",
        facts.decision.verdict,
        figures_of(main.value),
        f"{figures_of(main.low)} to {figures_of(main.high)}",
        "300 rows of test",
        "Against the champion",
        "flights@3",
        "336,776",
        "2013-01-01 to 2013-10-01",
        "Set aside: 9,430 rows",
        "median 872",
        "24 columns, checked before training for proxies",
        "&lt;b&gt;price",
        "AUC 0.9712 alone",
        "c0ffee",
        "3f9c2a7be01d4c55",
        "xgboost: auc while training",
        "mlp: loss while training",
    ):
        assert expected in text
    assert text.count("<figure>") == text.count("<svg") == len(figures(facts.evaluation, curves=CURVES))


def test_nothing_from_the_data_becomes_markup():
    text = render_report(facts_of("multiclass", run={"<i>": '"><script>'}, decision=Hold(reason="<img src=x>")))
    assert "<script" not in text
    assert "<img" not in text
    assert "<b>LGA" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "flights &lt;&amp;&gt;" in text


def test_a_report_with_the_evaluation_alone_leaves_the_other_parts_out():
    evaluation = evaluate(rows_of("binary"), evaluator=EVALUATOR)
    text = render_report(ReportFacts(model="flights", evaluation=evaluation))
    assert "How good it is" in text
    for absent in (
        "Candidates",
        "The data",
        "Features",
        "Leakage audit",
        "The run",
        "How it learned",
        "Against the champion",
        "verdict ",
    ):
        assert f"<h2>{absent}" not in text
    assert '<p class="verdict' not in text


def test_plots_follow_the_page_colours():
    text = render_report(facts_of("binary"))
    assert "var(--series0)" in text
    drawings = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawings)) <= {"#000000", "#ffffff"}


def test_writing_is_whole_and_the_same_facts_give_the_same_page(tmp_path):
    facts = facts_of("binary")
    uri = str(tmp_path / "reports" / "report.html")
    assert write_report(uri, facts) == uri
    assert (tmp_path / "reports" / "report.html").read_text(encoding="utf-8") == render_report(facts)
    assert [p.name for p in (tmp_path / "reports").iterdir()] == ["report.html"]


EXPECTED = {
    "binary": {"roc", "pr", "calibration", "scores", "threshold", "confusion"},
    "multiclass": {"confusion", "roc", "calibration", "confidence"},
    "regression": {"predicted", "residuals"},
}


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_figures_are_png_files(kind):
    before = dict(mpl.rcParams)
    drawn = figures(evaluate(rows_of(kind), evaluator=EVALUATOR))
    assert set(drawn) == {f"{name}.png" for name in EXPECTED[kind]}
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())
    assert dict(mpl.rcParams) == before, "drawing must leave matplotlib's settings alone"


def test_many_classes_are_drawn_without_numbers():
    random = np.random.default_rng(0)
    y_N, scores = random.integers(0, 30, 900), random.dirichlet(np.ones(30), 900)
    target = Target(kind="multiclass", name="dest", classes=tuple(f"airport{i}" for i in range(30)))
    evaluation = evaluate(ScoredRows(target=target, split="test", y_N=y_N, scores=scores), evaluator=EVALUATOR)
    page = Page(render_report(ReportFacts(model="dest", evaluation=evaluation)))
    assert page.problems == []


def test_a_tag_escapes_text_and_attributes_but_not_markup():
    assert tag("p", "a<b", tag("i", "&"), class_='x"y') == '<p class="x&quot;y">a&lt;b<i>&amp;</i></p>'
    assert isinstance(tag("p"), Html)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.68844, "0.6884"), (3.14159, "3.142"), (54.321, "54.32"), (123.45, "123.5"), (12345.6, "12,346"), (None, "\u2013")],
)
def test_numbers_have_about_four_digits(value, shown):
    assert figures_of(value) == shown


def test_evaluating_needs_neither_ray_nor_mlflow_nor_a_display():
    code = (
        "import sys, raypipe.evaluate; "
        "bad = {'ray', 'mlflow', 'hydra', 'torch', 'matplotlib.pyplot'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
