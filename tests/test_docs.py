"""The documentation is true: generated pages are up to date, links lead somewhere, and named commands exist."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from omegaconf import OmegaConf
from processes import ROOT

from raypipe.core import compose

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CONF = sorted((ROOT / "conf").rglob("*.yaml"))
EXAMPLES = sorted(DOCS.glob("examples/*/conf/**/*.yaml"))
EXPERIMENTS = [path for path in (*CONF, *EXAMPLES) if path.parent.name == "experiment"]
READERS = {"conf/experiment/churn.yaml", "benchmarks/results.json", "churn", "mine", "NAME", "null", "model.temperature"}
"""What pages name that is the reader's own, or is made by a command."""
SAME_AS = {"candidates.NAME.model": "model", "candidates.NAME.trainer": "trainer"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def settings_of_page() -> dict[str, str]:
    """Every setting of the reference with its type."""
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([A-Za-z0-9_.]+)` \| ([^|]*) \|", page, re.M))


def used(value: Any, path: str, known: Mapping[str, str]) -> Iterator[str]:
    """Dotted settings in a mapping, names of the user's own as NAME; a part of the user's own is passed over."""
    if not isinstance(value, Mapping) or not str(value.get("_target_", "raypipe.")).startswith("raypipe."):
        return
    path = SAME_AS.get(path, path)
    for key, inner in value.items():
        if key not in ("_target_", "defaults"):
            name = "NAME" if known.get(path, "").startswith("`NAME`:") else str(key)
            place = f"{path}.{name}" if path else name
            if name != "NAME":
                yield place
            yield from used(inner, place, known)


def test_the_generated_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_setting_has_a_meaning() -> None:
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    silent = [line for line in page.splitlines() if line.startswith("| `") and re.search(r"\|\s*\|$", line)]
    assert silent == []


@pytest.mark.parametrize("path", [*CONF, *EXAMPLES], ids=name_of)
def test_every_setting_of_a_yaml_is_in_the_reference(path: Path) -> None:
    group = path.parent.name
    prefix = "" if group in ("conf", "experiment") else group
    known = settings_of_page()
    names = set(used(loaded(path), prefix, known))
    assert names - set(known) == set()


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_every_experiment_keeps_the_schema_that_editors_use(path: Path) -> None:
    schema = json.loads((DOCS / "schemas" / "overlay.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(loaded(path))


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"nmae": "x"}, []),
        ({"model": {"_target_": "raypipe.models.Xgboost", "max_depht": 3}}, ["model"]),
        ({"features": {"a": {"kind": "numbr"}}}, ["features", "a"]),
        (
            {"data": {"tables": {"t": {"contract": {"columns": {"a": "int46"}}}}}},
            ["data", "tables", "t", "contract", "columns", "a"],
        ),
        ({"task": {"views": {"v": {"ttl": "3 hours"}}}}, ["task", "views", "v", "ttl"]),
        ({"trainer": {"num_workers": -1}}, ["trainer", "num_workers"]),
    ],
)
def test_the_schema_shows_where_a_wrong_setting_is(settings: Mapping[str, Any], at: list[str]) -> None:
    schema = json.loads((DOCS / "schemas" / "overlay.json").read_text(encoding="utf-8"))
    (error,) = jsonschema.Draft202012Validator(schema).iter_errors(settings)
    assert list(error.path) == at


def test_composed_settings_keep_the_schema_of_the_experiment() -> None:
    schema = json.loads((DOCS / "schemas" / "Experiment.json").read_text(encoding="utf-8"))
    for path in EXPERIMENTS:
        conf = path.parent.parent
        cfg = compose.compose("pipeline", [f"experiment={path.stem}"], conf_dir=str(conf))
        jsonschema.Draft202012Validator(schema).validate(OmegaConf.to_container(cfg, resolve=True))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [t for t in targets if t and "://" not in t and not t.startswith("mailto:") and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """Paths of the checkout in backticks, such as `raypipe/core/errors.py` or `tests/test_bundle.py`."""
    roots = "raypipe|tests|docs|conf|jobs|serve_apps|benchmarks"
    named = set(re.findall(rf"`((?:{roots})/[\w./-]+\.(?:py|md|yaml|json))`", page.read_text(encoding="utf-8")))
    missing = [name for name in sorted(named) if not (ROOT / name).exists()]
    assert [name for name in missing if "NN" not in name and "NAME" not in name and name not in READERS] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    jobs = {path.stem for path in (ROOT / "jobs").glob("[a-z]*.py")}
    jobs |= {word for word in (job.partition("_")[0] for job in jobs) if sum(job.startswith(f"{word}_") for job in jobs) == 1}
    named = {
        *re.findall(r"python (?:\S*/)?jobs/([a-z]\w*)\.py", text),
        *(words.strip().replace(" ", "_") for words in re.findall(r"^(?:\S+/)?raypipe ((?:[a-z]\w* )+)", text, re.M)),
    }
    assert named <= jobs, named - jobs
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    asked = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M))
    assert asked <= verbs, asked - verbs


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_setting_of_a_command_in_a_page_exists(page: Path) -> None:
    """Overrides such as ``storage.root=...`` in code blocks."""
    known = settings_of_page()
    first = {name.partition(".")[0] for name in known}
    for block in re.findall(r"^```(?:sh|console|text)?\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M):
        for name in re.findall(r"(?<![\w.])([a-z_]+(?:\.[a-z_]+)+)=", block):
            if name.partition(".")[0] in first and not name.startswith(("features.", "data.", "candidates.")):
                assert name in known or name in READERS, name


def test_every_group_option_that_a_page_names_exists() -> None:
    for page in PAGES:
        text = re.sub(r"```python.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for group, option in re.findall(r"[\s`](experiment|model|trainer|tune|storage|tracking)=(\w+)", text):
            if option in READERS:
                continue
            folders = [ROOT / "conf", *DOCS.glob("examples/*/conf")]
            assert any((folder / group / f"{option}.yaml").is_file() for folder in folders), f"{page.name}: {group}={option}"


def test_the_readme_counts_the_lines_of_the_plain_script_and_of_the_experiment() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    num = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "conf").glob("*/flights.yaml")}
    plain = len((ROOT / "benchmarks" / "flights_plain_ray.py").read_text(encoding="utf-8").splitlines())
    assert f"{plain} lines of Python" in text
    assert f"{sum(num.values())} lines of YAML, of which {num[ROOT / 'conf' / 'data' / 'flights.yaml']}" in text
