"""kill -9 of an ingest and of a replay in the middle: run again, every row is where it belongs, once."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.data_kills import is_right, kill
from benchmarks.data_kills_job import NUM_FILES, Spec, run, write_files
from raypipe.tables import Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
SEED, ROWS = 7, 4_800


def start_and_kill(job: str, spec: Spec) -> bool:
    """Kill the job once a seeded number of its parts is written; True when it was still at it."""
    folder = Path(spec.root) / "tables" / "t"
    before, num = set(folder.glob("part-*")), random.Random(SEED).randrange(1, NUM_FILES)
    return kill(job, spec, ready=lambda _: len(set(folder.glob("part-*")) - before) >= num)


def test_jobs_killed_between_their_parts_are_run_again_and_every_row_is_there_once(tmp_path: Path) -> None:
    source = write_files(tmp_path / "in", ROWS)
    specs = {job: Spec(root=str(tmp_path / job), rows=ROWS, source=source) for job in ("ingest", "replay")}
    run("ingest", specs["replay"])
    before = {job: Tables(spec.storage).find("t") for job, spec in specs.items()}
    with ThreadPoolExecutor(len(specs)) as pool:  # side by side: most of it is the start of the two processes
        assert list(pool.map(start_and_kill, specs, specs.values())) == [True, True]
    assert {job: Tables(spec.storage).find("t") for job, spec in specs.items()} == before
    for job, spec in specs.items():
        run(job, spec)
        assert is_right(job, spec)
