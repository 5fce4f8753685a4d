"""Write the pages that are made from the code: ``docs/config.md`` and the JSON Schemas in ``docs/schemas/``.

```text
python docs/generate.py            write them
python docs/generate.py --check    exit 1 and name the files that are not up to date
```

Everything comes from the classes themselves: names, types, defaults and bounds from pydantic, meanings from the
``Attributes`` section of each docstring, the parts that ``_target_`` may name from the packages' public faces.
"""

import argparse
import inspect
import json
import re
import runpy
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from class_facts import classes_in, fields_of, is_protocol, kind_of, meanings, parts_of, summary
from json_schemas import part_schema, schema_of, without_required
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from raypipe.core.compose import packaged
from raypipe.core.config import is_config
from raypipe.core.explain import dotted
from raypipe.core.sizes import Size
from raypipe.pipeline import Experiment

HERE = Path(__file__).resolve().parent
PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`", type(None): "null"}
PLAIN |= {date: "date", datetime: "date and time", timedelta: "duration such as `90m`, `3h`, `7d`"}
SIZE = "size such as `512 MiB`, `2 GiB`"
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "min. length"}
INTRO = """\
# Settings

<!-- Made by docs/generate.py from the classes: change the code, then run `make docs`. -->

Jobs with `experiment=` take the same settings: those of `raypipe.pipeline.Experiment`. Jobs about tables and lineage have
few settings of their own, at the [end](#jobs-without-an-experiment). A setting is written in YAML, or on the
command line under its dotted name: `python jobs/train.py experiment=flights model.max_depth=8`. `NAME` stands for a
name of your own. A setting that does not exist stops the job before any work. `--cfg` prints the composed settings.

A part with `_target_` can be swapped, also for a class of your own: see
[bring your own code](playbooks/bring-your-own-code.md). For completion and checks in an editor there are
[JSON Schemas](schemas/): `overlay.json` for files in `conf/experiment/`, `Experiment.json` for composed settings, and
one for each part.
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of settings: a class at a place of the configuration."""

    title: str
    cls: type[Any]
    path: str


def main() -> int:
    """Write the pages, or compare them with the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is not up to date")
    check = parser.parse_args().check
    wanted = pages()
    found = {
        path: path.read_text(encoding="utf-8")
        for path in (HERE / "config.md", *(HERE / "schemas").glob("*.json"))
        if path.exists()
    }
    stale = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
    for path in stale:
        if check:
            sys.stderr.write(f"docs/{path.relative_to(HERE)} is not up to date: run make docs\n")
        elif path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return int(check and bool(stale))


def pages() -> dict[Path, str]:
    """Every generated file and its text."""
    return {HERE / "config.md": config_page()} | {HERE / "schemas" / name: text for name, text in schemas().items()}


def config_page() -> str:
    """The reference of all settings."""
    parts = [INTRO, groups()]
    for section in sections():
        level = "##" if "." not in section.path else "###"
        parts.append(f"{level} {section.title}\n\n{summary(section.cls)}\n\n{table(section)}")
    parts.append("## Jobs without an experiment\n")
    parts += [f"### `{name}`\n\n{summary(cls)}\n\n{table(Section(title=name, cls=cls, path=''))}" for name, cls in own_jobs()]
    return "\n".join(parts)


def own_jobs() -> Iterator[tuple[str, type[Any]]]:
    """Jobs with settings of their own: the words of the command, and the class."""
    for path in sorted(packaged("jobs").glob("[a-z]*.py")):
        main = inspect.unwrap(runpy.run_path(str(path))["main"])
        cls = next(iter(inspect.signature(main).parameters.values())).annotation
        if is_config(cls) and cls is not Experiment:
            yield f"raypipe {path.stem.replace('_', ' ')}", cls


def groups() -> str:
    """The options of the packaged config groups, with the first line of each file."""
    conf = packaged("conf")
    lines = ["## Config groups", "", "| choose with | what it says |", "|---|---|"]
    for path in sorted(conf.glob("*/*.yaml")):
        comments = [line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
        told = [re.sub(r"([A-Z_]+=\S+ )?python jobs/.*", "", line).strip() for line in comments if "@package" not in line]
        lines.append(f"| `{path.parent.name}={path.stem}` | {next((line for line in told if line), 'see the file')} |")
    return "\n".join(lines) + "\n"


def sections() -> list[Section]:
    """All tables, depth first; a class that was described is not described again."""
    return [Section(title="All settings", cls=Experiment, path=""), *_below(Experiment, "", {})]


def _below(cls: type[Any], path: str, seen: dict[type[Any], str]) -> Iterator[Section]:
    for name, field in fields_of(cls).items():
        place = f"{dotted(path, [name])}{'.NAME' if typing.get_origin(field.annotation) is dict else ''}"
        new = {inner: word for inner, word in classes_in(field.annotation) if inner not in seen}
        seen |= dict.fromkeys(new, place)  # before what is below: a part may hold others of its kind
        for inner, word in new.items():
            tag = f", {word}" if word else ""
            yield Section(title=f"`{place}`{tag}", cls=inner, path=place)
            yield from _below(inner, place, seen)


def table(section: Section) -> str:
    """The settings of a section as a Markdown table."""
    told = meanings(section.cls)
    lines = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields_of(section.cls).items():
        meaning = told.get(name) or ("Which kind this is." if name == "kind" else "")
        row = (f"`{dotted(section.path, [name])}`", type_text(field), default_text(field), meaning)
        lines.append(f"| {' | '.join(text.replace('|', '/') for text in row)} |")
    return "\n".join(lines) + "\n"


def type_text(field: FieldInfo) -> str:
    """The type of a setting in words, with its bounds."""
    return _words(field.annotation) + _bounds(field.metadata)


def _words(hint: Any) -> str:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return SIZE if hint == Size else _annotated(*members)
    if origin is typing.Literal:
        return ", ".join(f"`{member}`" for member in members)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(member) for member in members))
    if origin is dict:
        return f"`NAME`: {_words(members[1])}"
    if origin is tuple:
        return f"list of: {_words(members[0])}" if members[-1] is ... else f"[{', '.join(map(_words, members))}]"
    if is_protocol(hint):
        return f"part: {', '.join(f'`{target}`' for target in parts_of(hint))}, or your own"
    if hint in PLAIN:
        return PLAIN[hint]
    return kind_of(hint) or "settings below"


def _annotated(hint: Any, *extras: Any) -> str:
    inner = [m for extra in extras for m in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
    return _words(hint) + _bounds(inner)


def _bounds(metadata: list[Any]) -> str:
    found = [
        f"{word} {getattr(m, name):,}" for m in metadata for name, word in BOUNDS.items() if getattr(m, name, None) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def default_text(field: FieldInfo) -> str:
    """The default as it would be written in YAML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "see below" if is_config(type(value)) else f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def schemas() -> dict[str, str]:
    """Schema files by name: the experiment, an overlay of it, and each part."""
    whole = schema_of(Experiment)
    overlay = {**typing.cast("dict[str, Any]", without_required(whole)), "title": "Overlay"}
    overlay["properties"] = {"defaults": {"type": "array"}, **overlay["properties"]}
    found = {"Experiment.json": whole, "overlay.json": overlay}
    hints = [field.annotation for section in sections() for field in fields_of(section.cls).values()]
    targets = {target: part for hint in hints if is_protocol(hint) for target, part in parts_of(hint).items()}
    for target, part in sorted(targets.items()):
        found[f"{target}.json"] = {"$schema": GenerateJsonSchema.schema_dialect, **part_schema(target, part)}
    return {name: json.dumps(schema, indent=1, ensure_ascii=False) + "\n" for name, schema in found.items()}


if __name__ == "__main__":
    sys.exit(main())
