"""The life of a run as any MLflow user sees it: nested, killed and gone on with, its curve, its data, its machine."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import registry_parts

from raypipe.core.errors import ConfigError
from raypipe.core.storage import Storage
from raypipe.registry import InputData, Tracking, reopen_run, resume_run, start_run
from raypipe.registry._tracking import connect

storage = registry_parts.storage
tracking = registry_parts.tracking
client = registry_parts.client


def children(client: Any, tracking: Tracking, storage: Storage, parent: str) -> list[Any]:
    experiment = connect(tracking, storage).experiment_id
    found = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["metrics.loss ASC"])
    return list(found)


def test_the_runs_of_a_search_are_found_below_it_by_their_metric_and_their_parameters(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="search") as parent:
        for depth in (3, 6, 9):
            settings = {"model": {"max_depth": depth, "kind": "xgboost"}}
            with start_run(tracking, storage, name=f"trial-{depth}", settings=settings, parent=parent.run_id) as trial:
                trial.log_metrics({"loss": 1.0 / depth})
    found = children(client, tracking, storage, parent.run_id)
    assert [(run.info.run_name, run.data.params["model.max_depth"]) for run in found] == [
        ("trial-9", "9"),
        ("trial-6", "6"),
        ("trial-3", "3"),
    ]
    experiment = connect(tracking, storage).experiment_id
    (one,) = client.search_runs([experiment], "params.`model.max_depth` = '6' and attributes.run_name = 'trial-6'")
    assert one.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in client.get_run(parent.run_id).data.tags


def test_a_run_ends_as_what_its_block_says(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="trial") as tracker:
        tracker.status = "KILLED"
    assert client.get_run(tracker.run_id).info.status == "KILLED"


def killed(tracking: Tracking, storage: Storage, fingerprint: str) -> str:
    """A run as a kill leaves it."""
    found = connect(tracking, storage)
    tags = {"fingerprint": fingerprint}
    return str(found.client.create_run(found.experiment_id, run_name="train", tags=tags).info.run_id)


def test_an_attempt_that_was_killed_is_said_to_be_and_names_the_one_that_goes_on(tracking, storage, client) -> None:
    first, other = killed(tracking, storage, "aa"), killed(tracking, storage, "bb")
    with start_run(tracking, storage, name="train", tags={"fingerprint": "aa"}) as second:
        assert client.get_run(second.run_id).info.status == "RUNNING"
    ended = client.get_run(first)
    assert (ended.info.status, ended.data.tags["continued_by"]) == ("KILLED", second.run_id)
    assert ended.info.end_time is not None
    assert client.get_run(second.run_id).data.tags["continues"] == first
    assert client.get_run(other).info.status == "RUNNING"
    with start_run(tracking, storage, name="train", tags={"fingerprint": "aa"}) as third:
        pass
    assert "continues" not in client.get_run(third.run_id).data.tags  # the second came to its end


@pytest.mark.parametrize(("error", "status"), [(None, "FINISHED"), (ConfigError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_goes_on_is_running_and_ends_again(
    error: Callable[[list[str]], BaseException] | None, status: str, tracking, storage, client
) -> None:
    run_id = killed(tracking, storage, "cc")
    client.set_terminated(run_id, "KILLED")

    def go_on() -> None:
        with resume_run(tracking, storage, run_id=run_id) as tracker:
            assert client.get_run(run_id).info.status == "RUNNING"
            tracker.log_metrics({"loss": 0.5}, step=2)
            if error is not None:
                raise error(["stop"])

    if error is None:
        go_on()
    else:
        with pytest.raises(error):  # type: ignore[call-overload]  # a class of exceptions
            go_on()
    run = client.get_run(run_id)
    assert (run.info.status, run.data.metrics) == (status, {"loss": 0.5})


# --- curves ---


def steps(client: Any, run_id: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, "loss"))


def test_a_curve_is_seen_while_it_grows_and_has_each_step_once_at_the_end(tracking, storage, client, monkeypatch) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        for step in (3, 4, 3):
            tracker.follow(step, {"loss": 1.0 / step})
        assert steps(client, tracker.run_id) == []  # not a request for each
        monkeypatch.setattr("raypipe.registry._tracker._FOLLOW_S", 0.0)
        tracker.follow(5, {"loss": 0.2})
        assert steps(client, tracker.run_id) == [(3, 1 / 3), (4, 0.25), (5, 0.2)]
        tracker.follow(5, {"loss": 9.0})
        tracker.log_curve([(step, {"loss": 1.0 / step}) for step in range(1, 7)])
    assert steps(client, tracker.run_id) == [(step, 1.0 / step) for step in range(1, 7)]


def test_what_a_failed_run_was_told_of_its_curve_is_there(tracking, storage, client) -> None:
    def fail() -> None:
        with start_run(tracking, storage, name="train") as tracker:
            seen.append(tracker.run_id)
            tracker.follow(1, {"loss": 1.0})
            raise ConfigError(["stop"])

    seen: list[str] = []
    with pytest.raises(ConfigError):
        fail()
    assert steps(client, seen[0]) == [(1, 1.0)]


def test_a_store_that_does_not_take_a_curve_as_it_grows_stops_nothing_and_gets_it_at_the_end(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        client.delete_run(tracker.run_id)  # the store refuses
        tracker.follow(1, {"loss": 1.0})
        tracker.flush()
        tracker.follow(2, {"loss": 0.5})
        client.restore_run(tracker.run_id)
        tracker.flush()
        assert steps(client, tracker.run_id) == []
        tracker.log_curve([(1, {"loss": 1.0}), (2, {"loss": 0.5})])
    assert steps(client, tracker.run_id) == [(1, 1.0), (2, 0.5)]


# --- the data, and the machine ---


def test_the_data_of_a_run_has_name_version_columns_and_rows_and_is_found_again(tracking, storage, client) -> None:
    import mlflow.data

    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("tags", pa.list_(pa.string()))])
    table = InputData(
        name="flights@3", digest="ab" * 40, uri="/root/tables/flights", context="table", version=3, schema=schema, num_rows=9
    )
    train = InputData(name="flights/train", digest="cd", uri="s3://bucket/prepared/cd", context="train", num_rows=7)
    with start_run(tracking, storage, name="train") as tracker:
        tracker.log_inputs([table, train])
    logged = client.get_run(tracker.run_id).inputs.dataset_inputs
    found = {one.dataset.name: one for one in logged}
    assert found["flights@3"].dataset.digest == ("ab" * 40)[:36]
    assert json.loads(found["flights@3"].dataset.profile) == {"num_rows": 9}
    columns = json.loads(found["flights@3"].dataset.schema)["mlflow_colspec"]
    assert [(column["name"], column["type"]) for column in columns] == [("id", "long"), ("at", "datetime"), ("tags", "any")]
    assert {(tag.key, tag.value) for tag in found["flights/train"].tags} == {("mlflow.data.context", "train")}
    source = mlflow.data.get_source(found["flights@3"])
    assert (source.path, source.delta_table_version) == ("/root/tables/flights", 3)
    assert mlflow.data.get_source(found["flights/train"]).uri == "s3://bucket/prepared/cd"


def test_a_run_records_how_busy_the_machine_was_and_leaves_no_thread(tracking, storage, client, monkeypatch, capfd) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    before, until = threading.active_count(), datetime.now(UTC).timestamp() + 20
    with start_run(tracking, storage, name="train") as tracker:
        while not (found := busy(client, tracker.run_id)) and datetime.now(UTC).timestamp() < until:
            pass
        with start_run(tracking, storage, name="trial", parent=tracker.run_id) as trial:
            assert threading.active_count() <= before + 2  # the monitor of the parent alone, and MLflow's pool of one
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found
    assert busy(client, trial.run_id) == set()
    assert "SystemMetricsMonitor" not in {thread.name for thread in threading.enumerate()}
    assert capfd.readouterr() == ("", "")
    with start_run(Tracking(experiment="tests", system_metrics=False), storage, name="quiet") as quiet:
        assert "SystemMetricsMonitor" not in {thread.name for thread in threading.enumerate()}
    assert busy(client, quiet.run_id) == set()


def busy(client: Any, run_id: str) -> set[str]:
    return {name for name in client.get_run(run_id).data.metrics if name.startswith("system/")}


def test_what_becomes_known_later_does_not_open_a_run_again(tracking, storage, client) -> None:
    with start_run(tracking, storage, name="train") as tracker:
        pass
    ended = client.get_run(tracker.run_id).info.end_time
    reopen_run(tracking, storage, run_id=tracker.run_id).log_metrics({"cost_core_hours": 0.25})
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.end_time, run.data.metrics) == ("FINISHED", ended, {"cost_core_hours": 0.25})
