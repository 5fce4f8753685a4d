"""The wheel carries conf/ and a `raypipe` command; in an empty folder it trains with the user's own conf."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT, environment

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MINE = """\
# @package _global_
defaults:
  - penguin_sex

name: mine
gate: {minimum: 0.5}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    return site


def raypipe(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHONPATH=str(site))
    command = [str(site / "bin" / "raypipe"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.long
def test_the_installed_command_trains_with_the_users_own_conf(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(MINE)
    for job in ("ingest", "train"):
        done = raypipe(installed, tmp_path, job, "experiment=mine", "model.num_rounds=20")
        assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["model"]["name"] == "mine"
    assert (tmp_path / ".raypipe" / "tables" / "penguins").is_dir()


def test_the_installed_package_is_the_one_that_ran(installed: Path, tmp_path: Path) -> None:
    done = raypipe(installed, tmp_path)
    jobs = sorted(path.stem for path in (installed / "raypipe" / "jobs").glob("[a-z]*.py"))
    assert {"train", "features_plan", "tables_diff"} <= set(jobs)
    assert f"jobs: {', '.join(job.replace('_', ' ') for job in jobs)}" in done.stderr
    assert (installed / "raypipe" / "conf" / "base.yaml").is_file()
    assert (installed / "raypipe" / "py.typed").is_file()
    assert not (installed / "conf").exists()
    assert os.access(installed / "bin" / "raypipe", os.X_OK)


def test_a_misspelt_job_gets_a_suggestion(installed: Path, tmp_path: Path) -> None:
    done = raypipe(installed, tmp_path, "trian")
    assert done.returncode == 2
    assert "did you mean train" in done.stderr
