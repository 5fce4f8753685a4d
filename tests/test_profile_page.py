"""The profile page: right figures, safe and self-contained whatever is in the table; nothing of personal data on it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.profile_page import main as profile_job
from raypipe.core.cluster import Cluster
from raypipe.core.errors import ConfigError, StorageError, TableNotFound
from raypipe.core.job import JobRecord
from raypipe.core.storage import Storage
from raypipe.overview import ProfileRun, TableOverview, look_over, render_profile, run_profile
from raypipe.overview._columns import merge_passes, pass_over
from raypipe.overview._run import masked_columns
from raypipe.overview._table import sample_places, shown_rows
from raypipe.overview._words import DASH, bytes_of, number_of, percent, value_of
from raypipe.tables import TableRef, Tables, write_part

NASTY = "</td></table><script>alert(1)</script>"
SECRET = "person@example.org"


def rows(num: int = 60, *, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "amount": pa.array(random.lognormal(3, 2, num)),
            NASTY: pa.array(["<b>x</b>", "&amp;", "", "\u202eevil", None, "東京"] * (num // 6), pa.string()),
            "all_null": pa.nulls(num, pa.float64()),
            "odd": pa.array([math.nan, math.inf, 1.0] * (num // 3)),
            "when": pa.array(random.integers(0, 10**15, num), pa.timestamp("us", "UTC")),
            "day": pa.array(random.integers(0, 9000, num).astype(np.int32), pa.date32()),
            "ok": pa.array([True, False, None] * (num // 3)),
            "tags": pa.array([["a"] * (i % 4) for i in range(num)], pa.list_(pa.string())),
            "price": pa.array([1, 2, 3] * (num // 3)).cast(pa.decimal128(30, 2)),
            "email": pa.array([SECRET] * num),
        }
    )


def overview(chunks: Sequence[pa.Table], *, masked: Iterable[str] = ("email",), version: int = 0, **more: Any) -> TableOverview:
    merged = merge_passes(pass_over(chunk, masked) for chunk in [chunks[0].schema.empty_table(), *chunks])
    whole = pa.concat_tables(chunks)
    places = sample_places(whole.num_rows, 3)
    facts: dict[str, Any] = {
        "name": "shop",
        "version": version,
        "uri": "/data/tables/shop",
        "written_at": None,
        "num_rows": whole.num_rows,
        "num_files": len(chunks),
        "num_bytes": 1234,
        "columns": {name: one.overview() for name, one in merged.items()},
        "samples": tuple(shown_rows(whole.take(places), tuple(masked))) if places else (),
    }
    return TableOverview(**{**facts, **more})


class Page(HTMLParser):
    """What a page loads, its ids, its text, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.scripts, self.problems, self.said = 0, 0, ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.loads += [value or "" for key, value in attrs if key in ("src", "href")]
        self.scripts += tag == "script"
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.problems += not self.open or self.open.pop() != tag

    def handle_data(self, data: str) -> None:
        self.said += data if self.open and self.open[-1] not in ("style", "script") else ""


SHAPES: Mapping[str, Any] = {
    "rows": lambda: (overview([rows()]), None),
    "two versions": lambda: (overview([rows()], version=3), overview([rows(30, seed=1)], version=2)),
    "no rows": lambda: (overview([rows(0)]), None),
    "no rows after rows": lambda: (overview([rows(0)], version=1), overview([rows()])),
    "rows after none": lambda: (overview([rows()], version=1), overview([rows(0)])),
    "no columns": lambda: (overview([pa.table({})]), None),
    "200 columns": lambda: (overview([pa.table({f"c{i}" * 40: [1.0, None] for i in range(200)})]), None),
    "nothing alike": lambda: (overview([pa.table({"a": [1]})], version=1), overview([pa.table({"b": ["x"]})])),
    "retyped": lambda: (overview([pa.table({"a": [1]})], version=1), overview([pa.table({"a": ["1"]})])),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_page_is_whole_and_loads_nothing(shape: str) -> None:
    text = render_profile(*SHAPES[shape]())
    page = Page(text)
    assert (page.problems, page.open) == (0, [])
    assert page.scripts == 1
    assert len(page.ids) == len(set(page.ids))
    assert {target.removeprefix("#") for target in page.loads} <= set(page.ids)
    assert not re.search(r"url\(|@import|https?://", text)


def test_no_value_becomes_markup_and_no_personal_value_is_there() -> None:
    text = render_profile(overview([rows()], version=1), overview([rows(seed=2)]))
    assert "<b>x</b>" not in text
    assert "alert(1)</script>" not in text
    assert "\u202e" not in text
    said = Page(text).said
    for expected in (NASTY, "<b>x</b>", "&amp;", "\\u202eevil", "東京", "“”", "***"):
        assert expected in said
    assert SECRET not in text
    assert "example.org" not in json.dumps(str(overview([rows()])))


def test_the_page_says_the_figures() -> None:
    found = overview([rows(), rows(30, seed=1)])
    said = Page(render_profile(found)).said
    for expected in (
        "shop",
        "version 0",
        "90",
        "1.2 KiB",
        "100 %",
        "≈" if found.num_rows > 1023 else "90",
        "decimal128(30, 2)",
    ):
        assert expected in said
    columns = found.columns
    assert {name: (c.nulls, c.distinct, c.is_exact) for name, c in columns.items()} == {
        "amount": (0, 90, True),
        NASTY: (15, 5, True),
        "all_null": (90, 0, True),
        "odd": (0, 2, True),
        "when": (0, 90, True),
        "day": (0, 90, True),
        "ok": (30, 2, True),
        "tags": (0, None, False),
        "price": (0, None, False),
        "email": (0, 1, True),
    }
    assert columns["email"].profile is None
    assert [name for name, column in columns.items() if column.is_masked] == ["email"]


def test_what_moved_comes_first() -> None:
    before = pa.table({"same": list(range(900)), "moved": list(range(900)), "gone": [1] * 900, "nulls": [1.0] * 900})
    after = pa.table(
        {"same": list(range(900)), "moved": [x + 500 for x in range(900)], "new": [1] * 900, "nulls": [None, 1.0] * 450}
    )
    text = render_profile(overview([after], version=1), overview([before]))
    order = re.findall(r'<details[^>]*data-name="(\w+)"', text)
    assert set(order[:2]) == {"new", "gone"}
    assert order[2:] == ["moved", "nulls", "same"]
    said = Page(text).said
    assert "4 of 5 columns moved, the others are much as they were." in said
    assert "+50.0 pp" in said


def test_chunks_merge_to_the_overview_of_all_rows() -> None:
    whole = rows(600)
    split = overview([whole.slice(start, 17) for start in range(0, 600, 17)])
    one = overview([whole])
    for name, column in one.columns.items():
        found = split.columns[name]
        assert (found.nulls, found.distinct, found.rows) == (column.nulls, column.distinct, column.rows)
        if column.profile is not None and found.profile is not None:
            assert found.profile.to_dict().get("counts") == column.profile.to_dict().get("counts")
            assert found.profile.to_dict().get("top") == column.profile.to_dict().get("top")


@pytest.mark.parametrize(
    ("num", "wanted", "places"), [(0, 6, []), (1, 6, [0]), (3, 2, [0, 2]), (100, 4, [12, 37, 62, 87]), (5, 0, [])]
)
def test_samples_are_evenly_spread(num: int, wanted: int, places: list[int]) -> None:
    assert sample_places(num, wanted) == places


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (number_of(2013.0), "2013"),
        (number_of(336776), "336,776"),
        (number_of(71143.7), "71,144"),
        (number_of(2.0**62), "4.612e+18"),
        (number_of(1e-9), "1e-09"),
        (number_of(-0.5), "-0.5"),
        (number_of(None), DASH),
        (number_of(math.inf), DASH),
        (percent(0.0), "0 %"),
        (percent(1.0), "100 %"),
        (percent(0.99999), "99.9 %"),
        (percent(1e-9), "< 0.1 %"),
        (bytes_of(0), "0 bytes"),
        (bytes_of(1023), "1,023 bytes"),
        (bytes_of(5 * 2**30), "5.0 GiB"),
        (value_of("a\nb\x00\u200b"), "a\\nb\\x00\\u200b"),
        (value_of(False), "false"),
    ],
)
def test_figures_as_they_are_read(said: str, expected: str) -> None:
    assert said == expected


def write(storage: Storage, name: str, chunks: Sequence[pa.Table], **facts: Any) -> TableRef:
    tables, stamp = Tables(storage), f"t{len(list(Path(storage.root).rglob('*.parquet')))}"
    parts = [write_part(tables.uri(name), f"part-{stamp}-{i}.parquet", chunk) for i, chunk in enumerate(chunks)]
    schema = chunks[0].schema if chunks else rows(0).schema
    return tables.commit(name, parts, schema, mode="overwrite", transaction=stamp, facts=facts)


CONTRACT = {"columns": {"email": {"type": "string", "pii": True}, "amount": {"type": "float64"}}}


def test_masked_are_the_columns_of_any_contract_and_of_the_setting(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    old, new = write(storage, "shop", [rows()], contract=CONTRACT), write(storage, "shop", [rows()], contract="a digest")
    assert masked_columns((), [new]) == set()
    assert masked_columns(("ok",), [new, old]) == {"email", "ok"}
    with pytest.raises(ConfigError, match="did you mean amount"):
        masked_columns(("amuont",), [new])


def test_a_version_that_is_not_there_is_named_before_ray_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(root=str(tmp_path))
    write(storage, "shop", [rows()])
    for wrong in ({"table": "shpo"}, {"table": "shop", "version": 7}, {"table": "shop", "against": "gold"}):
        with pytest.raises(TableNotFound):
            run_profile(ProfileRun(storage=storage, ray=Cluster(), **wrong), JobRecord(job="profile", settings={}))
    assert profile_job(["table=shop", "version=7", f"storage.root={tmp_path}"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "TableNotFound"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_job_writes_the_page_of_two_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = Storage(root=str(tmp_path))
    write(storage, "shop", [rows(), rows(30, seed=1)])
    write(storage, "shop", [rows(90, seed=3)])
    write(storage, "shop", [rows()], contract=CONTRACT)
    assert profile_job(["table=shop", "version=1", "against=0", f"storage.root={tmp_path}"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["version"], said["against"], said["rows"], said["masked"]) == (1, 0, 90, ["email"])
    page = Path(said["uri"])
    assert page == tmp_path / "reports" / "shop" / "profile-1-against-0.html"
    assert SECRET not in page.read_text()
    empty = write(storage, "empty", [])
    assert look_over(empty, masked=(), num_samples=3).num_rows == 0
    ref = write(storage, "shop", [rows()])
    found = look_over(ref, masked=("email",), num_samples=3)
    assert found.columns == overview([rows()]).columns
    assert found.samples == overview([rows()]).samples
    Path(ref.part_uri(ref.parts[0])).unlink()
    with pytest.raises(StorageError, match="cannot be read as a part of its table"):
        look_over(ref, masked=(), num_samples=0)
