"""Every way that a file, a table, a database, an API or a bucket can be wrong: one clear line, or the quarantine, never a null."""

from pathlib import Path

import pytest
from bad_files import CSV, JSON, PARQUET
from bad_inputs import Case, check

from raypipe.core.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    return path


@pytest.mark.parametrize("case", [*CSV, *JSON, *PARQUET])
def test_a_file_that_is_wrong_ends_in_one_line_or_in_the_quarantine(case: Case, folder: Path, storage: Storage) -> None:
    check(case, folder, storage)
