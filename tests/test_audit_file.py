"""The audit of a file: seven seeded leaks are each found by name, clean tables pass, and no table breaks it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from audit_parts import CUT, LEAKS, NUM_ROWS, Columns, Leak, clean

from raypipe.audit import Audit, FileAudit, Refuse, Report, audit_file
from raypipe.audit._command import run_audit
from raypipe.cli import main
from raypipe.core.errors import ConfigError, InputError, LabelError, SourceError


def written(folder: Path, columns: Mapping[str, Any]) -> str:
    path = folder / "my.parquet"
    pq.write_table(pa.table(dict(columns)), path)
    return str(path)


def audited(folder: Path, columns: Mapping[str, Any], **asked: Any) -> Report:
    return audit_file(FileAudit(uri=written(folder, columns), **{"label": "y", **asked}))


def checks_of(report: Report, audit: Audit | None = None) -> set[tuple[str, str]]:
    """What refuses: check and column."""
    return {(f.check, f.column) for f in (audit or Audit()).findings(report) if f.severity == "fail"}


def command(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = main(["audit", *argv])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.check)
def test_each_seeded_leak_is_found_by_its_check_and_its_column(
    leak: Leak, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [text for name, column in leak.options.items() for text in (f"--{name}", column)]
    dropped = ["--drop", "customer"] if "entity" not in leak.options else []
    base = ["--label", "y", "--split", "split", *options, *dropped]
    timeless = [] if "time" in leak.options else ["--drop", "t"]
    code, line = command(capsys, written(tmp_path, leak.seed(clean())), *base, *timeless)
    failed = [f for f in line["findings"] if f["severity"] == "fail"]
    assert (code, line["status"]) == (3, "leak")
    assert [(f["check"], f["column"]) for f in failed] == [(leak.check, leak.column)], failed


@pytest.mark.parametrize(
    "options", [(), ("--time", "t"), ("--time", "t", "--test-from", "2020-05-10"), ("--entity", "customer")]
)
def test_a_clean_table_passes_under_any_split(
    options: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drop = [name for name in ("t", "customer", "split") if name not in options]
    code, line = command(capsys, written(tmp_path, clean()), "--label", "y", *options, "--drop", *drop)
    assert (code, line["status"], line["findings"]) == (0, "ok", [])
    own = "the audit's own" in line["split"]
    assert own == ("--test-from" not in options)
    assert sum(line["rows"].values()) + sum(line["set_aside"].values()) == NUM_ROWS


def test_a_split_of_its_own_by_time_has_the_last_fifth_as_test(tmp_path: Path) -> None:
    found = audited(tmp_path, {**clean(), "y": pa.array(np.arange(NUM_ROWS) % 3 == 0)}, time="t", drop=("split",))
    assert found.rows == {"train": NUM_ROWS * 4 // 5, "test": NUM_ROWS // 5}


def test_csv_text_times_and_a_folder_of_files_are_read_as_parquet_is(tmp_path: Path) -> None:
    columns = pa.table(clean())
    texts = columns.set_column(1, "t", columns.column("t").cast(pa.string()))
    pcsv.write_csv(texts, tmp_path / "my.csv")
    (tmp_path / "parts").mkdir()
    for i in range(4):
        pq.write_table(columns.slice(i * 1_000, 1_000), tmp_path / "parts" / f"{i}.parquet", row_group_size=300)
    uris = [str(tmp_path / "my.csv"), str(tmp_path / "parts"), written(tmp_path, clean())]
    found = [audit_file(FileAudit(uri=uri, label="y", time="t", split="split")) for uri in uris]
    for one in found[1:]:
        assert one.rows == found[0].rows
        assert [(m.check, m.column, round(m.value, 9)) for m in one.measures] == [
            (m.check, m.column, round(m.value, 9)) for m in found[0].measures
        ]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("leaks", ["copy", "codes", "nothing"])
def test_proxies_are_found_for_classes_and_numbers_too(task: str, leaks: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=3_000) if task == "regression" else np.array(["a", "b", "c", "d"])[rng.integers(0, 4, 3_000)]
    code = np.exp(y) if task == "regression" else np.unique(y, return_inverse=True)[1]
    swapped = (code * 7919) % 4 if task == "multiclass" else np.floor(code * 20)
    x = {"copy": code, "codes": swapped, "nothing": rng.normal(size=3_000)}[leaks]
    found = audited(tmp_path, {"y": y, "x": x, "z": rng.normal(size=3_000)})
    assert found.task == task
    assert checks_of(found) == (set() if leaks == "nothing" else {("proxies", "x")})


def test_a_proxy_that_is_not_monotone_is_found_by_the_mean_label_of_its_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=5_000)
    found = audited(tmp_path, {"y": np.abs(x) > 1, "x": x})
    assert checks_of(found) == {("proxies", "x")}
    assert "by the mean label" in found.of("proxies")[0].text


def test_nulls_that_follow_the_label_are_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = rng.random(5_000) < 0.3
    x = pa.array(np.where(y ^ (rng.random(5_000) < 0.01), None, "x"), pa.string())
    found = audited(tmp_path, {"y": y, "x": x, "z": rng.normal(size=5_000)})
    assert ("known_later", "x") in checks_of(found)


def test_what_is_named_as_known_later_refuses_and_an_exception_with_a_reason_does_not(tmp_path: Path) -> None:
    found = audited(tmp_path, clean(), later=("rating",), drop=("split", "t"))
    for bound in (0.9, 1.0):
        assert ("known_later", "rating") in checks_of(found, Audit(max_null_auc=bound))
    assert checks_of(found, Audit(allow={"rating": "asked for before"})) == set()


def test_equal_rows_whose_labels_differ_are_a_coincidence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = {"y": rng.random(4_000) < 0.4, "a": rng.integers(0, 3, 4_000), "b": rng.integers(0, 3, 4_000)}
    found = audited(tmp_path, coarse)
    assert found.of("duplicates")[0].value == 1.0
    assert checks_of(found) == set()
    assert [(f.check, f.severity) for f in Audit().findings(found)] == [("duplicates", "warn")]


def test_a_gap_that_is_too_short_is_found(tmp_path: Path) -> None:
    columns = clean()
    found = audited(tmp_path, columns, time="t", split="split", audit=Audit())
    assert checks_of(found) == set()
    found = audited(tmp_path, columns, time="t", split="split", audit=Audit(gap="2h"))  # type: ignore[arg-type]  # as written
    assert checks_of(found) == {("time_overlap", "")}


@pytest.mark.parametrize("ends", ["standard", "unit"])
def test_a_column_that_was_scaled_with_all_rows_is_found_and_one_that_was_scaled_on_train_is_not(
    ends: str, tmp_path: Path
) -> None:
    columns = clean()
    raw = columns["amount"].to_numpy() + np.linspace(0, 300, NUM_ROWS)
    for name, rows in (("all", raw), ("train", raw[:CUT])):
        low, size = (rows.mean(), rows.std()) if ends == "standard" else (rows.min(), rows.max() - rows.min())
        columns[f"by_{name}"] = pa.array((raw - low) / size)
    found = audited(tmp_path, columns, time="t", split="split", drop=("customer",))
    assert checks_of(found) == {("statistics", "by_all")}


def hostile() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    many = np.array([f"{i} ü" for i in range(10_000)])
    return {
        "y": pa.array(rng.integers(0, 2, 20_000)),
        "nothing": pa.nulls(20_000, pa.float64()),
        "no type": pa.nulls(20_000),
        "größe <b>&\"'": rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, 5e-324]), 20_000),
        "lists": pa.array([[1, 2], None, [], [None]] * 5_000),
        "dotted.name": np.arange(20_000) % 7,
        "structs": pa.array([{"a": 1}, None] * 10_000),
        "many": many[rng.integers(0, 10_000, 20_000)],
        "constant": np.ones(20_000),
        "ids": np.arange(20_000),
        "big": pa.array(rng.integers(2**62, 2**63, 20_000).astype(np.uint64) * np.uint64(2)),
        "day": pa.array(rng.integers(0, 20_000, 20_000).astype("datetime64[D]")),
        "bytes": pa.array([b"\xff\x00", None] * 10_000),
        "price": pa.array(rng.integers(0, 9_999, 20_000)).cast(pa.decimal128(25, 2)),
        "a" * 300: rng.random(20_000),
    }


def test_columns_of_any_kind_are_audited_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "page.html"
    code, line = command(capsys, written(tmp_path, hostile()), "--label", "y", "--out", str(out))
    assert (code, line["findings"]) == (0, [])
    page = out.read_text()
    assert "größe &lt;b&gt;&amp;&quot;&#x27;" in page
    assert "<b>&" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


LABELS: Mapping[str, tuple[Any, type[InputError], str]] = {
    "missing": (None, ConfigError, "no column 'y'"),
    "null": (pa.nulls(100, pa.float64()), LabelError, "null in all 100 rows"),
    "nan": (np.full(100, np.nan), LabelError, "null in all 100 rows"),
    "constant": (np.ones(100), LabelError, "1 in all 100 rows"),
    "lists": (pa.array([[1]] * 100), LabelError, "is list<item: int64>|is list<element: int64>"),
    "times": (pa.array(np.arange(100).astype("datetime64[s]")), LabelError, "is timestamp"),
    "texts": (np.array([f"{i}" for i in range(200)]), LabelError, "more than 100 classes"),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_label_that_cannot_be_learned_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    values, error, words = LABELS[name]
    num = 100 if values is None else len(values)
    columns = {"x": np.arange(num), **({} if values is None else {"y": values})}
    with pytest.raises(error, match=words) as caught:
        audited(tmp_path, columns)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"time": "shop"}, SourceError, "text that is no time"),
        ({"time": "rating"}, SourceError, "is double, not a time"),
        ({"time": "ms"}, SourceError, "seconds since 1970, after the year 3900"),
        ({"time": "tt"}, ConfigError, "--time: no column 'tt'"),
        ({"split": "shop"}, SourceError, "holds east, north, south; names of splits are train"),
        ({"test_from": "2020-01-02"}, ConfigError, "name the column of the time"),
        ({"time": "t", "test_from": "tomorrow"}, ConfigError, "expected a day"),
        ({"time": "t", "test_from": "2050-01-01"}, SourceError, "rows of splits: train 3,805"),
        ({"split": "split", "time": "t", "test_from": "2020-01-02"}, ConfigError, "give one of them"),
        ({"entity": ("custommer",)}, ConfigError, "did you mean customer"),
        ({"task": "regression"}, LabelError, "regression needs numbers"),
        ({"drop": ("y",)}, ConfigError, "named for something else"),
        ({"audit": Audit(allow={"amuont": "x"})}, ConfigError, "audit.allow: no column 'amuont'; did you mean amount"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_the_table_is_refused(
    asked: dict[str, Any], error: type[InputError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        audited(tmp_path, {**clean(), "ms": np.arange(NUM_ROWS) + 1_600_000_000_000}, **asked)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("none.parquet", None, "no table is there"),
        ("text.parquet", b"not a table", "is no whole Parquet file"),
        ("empty.csv", b"", "is no CSV file"),
        ("header.csv", b"y,x\n", "has no rows"),
        ("ragged.csv", b"y,x\n1,2\n3\n", "is no CSV file"),
        ("twice.csv", b"y,x,x\n1,2,3\n0,1,2\n", "two columns 'x'"),
    ],
)
def test_files_that_are_no_tables_are_refused_with_exit_code_2(
    name: str, data: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    code, line = command(capsys, str(tmp_path / name), "--label", "y")
    assert code == 2
    assert words in line["error"]["message"]


def test_a_table_without_rows_or_with_one_class_in_a_split_is_answered(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no rows"):
        audited(tmp_path, {"y": pa.array([], pa.bool_()), "x": pa.array([], pa.int64())})
    one_class = {"y": np.arange(1_000) >= 900, "t": np.arange(1_000), "x": np.arange(1_000) % 7}
    found = audited(tmp_path, one_class, time="t")
    assert found.rows == {"train": 800, "test": 200}
    assert found.skipped["proxies"] == "train rows have one label only, or no values"
    assert checks_of(found) == set()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "--label"),
        (["x.parquet", "--label", "y", "--severity", "proxys=warn"], "no check 'proxys'; checks are entity_overlap"),
        (["x.parquet", "--label", "y", "--severity", "proxies=maybe"], "proxies"),
        (["x.parquet", "--label", "y", "--allow", "x"], "expected COLUMN=REASON"),
        (["x.parquet", "--label", "y", "--max-auc", "7"], "max_auc"),
        (["x.parquet", "--label", "y", "--labels", "z"], "unrecognized arguments"),
    ],
)
def test_wrong_options_end_with_exit_code_2_and_a_line(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_audit(argv) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_report_does_not_depend_on_how_the_file_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns: Columns = clean()
    whole = audited(tmp_path, columns, time="t", split="split")
    monkeypatch.setattr("raypipe.audit._file.CHUNK_ROWS", 304)
    assert audited(tmp_path, columns, time="t", split="split") == whole
    assert isinstance(Audit(max_auc=0.5).decide(whole), Refuse)
