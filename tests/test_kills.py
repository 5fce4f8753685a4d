"""kill -9 of an ingest and of a replay in the middle: run again, every row is where it belongs, once."""

import random
from pathlib import Path

import pytest

from benchmarks.data_kills import is_right, kill
from benchmarks.data_kills_job import NUM_FILES, Spec, run, write_files
from raypipe.tables import Tables

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
SEED, ROWS = 7, 4_800


@pytest.mark.parametrize("job", ["ingest", "replay"])
def test_a_job_killed_between_its_parts_is_run_again_and_every_row_is_there_once(job: str, tmp_path: Path) -> None:
    spec = Spec(root=str(tmp_path / "root"), rows=ROWS, source=write_files(tmp_path / "in", ROWS))
    if job == "replay":
        run("ingest", spec)
    parts = set((tmp_path / "root" / "tables" / "t").glob("part-*"))
    num = random.Random(SEED).randrange(1, NUM_FILES)

    def some_parts_are_written(_: float) -> bool:
        return len(set((tmp_path / "root" / "tables" / "t").glob("part-*")) - parts) >= num

    before = Tables(spec.storage).find("t")
    assert kill(job, spec, ready=some_parts_are_written)
    assert Tables(spec.storage).find("t") == before
    run(job, spec)
    assert is_right(job, spec)
