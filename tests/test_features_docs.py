"""The pages about features are true: their YAML is built and computed, their Python and their notebook are run again."""

import importlib.resources
import json
import re
import runpy
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml
from numpy.typing import NDArray
from processes import ROOT

from raypipe import cli
from raypipe.core import compose
from raypipe.core.config import build
from raypipe.core.errors import RaypipeError
from raypipe.expressions import FUNCTIONS, OPERATORS
from raypipe.features import FeatureSet, FeatureSpec, Labels, fit_chunk, merge_states, solve
from raypipe.features._treatment import Treatment  # its settings are those of four kinds

PAGE = ROOT / "docs" / "features.md"
EXAMPLE = ROOT / "docs" / "examples" / "features"
TEXT = PAGE.read_text(encoding="utf-8")
NOTEBOOKS = runpy.run_path(str(EXAMPLE / "run_notebook.py"))
NUMBER = re.compile(r"most frequent: [^)]*|\b\d[\d.]*")  # what depends on the rows
KINDS = {spec.kind: spec for spec in typing.get_args(typing.get_args(FeatureSpec)[0])}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.S | re.M)


def section(title: str) -> str:
    """The text under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.S | re.M)
    assert found is not None, title
    return found[1]


def spec_of(block: str) -> FeatureSet:
    """The feature set of a YAML block: a whole one, as in an experiment, or its features alone."""
    plain: dict[str, Any] = yaml.safe_load(block)
    if "features" not in plain:
        return FeatureSet(features=plain)
    return FeatureSet(derive=plain.get("derive", plain.get("task", {}).get("derive", {})), features=plain["features"])


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[None]:
    """The module of the example is importable, as it is in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        yield


@pytest.fixture(scope="module")
def penguins() -> pa.Table:
    path = importlib.resources.files("palmerpenguins") / "data" / "penguins.csv"
    options = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    return pa.csv.read_csv(str(path), convert_options=options)


@pytest.fixture(scope="module")
def orders(penguins: pa.Table) -> pa.Table:
    """The table of which the page speaks, with nulls, and beside it that of the penguins."""
    random = np.random.default_rng(0)
    n = penguins.num_rows

    def some(values: NDArray[Any], kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, kind, mask=random.random(n) < 0.1)

    at = np.datetime64("2024-01-01", "us") + random.integers(0, 31_536_000_000_000, n)
    tags = [None if i % 9 == 0 else ["new", "sale", "gift", "big"][: i % 5] for i in range(n)]
    columns = {
        "amount": some(random.lognormal(3, 1, n)),
        "items": some(random.integers(0, 12, n)),
        "shop": some(random.integers(0, 9, n)),
        "gift": some(random.random(n) < 0.3),
        "country": some(random.choice(["FR", "DE", "IT", "PT"], n)),
        "payment": some(random.choice(["card", "cash", "transfer"], n)),
        "postcode": some(random.integers(10000, 99999, n).astype(str)),
        "ordered_at": some(at).cast(pa.timestamp("us", "UTC")),
        "signed_up": some(at.astype("datetime64[D]") - random.integers(0, 400, n)),
        "tags": pa.array(tags),
        "photo": pa.array([None if i % 7 == 0 else [0.5, i, -i, 1e-3] for i in range(n)], pa.list_(pa.float32(), 4)),
        "returned": pa.array(random.random(n) < 0.2),
        "order": pa.array(range(n)),
    }
    return pa.table({**columns, **{name: penguins[name] for name in penguins.column_names}})


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.splitlines()[0][:40])
def test_every_yaml_block_is_a_feature_set_that_both_back_ends_compute_alike(block: str, orders: pa.Table) -> None:
    features = spec_of(block)
    n = orders.num_rows
    labels = Labels(y_N=orders["returned"].to_numpy().astype(float), fold_N=np.arange(n) % 5, num_folds=5)
    states = [fit_chunk(features, orders, labels)]
    fitted = solve(features, merge_states(states), orders.schema).features
    tensors = fitted.transform(orders)
    rows = [fitted.row(record) for record in orders.to_pylist()]
    for name, values in tensors.items():
        assert values.tobytes() == np.concatenate([row[name] for row in rows]).tobytes(), name


def test_every_kind_has_a_section_with_an_example_and_its_settings() -> None:
    shared = set(Treatment.__pydantic_fields__)  # type: ignore[attr-defined]  # mypy does not see the decorator
    known = section("category") + section("number")
    for kind, spec in KINDS.items():
        text = section(kind)
        assert f"[`{kind}`](#{kind})" in TEXT, "the table of kinds lists it"
        examples = [
            spec.kind for block in re.findall(r"```yaml\n(.*?)```", text, re.S) for spec in spec_of(block).features.values()
        ]
        assert kind in examples
        for setting in set(spec.__pydantic_fields__) - {"kind", "column", "columns"}:
            where = known if setting in shared or kind == "cross" else text
            assert re.search(rf"\b{setting.rstrip('_')}\b", where), f"{kind}: {setting}"


REFUSED = re.findall(
    r"^(\{?\S.*)\n((?:  .*\n)+)", section("What is refused").partition("```text\n")[2].partition("```")[0], re.M
)


@pytest.mark.parametrize(("written", "said"), REFUSED)
def test_what_the_page_says_is_refused_is_refused_so(written: str, said: str, orders: pa.Table) -> None:
    def fitted_as(written: str) -> object:
        (features := build(yaml.safe_load(written), FeatureSet)).check(orders.schema)
        return solve(features, fit_chunk(features, orders), orders.schema)

    with pytest.raises(RaypipeError) as refused:
        fitted_as(written)
    lines = [line.removeprefix("  ") for line in said.splitlines()]
    for line, found in zip(lines, str(refused.value).splitlines(), strict=True):
        assert found.startswith(line[:-3]) if line.endswith("...") else found == line


def test_the_page_shows_refusals() -> None:
    assert len(REFUSED) == section("What is refused").count("features: {") > 5


def cells(text: str) -> list[list[str]]:
    """The cells of each line, lines under headings left out: widths of columns do not matter."""
    return [[cell.strip() for cell in re.split("[┃│]", line)] for line in text.splitlines() if "━" not in line]


def printed(command: str) -> list[list[str]]:
    """What the page says that a command prints."""
    found = re.search(rf"^\$ {re.escape(command)}\n(.*?)^```", TEXT, re.S | re.M)
    assert found is not None, command
    return cells(found[1])


def test_the_plan_on_the_page_is_what_the_command_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "raypipe features plan experiment=flights"
    assert cli.main([*command.split()[1:], f"storage.root={tmp_path}"]) == 0
    assert printed(command) == cells(capsys.readouterr().err)


def test_the_described_outputs_on_the_page_are_those_of_the_example(penguins: pa.Table) -> None:
    """The page has the statistics of the training rows and the test those of all rows: numbers are masked."""
    settings = compose.to_plain(compose.compose("features_describe", ["experiment=birds"], conf_dir=str(EXAMPLE / "conf")))
    specs = {name: spec for name, spec in settings["features"].items() if spec is not None}
    features = build({"derive": settings["task"]["derive"], "features": specs}, FeatureSet, allowed=["bird_features"])
    rows = penguins.filter(pc.is_valid(penguins["sex"]))
    n = rows.num_rows
    labels = Labels(y_N=np.arange(n) % 2.0, fold_N=np.arange(n) % 5, num_folds=5)
    fitted = solve(features, fit_chunk(features, rows, labels), rows.schema).features
    _, _, *shown = printed("raypipe features describe experiment=birds")
    found = [[o.name, o.type, o.kind, ", ".join(o.sources), o.statistics] for o in fitted.describe()]
    assert [line[:4] for line in shown] == [line[:4] for line in found]
    for line, (*_, statistics) in zip(shown, found, strict=True):
        assert NUMBER.sub("#", statistics).startswith(NUMBER.sub("#", line[4].removesuffix("..."))), line[0]


@pytest.mark.parametrize("table", [FUNCTIONS, OPERATORS], ids=["functions", "operators"])
def test_the_tables_of_expressions_are_those_of_the_grammar(table: Any) -> None:
    wanted = [f"| `{f.signature}` | {f.gives} | {f.meaning} |" for f in {id(f): f for f in table.values()}.values()]
    lines = section("Expressions").splitlines()
    start = lines.index(wanted[0])
    assert lines[start : start + len(wanted)] == wanted
    assert lines[start + len(wanted) : start + len(wanted) + 1] in ([], [""])


def test_the_picture_shows_the_numbers_of_a_real_fit(penguins: pa.Table) -> None:
    picture = (ROOT / "docs" / "images" / "feature-flow.svg").read_text(encoding="utf-8")
    features = FeatureSet(features={"body_mass_g": {"kind": "number"}, "island": {"kind": "category"}})
    chunks = [penguins.slice(0, 115), penguins.slice(115, 115), penguins.slice(230)]
    states = [fit_chunk(features, chunk) for chunk in chunks]
    moments = [state.features["body_mass_g"].states["body_mass_g"].moments for state in states]
    fitted = solve(features, merged := merge_states(states), penguins.schema).features
    number, category = fitted.outputs
    row = fitted.row(penguins.slice(0, 1).to_pylist()[0])
    told = [
        *(f"chunk {i}: {m.count} present" for i, m in enumerate(moments, start=1)),
        *(f"mean {m.mean:.2f}, {m.nulls} null" for m in moments),
        f"M2   {merged.features['body_mass_g'].states['body_mass_g'].moments.m2:.2f}",
        *(f"{v:9} {c:4}" for v, c in zip(category.vocabulary.values.to_pylist(), category.vocabulary.counts_D, strict=True)),
        f"null -> {number.fill:.2f}",
        f"(x - {number.shift:.2f}) / {number.scale:.2f}",
        f"{row['numbers_NF'][0, 0]:.7f}",
        row["numbers_NF"].tobytes().hex(" "),
        row["categories_NC"].tobytes().hex(" "),
    ]
    assert [text for text in told if text not in picture] == []


@pytest.mark.long
@pytest.mark.ray
def test_the_python_blocks_run_in_their_order(
    orders: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    monkeypatch.chdir(tmp_path)  # not the workers' folder: the cluster is older
    pyarrow.parquet.write_table(
        orders.select(["amount", "country", "shop", "returned", "order"]), path := tmp_path / "orders.parquet"
    )
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(re.sub(r'"(orders\.parquet|prepared)"', lambda name: repr(str(path.with_name(name[1]))), block), names)
    assert all(Path(uri).exists() for uri in names["written"])


def shown(outputs: list[dict[str, Any]]) -> list[str]:
    """What a cell shows; of a data frame the HTML, as its text depends on the width of the terminal."""
    texts = [output.get("text") or output["data"].get("text/html") or output["data"]["text/plain"] for output in outputs]
    return ["".join(text) for text in texts]


def test_the_notebook_gives_what_is_stored_in_it_up_to_where_ray_begins() -> None:
    """Cells that import Ray, and those after them, are left to the next test."""
    notebook = NOTEBOOKS["load"](EXAMPLE / "features.ipynb")
    first = next(i for i, cell in enumerate(notebook["cells"]) if "import ray" in "".join(cell["source"]))
    for cell, outputs in NOTEBOOKS["outputs_of"]({**notebook, "cells": notebook["cells"][:first]}):
        assert shown(outputs) == shown(cell["outputs"]), "".join(cell["source"])


@pytest.mark.ray
def test_the_whole_notebook_gives_what_is_stored_in_it(ray_cluster: None) -> None:
    notebook = NOTEBOOKS["load"](EXAMPLE / "features.ipynb")
    for count, (cell, outputs) in enumerate(NOTEBOOKS["outputs_of"](notebook), start=1):
        assert cell["execution_count"] == count
        assert shown(outputs) == shown(cell["outputs"]), "".join(cell["source"])


def test_the_notebook_says_nothing_about_the_machine_that_ran_it() -> None:
    text = (EXAMPLE / "features.ipynb").read_text(encoding="utf-8")
    for cell in json.loads(text)["cells"]:
        assert not any(output.get("name") == "stderr" for output in cell.get("outputs", []))
    assert re.findall(r"/(?:home|root|tmp|usr|Users)/|site-packages|0x[0-9a-f]{6,}", text) == []


@pytest.mark.ray
def test_the_plain_ray_script_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str], ray_cluster: None) -> None:
    script = runpy.run_path(str(EXAMPLE / "plain_ray.py"))
    script["main"](tmp_path)
    told = capsys.readouterr().out
    assert "344 rows of bill_length_mm, " in told
    assert "loaded: equal" in told
    assert "files: 344 rows fitted" in told
