"""Every YAML under conf/ composes and builds, and is what its first line says."""

import re
import sys
from pathlib import Path

import pytest

from raypipe.core.compose import compose, flat, packaged, redacted, to_plain
from raypipe.core.config import build
from raypipe.core.errors import ConfigError
from raypipe.pipeline import Experiment

CONF = packaged("conf")
JOBS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "base")
OF_EXPERIMENTS = [job for job in JOBS if "- experiment: null" in (CONF / f"{job}.yaml").read_text()]
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name in ("model", "trainer", "tune", "storage")
)
OF_THE_USER = {"model=torch_module": "module=own_models:Net", "model=train_loop": "function=own_models:train"}
"""What these options leave to the user."""


def experiment(job: str, *overrides: str) -> Experiment:
    return build(to_plain(compose(job, overrides)), Experiment)


@pytest.mark.parametrize("job", OF_EXPERIMENTS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_builds_and_plans_for_every_job(job: str, name: str) -> None:
    run = experiment(job, f"experiment={name}")
    assert run.name == name
    assert set(run.plan().inputs.columns) <= set(run.plan().kept)
    assert list(run.all_candidates()) == ["xgboost", "mlp"]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_group_option_builds(option: str) -> None:
    own = OF_THE_USER.get(option, "")
    lines = ["experiment=penguins", option, *([f"model.{own}"] if own else []), "storage.root=s3://bucket/path"]
    run = build(to_plain(compose("train", lines)), Experiment, allowed=("own_models",))
    assert run.storage.uri("tables") == "s3://bucket/path/tables"


def test_a_tracking_server_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:pass@host:5000")
    cfg = compose("train", ["experiment=penguins", "tracking=server"])
    assert build(to_plain(cfg), Experiment).tracking.uri == "http://user:pass@host:5000"
    assert redacted(cfg)["tracking"]["uri"] == "***"


def test_every_job_has_a_file_and_a_yaml_but_those_that_work_on_a_file_alone() -> None:
    alone = {"audit", "contract_check", "contract_infer"}
    assert {path.stem for path in packaged("jobs").glob("*.py")} == {*JOBS, *alone}


def test_no_job_hides_a_module_of_python_from_a_script_beside_it() -> None:
    built_in = set(sys.builtin_module_names)  # found before any path is searched
    assert not {path.stem for path in packaged("jobs").glob("*.py")} & (set(sys.stdlib_module_names) - built_in)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.relative_to(CONF).as_posix())
def test_every_yaml_begins_with_the_command_that_runs_it(path: Path) -> None:
    comments = [line for line in path.read_text().splitlines()[:4] if line.startswith("#")]
    if path.name == "base.yaml" or path.parent.name in ("data", "task", "features", "split"):
        assert comments
        return
    found = [re.search(r"python jobs/(\w+)\.py", line) for line in comments]
    jobs = [match[1] for match in found if match]
    assert jobs
    assert jobs[0] in JOBS


def test_a_user_conf_folder_comes_before_the_packaged_one(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - penguins\n\nname: mine\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "xgboost.yaml").write_text("_target_: raypipe.models.Xgboost\nmax_depth: 3\n")
    run = build(to_plain(compose("train", ["experiment=mine"], conf_dir=str(tmp_path))), Experiment)
    assert run.name == "mine"
    assert vars(run.model)["max_depth"] == 3
    assert run.task.label == "species"


def test_secrets_are_masked_wherever_a_configuration_is_stored() -> None:
    cfg = compose("train", ["experiment=penguins", "+tracking.api_token=abc", "tracking.uri=http://u:secret@host"])
    shown = str(flat(redacted(cfg)))
    assert "secret" not in shown
    assert "abc" not in shown


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["experiment=flihgts"], ["experiment=flihgts", "did you mean flights"]),
        (["experiment=flights", "trainer.num_wokers=4"], ["trainer.num_wokers", "did you mean num_workers"]),
        (["experiment=flights", "trainer.num_workers=four"], ["trainer.num_workers", "integer", "'four'"]),
        (["experiment=flights", "trainer.num_workers=-1"], ["trainer.num_workers", "greater than or equal to 0"]),
        (["experiment=flights", "modle=xgboost"], ["unknown setting modle", "did you mean model"]),
        (["experiment=flights", "model=xgbost"], ["model=xgbost", "did you mean xgboost"]),
        (["experiment=flights", "tune=null"], ["Config group override must be a string"]),
        (["experiment=flights", "model.max_depth=${nothing}"], ["nothing"]),
        (["experiment=flights", "model.max_detph=3"], ["model.max_detph", "did you mean max_depth"]),
        ([], ["no value for", "task.label", "experiment=NAME"]),
        (["experiment=flights", "storage=bucket"], ["no value for storage.root"]),
        (["experiment=flights", "model._target_=os.system"], ["model._target_", "os.system is not allowed"]),
        (["experiment=flights", "model._target_=raypipe.core.storage.shutil"], ["not a configurable part"]),
        (["experiment=flights", "model._target_=raypipe.core.storage.Path"], ["not a configurable part"]),
        (["experiment=flights", "model._target_=raypipe.models.Xgbost"], ["did you mean Xgboost"]),
        (["experiment=flights", "model._target_=raypipe.split.HashSplit"], ["model"]),
        (["experiment=flights", "model.max_depth=5,6"], ["model.max_depth=5,6", "one value"]),
        (["experiment=flights", "split.train=[2013-01-01,2013-12-01]"], ["split", "none overlapping"]),
        (["experiment=flights", "task.views.weather.ttl=3 parsecs"], ["task.views.weather.ttl", "such as 90m, 3h or 7d"]),
        (["experiment=flights", "task.label=a > 15"], ["task.label=a > 15", "quotes inside quotes"]),
        (["experiment=flights", "hydra.verbose=true"], ["hydra.verbose", "no effect"]),
        (["experiment=flights", "name=../x"], ["name", "pattern"]),
        (["experiment=flights", "ray.num_cpus=0"], ["ray.num_cpus", "greater than or equal to 1"]),
        (["experiment=flights", "core=null"], ["core"]),
        (["experiment=flights", "features.x={kind: numbr}"], ["features.x.kind", "did you mean number"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_named_with_what_to_do(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment("train", *overrides)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task.views.weather.table=wether"], ["task.views.weather.table", "did you mean weather"]),
        (["task.views.weather.columns=[tmp]"], ["task.views.weather", "no column 'tmp'", "did you mean temp"]),
        (["features.x={kind: number, column: distnce}"], ["no column 'distnce'", "did you mean distance"]),
        (['task.label="arr_dely > 15"'], ["task.label", "did you mean arr_delay"]),
        (["task.prediction_time=null"], ["task.prediction_time is missing", "split by time", "view weather"]),
        (["evaluator.slices=[orign]"], ["evaluator.slices", "did you mean origin"]),
        (["data.tables.flights.contract.key=[]"], ["contract.key is empty"]),
        (["gate.metric=rmse"], ["gate.metric", "rmse"]),
        (["evaluator.metric=roc_acu"], ["evaluator.metric", "did you mean roc_auc"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_task_that_does_not_fit_its_tables_is_refused_before_any_work(overrides: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment("train", "experiment=flights", *overrides).plan()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("model=xgbost", r"^model=xgbost: there is no such option; did you mean xgboost\? \(options: ensemble, "),
        ("trainer=nowhere", r"^trainer=nowhere: there is no such option \(options: driver, patient, ray_train\)$"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest_name_and_all_options(wrong: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        compose("train", ["experiment=penguins", wrong])


def test_a_group_that_the_experiment_writes_over_is_refused_instead_of_mixed(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    own = "# @package _global_\ndefaults: [penguins]\nmodel: {_target_: own_code.Centroids, temperature: 2}\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(own)
    compose("train", ["experiment=mine"], conf_dir=str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "cool.yaml").write_text("temperature: 3\n")  # no _target_: it is meant to be mixed
    for chosen in (["model=cool"], ["model=mlp", "model._target_=own_code.Centroids"]):
        found = compose("train", ["experiment=mine", *chosen], conf_dir=str(tmp_path))
        assert found.model._target_ == "own_code.Centroids"
    with pytest.raises(
        ConfigError, match=r"^model=external: experiment mine writes .* own_code\.Centroids over it; move these to"
    ):
        compose("train", ["experiment=mine", "model=external"], conf_dir=str(tmp_path))


@pytest.mark.parametrize("line", ["split=flights", "features=flights", "model=mlp", "trainer=driver"])
def test_a_group_that_the_experiment_brings_or_chooses_can_be_chosen_again(line: str) -> None:
    assert compose("train", ["experiment=flights", line])
