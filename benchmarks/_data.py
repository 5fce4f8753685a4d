"""The benches of ingest: against Ray without checks, against Polars on CSV, and the checks alone against other validators."""

import json
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._figure import ROOT, Figure, run_json
from benchmarks.data_orders import write_orders

ROUNDS = 5
DATA = ROOT / ".stamps" / "orders"
VALIDATORS = ("great-expectations==1.24.1", "pandera[pandas]==0.35.0", "pandas>=3.1", "pyarrow>=25")


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Seconds of two ways in turn, round by round."""

    ours: Sequence[float]
    theirs: Sequence[float]

    def figure(self, name: str, *, unit: str, against: str, goal: str, met: Callable[[float], bool], **detail: Any) -> Figure:
        """The median of the ratios, ours over theirs, or theirs over ours where the unit says so."""
        over = "theirs / ours" in unit
        ratios = [b / a if over else a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        value = statistics.median(ratios)
        shown = {
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            "ours_s": _round(self.ours),
            "theirs_s": _round(self.theirs),
        }
        return Figure(
            name=name,
            value=value,
            unit=unit,
            against=f"{against}, {len(ratios)} interleaved rounds",
            goal=goal,
            met=met(value),
            command=f"make bench ONLY={name.partition('_vs_')[0]}",
            detail={**shown, **detail},
        )


def data_ingest_rules() -> Sequence[Figure]:
    """Parquet in, twenty rules, a table out."""
    rows = 10_000_000
    pairs = _pairs("raypipe_rules", "ray", rows)
    against = f"ray.data read_parquet and write_parquet of {rows:,} rows of 12 columns, unchecked; ours 20 rules and a commit"
    return [
        pairs.figure("data_ingest_rules", unit="our seconds / theirs", against=against, goal="<= 1.5", met=lambda v: v <= 1.5)
    ]


def data_ingest_csv() -> Sequence[Figure]:
    """CSV in with the default contract, against Polars; and what parse, check, digest and write take apart."""
    rows = 5_000_000
    pairs = _pairs("raypipe_csv", "polars_csv", rows)
    against = f"Polars scan_csv and sink_parquet of the same {rows:,} rows of 12 columns with the same schema"
    apart = _apart(DATA / f"csv-{rows}")
    return [
        pairs.figure(
            "data_ingest_csv",
            unit="their seconds / ours (theirs / ours)",
            against=against,
            goal=">= 0.5",
            met=lambda v: v >= 0.5,
            **apart,
        )
    ]


def data_checks() -> Sequence[Figure]:
    """The twenty rules on a million rows, from Parquet files to the positions of the bad rows, in one process each."""
    rows = 1_000_000
    folder = DATA / f"parquet-{rows}"
    write_orders(folder, rows=rows, kind="parquet")
    python = _validators()
    out = []
    for name in ("pandera", "great_expectations"):
        ours: list[float] = []
        theirs: list[float] = []
        bad = set()
        for _ in range(ROUNDS):
            for seconds, command in (
                (theirs, [str(python), "benchmarks/data_validators.py", name]),
                (ours, [sys.executable, "-m", "benchmarks.data_checks"]),
            ):
                found = _json(*command, str(folder), "2")
                seconds.append(min(found["seconds"]))
                bad.add(found["bad"])
        if len(bad) != 1:
            raise SystemExit(f"the ways found different numbers of bad rows: {sorted(bad)}")
        pairs = Pairs(ours=ours, theirs=theirs)
        against = f"{name} on pandas, the same 20 rules on {rows:,} rows from Parquet files, both the second run of a process"
        figure = pairs.figure(
            f"data_checks_vs_{name}",
            unit="theirs / ours",
            against=against,
            goal=">= 10",
            met=lambda v: v >= 10,
            bad_rows=bad.pop(),
        )
        out.append(figure)
    return out


def _pairs(ours: str, theirs: str, rows: int) -> Pairs:
    seconds: dict[str, list[float]] = {ours: [], theirs: []}
    for i in range(ROUNDS):
        for way in (ours, theirs) if i % 2 else (theirs, ours):
            found = run_json("-m", "benchmarks.data_ways", "--way", way, "--rows", str(rows), "--data", str(DATA))
            seconds[way].append(found["seconds"])
    return Pairs(ours=seconds[ours], theirs=seconds[theirs])


def _apart(folder: Path) -> Mapping[str, float]:
    """Seconds of one process for each stage of a CSV ingest, over all files."""
    found = run_json("-m", "benchmarks.data_stages", str(folder))
    return {f"{stage}_s": round(seconds, 2) for stage, seconds in found["seconds"].items()}


def _validators() -> Path:
    """The Python of an environment with the other validators; they need other versions than we do."""
    folder = ROOT / ".stamps" / "validators"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *VALIDATORS], check=True)
    return python


def _json(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _round(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


BENCHES: Mapping[str, Callable[[], Sequence[Figure]]] = {
    "data_ingest_rules": data_ingest_rules,
    "data_ingest_csv": data_ingest_csv,
    "data_checks": data_checks,
}
