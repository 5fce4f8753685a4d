"""The model card says the same as Markdown and as a page; the report shows what was found inside the model."""

from html.parser import HTMLParser

import numpy as np
import pytest

from raypipe.core.tensors import Target
from raypipe.evaluate import (
    BehaviourExample,
    BehaviourResult,
    Card,
    ContributionRow,
    Contributions,
    Costs,
    Evaluator,
    ImportanceRow,
    Importances,
    ReportFacts,
    ScoredRows,
    SplitFacts,
    TableFacts,
    card_markdown,
    card_page,
    evaluate,
    render_report,
)

NASTY = "<script>alert(1)</script> | *x*"
CARD = Card(
    owner="birds@example.org",
    intended_use="To sort birds before a person looks.",
    out_of_scope=("Birds of other islands",),
    limits=("Young birds were not measured",),
    licence="CC0",
)
FAILED = BehaviourResult(
    name="island_does_not_matter",
    kind="invariance",
    text=f"island set to {NASTY} moves the score by at most 0.1 for 95% of the rows",
    split="validation",
    num_rows=200,
    num_violations=31,
    allowed_share=0.05,
    passed=False,
    required=True,
    examples=(BehaviourExample(value=NASTY, changed="Dream", score=0.25, changed_score=0.75),),
)
IMPORTANCES = Importances(
    metric="roc_auc",
    baseline=0.9,
    split="validation",
    num_rows=200,
    repeats=5,
    confidence=0.95,
    rows=(
        ImportanceRow(name="mass", columns=("mass",), value=0.2, low=0.15, high=0.25),
        ImportanceRow(name="island", columns=("island",), value=0.0, low=0.0, high=0.0),
    ),
)
CONTRIBUTIONS = Contributions(
    unit="log odds",
    split="validation",
    num_rows=200,
    rows=(
        ContributionRow(name="mass", mean_abs=1.5, direction=0.9, values=(-1.0, 0.5, 2.0), places=(0.0, 0.5, 1.0)),
        ContributionRow(name="_island", mean_abs=0.1, direction=None, values=(0.1, -0.1, 0.1), places=(None, None, None)),
    ),
)


def facts_of(*, inside=True, threshold=0.2, **more):
    random = np.random.default_rng(0)
    y_N = (random.random(300) < 0.4).astype(np.float32)
    raw = np.clip(0.3 + 0.3 * y_N + 0.1 * random.normal(size=300), 0, 1)
    slices = {"island": random.choice(["Dream", NASTY], 300)}
    rows = ScoredRows(
        target=Target(kind="binary", name="male", classes=("false", "true")),
        split="test",
        y_N=y_N,
        scores=raw**2,
        threshold=threshold,
        costs=Costs(false_positive=1, false_negative=5, unit="EUR a bird"),
        raw=raw,
        calibrator="platt",
        slices=slices,
    )
    found = evaluate(rows, evaluator=Evaluator(num_resamples=20, min_slice_rows=5))
    if inside:
        parts = {"importances": IMPORTANCES, "contributions": CONTRIBUTIONS, "behaviours": (FAILED,)}
        found = type(found)(**{**vars(found), **parts})
    tables = [TableFacts(name="birds", version=3, num_rows=300, role="events")]
    splits = [SplitFacts(name="calibration", num_rows=45, window="by hash of id")]
    shown = {"tables": tables, "splits": splits, "set_aside": {"no label": 11}, "version": "7", "digest": "3f9c"}
    return ReportFacts(model="penguin_sex", evaluation=found, summary="Predicts male.", **{**shown, **more})


class Text(HTMLParser):
    """The text of a page, and whether its tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.said, self.open, self.problems = [], [], []
        self.feed(page)

    def handle_starttag(self, name, *_):
        if name not in ("meta", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        if not self.open or self.open.pop() != name:
            self.problems.append(name)

    def handle_data(self, data):
        self.said.append(data)


WORDS = (
    "It was made elsewhere.",
    "birds@example.org",
    "To sort birds before a person looks.",
    "Birds of other islands",
    "Young birds were not measured",
    "CC0",
    "birds@3",
    "by hash of id",
    "no label",
    "Mean cost",
    "EUR a bird",
    "Expected calibration error",
    "calibrated (platt)",
    "31 of 200 rows of validation break it, 10 may",
    "0.1500 to 0.2500",
    "is worst where island is",
)


@pytest.mark.parametrize("form", ["markdown", "page"])
def test_the_card_says_everything_in_both_forms(form):
    facts = facts_of(limits=("It was made elsewhere.",))
    if form == "page":
        page = Text(card_page(CARD, facts))
        assert (page.problems, page.open) == ([], [])
        text = " ".join(page.said)
        assert "<script" not in card_page(CARD, facts)
    else:
        text = card_markdown(CARD, facts)
        assert "<script" not in text.replace("\\<script", "")
        rows = [line for line in text.splitlines() if line.startswith("| island: ")]
        assert len(rows) == 2
        assert all(line.replace("\\|", "").count("|") == 5 for line in rows), "a value with a bar stays in its cell"
    for words in WORDS:
        assert words in text.replace("\\", ""), words


def test_what_nobody_stated_is_said_so():
    facts = facts_of(inside=False, tables=[], splits=[], set_aside={})
    text = card_markdown(Card(), facts)
    for title in ("Owner", "Intended use", "Out of scope", "Licence"):
        part = text.split(f"## {title}\n")[1].split("\n## ")[0]
        assert "not stated" in part, title
    for absent in ("## Data", "## Behaviour", "## What it goes by"):
        assert absent not in text


def test_a_threshold_that_no_score_reaches_is_said_to_be_one():
    assert "A score of 0.2000 or more is a yes; chosen on" in card_markdown(CARD, facts_of())
    assert "No score is a yes; chosen on" in card_markdown(CARD, facts_of(threshold=1.0000001))


def test_the_report_shows_what_was_found_inside():
    facts = facts_of()
    page = render_report(facts)
    assert "<script>alert" not in page
    text = " ".join(Text(page).said)
    for words in (
        "Contributions (Shapley values)",
        "Before and after calibration",
        "before calibration",
        "What it goes by",
        "0.2000",
        "+0.90",
        "How it behaves",
        "island_does_not_matter",
        "failed",
        "the gate asks for it",
        "10 may",
        "+0.5000",
        "Cost by threshold",
        "false negative 5",
        "threshold would be 0.1667",
    ):
        assert words in text, words
