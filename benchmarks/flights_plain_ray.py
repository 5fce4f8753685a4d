"""The flights job as a plain Ray script, in the idioms of Ray's documentation and without raypipe.

It reads, joins, splits and prepares with Ray Data, trains with Ray Train, logs and registers with MLflow, scores a month
with Ray Data and answers a request with Ray Serve: ``python benchmarks/flights_plain_ray.py --out DIR``. It is good
code of its kind, and it stops where such scripts stop. What the raypipe job also does and this does not:

- check the columns, types, ranges and keys of its input, and set bad rows aside with a reason; say where rows went;
- keep versioned tables, so that this model can be traced to, and trained again from, the rows it saw;
- refuse a feature that is known only after the flight: here one word in `NUMBERS` is a leak that nobody notices;
- recognise steps that are done: every run starts from the CSV files, and a killed run leaves half of its outputs;
- give the same model twice: the training rows come in whatever order the blocks do;
- keep contract, features, weights, threshold and golden rows in one checked folder: here they are two artifacts, one of
  them a pickle, and lists in this file; a prediction names neither a model version nor the request it answers;
- serve a row with the code that prepared the batch: `Endpoint` repeats the calendar parts, `Flight` the columns;
- measure slices and calibration, write a report, compare with the champion and hold a worse model back;
- replace a served model without a gap; move to a bucket, other data or another kind of model by configuration.
"""

import argparse
import datetime as dt
import json
import os
import pickle
import socket
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import ray
import ray.train
import xgboost as xgb
from fastapi import FastAPI
from flights_data import data_folder
from numpy.typing import NDArray
from pyarrow import csv
from pydantic import BaseModel, create_model
from ray import serve
from ray.data.context import ShuffleStrategy
from ray.data.expressions import col
from ray.data.preprocessors import Chain, OrdinalEncoder, SimpleImputer, StandardScaler
from ray.train.xgboost import RayTrainReportCallback, XGBoostTrainer
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, precision_recall_curve, roc_auc_score

ZONE = "America/New_York"
KEY = ["time_hour", "carrier", "flight", "origin"]
PLANE = ["year", "engines", "seats"]
AIRPORT = ["lat", "lon", "alt"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
VIEWS = [*(f"planes_{c}" for c in PLANE), *(f"airports_{c}" for c in AIRPORT), *(f"weather_{c}" for c in WEATHER)]
NUMBERS = ["distance", "sched_dep_time", "sched_arr_time", *VIEWS, "departure_hour", "departure_weekday"]
CATEGORIES = ["carrier", "origin", "dest"]
TREES = {"tree_method": "hist", "max_depth": 6, "learning_rate": 0.05, "min_child_weight": 20}
PARAMS = TREES | {"objective": "binary:logistic", "eval_metric": "logloss", "subsample": 0.8, "colsample_bytree": 0.5}
NUM_RESAMPLES = 400
UTC_HOUR = pl.col("time_hour").cast(pl.Datetime("us", "UTC"))

api = FastAPI()


def read_csv(path: Path) -> ray.data.Dataset:
    """A CSV file as a dataset, ``NA`` as null."""
    return ray.data.read_csv(str(path), convert_options=csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True))


class JoinViews:
    """Adds label, times, calendar parts, plane, airport and weather to a batch of flights."""

    def __init__(self, planes: ray.ObjectRef, airports: ray.ObjectRef, weather: ray.ObjectRef) -> None:
        plane, airport, observed = (pl.from_arrow(t) for t in ray.get([planes, airports, weather]))
        self.planes = plane.select("tailnum", *(pl.col(c).alias(f"planes_{c}") for c in PLANE))
        self.airports = airport.select(pl.col("faa").alias("dest"), *(pl.col(c).alias(f"airports_{c}") for c in AIRPORT))
        columns = (pl.col(c).alias(f"weather_{c}") for c in WEATHER)
        self.weather = observed.select("origin", UTC_HOUR.alias("observed"), *columns).sort("observed")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The batch with the new columns."""
        local = pl.col("scheduled_departure").dt.convert_time_zone(ZONE)
        flights = (
            pl.from_arrow(batch)
            .with_columns(UTC_HOUR, (pl.col("arr_delay") > 15).cast(pl.Int8).alias("label"))
            .with_columns((pl.col("time_hour") + pl.duration(minutes=pl.col("minute"))).alias("scheduled_departure"))
            .with_columns((pl.col("scheduled_departure") - pl.duration(hours=1)).alias("prediction_time"))
            .with_columns(
                local.dt.hour().alias("departure_hour"),
                local.dt.weekday().alias("departure_weekday"),
                pl.col("prediction_time").dt.convert_time_zone(ZONE).dt.month().alias("prediction_month"),
            )
            .sort("prediction_time")
        )
        joined = (
            flights.join(self.planes, on="tailnum", how="left", maintain_order="left")
            .join(self.airports, on="dest", how="left", maintain_order="left")
            .join_asof(self.weather, left_on="prediction_time", right_on="observed", by="origin", tolerance="3h")
        )
        numbers = pl.col(NUMBERS).cast(pl.Float64)
        return joined.select(pl.col(KEY), "dest", "scheduled_departure", "prediction_month", "label", numbers).to_arrow()


def prepare(out: Path) -> ray.data.Dataset:
    """All flights with what is known an hour before departure."""
    folder = data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        archive.extract("flights.csv", out)
    views = {name: read_csv(folder / f"{name}.csv").to_arrow_refs() for name in ("planes", "airports", "weather")}
    tables = {name: ray.put(pa.concat_tables(ray.get(refs))) for name, refs in views.items()}
    flights = read_csv(out / "flights.csv")
    pool = ray.data.ActorPoolStrategy(size=1)
    return flights.map_batches(JoinViews, fn_constructor_kwargs=tables, batch_format="pyarrow", compute=pool).materialize()


def matrix(prepared: pd.DataFrame) -> xgb.DMatrix:
    """Columns in the model's order."""
    types = ["q"] * len(NUMBERS) + ["c"] * len(CATEGORIES)
    return xgb.DMatrix(prepared[NUMBERS + CATEGORIES].to_numpy(dtype=np.float32, na_value=np.nan), feature_types=types)


def train_loop(config: dict[str, Any]) -> None:
    """Runs on the training worker."""
    sets = {}
    for name in ("train", "validation"):
        rows = ray.train.get_dataset_shard(name).materialize().to_pandas()
        sets[name] = matrix(rows)
        sets[name].set_label(rows["label"].to_numpy(dtype=np.float32))
    stop = xgb.callback.EarlyStopping(rounds=50, save_best=True)
    evals = [(sets["validation"], "validation")]
    booster = xgb.train(config, sets["train"], 600, evals=evals, callbacks=[stop], verbose_eval=False)
    # once, not each round as RayTrainReportCallback does: a report waits for the controller, about two seconds
    with tempfile.TemporaryDirectory() as folder:
        booster.save_model(Path(folder) / RayTrainReportCallback.CHECKPOINT_NAME)
        ray.train.report({"rounds": booster.num_boosted_rounds()}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def train(datasets: dict[str, ray.data.Dataset], out: Path) -> xgb.Booster:
    """The model of the best round."""
    trainer = XGBoostTrainer(
        train_loop,
        train_loop_config=PARAMS,
        datasets=datasets,
        scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=ray.train.RunConfig(name=f"flights-{time.time_ns()}", storage_path=str(out / "ray_train")),
    )
    return RayTrainReportCallback.get_model(trainer.fit().checkpoint)


class Scorer:
    """Scores batches of joined flights."""

    def __init__(self, model: ray.ObjectRef, preprocessor: Chain) -> None:
        self.booster = xgb.Booster(model_file=bytearray(ray.get(model)))
        self.preprocessor = preprocessor

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        """The batch's key and label, and its score."""
        scored = batch[[*KEY, "label"]].copy()
        scored["score"] = self.booster.predict(matrix(self.preprocessor.transform_batch(batch)))
        return scored


def evaluate(scored: pd.DataFrame, *, threshold: float) -> dict[str, Any]:
    """Metrics, the confusion matrix at the threshold, and bootstrap intervals."""
    y, p = scored["label"].to_numpy(dtype=np.int8), scored["score"].to_numpy(dtype=np.float64)
    late, rng, n = p >= threshold, np.random.default_rng(0), len(y)
    scorers = {"roc_auc": roc_auc_score, "pr_auc": average_precision_score, "log_loss": log_loss, "brier": brier_score_loss}
    draws: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(NUM_RESAMPLES):
        rows = rng.integers(0, n, n)
        for name, scorer in scorers.items():
            draws[name].append(scorer(y[rows], p[rows]))
    confusion = [[int(np.sum((y == a) & (late == b))) for b in (0, 1)] for a in (0, 1)]
    bounds = {name: [float(q) for q in np.quantile(values, [0.025, 0.975])] for name, values in draws.items()}
    return {name: float(scorer(y, p)) for name, scorer in scorers.items()} | {"confusion": confusion, "intervals": bounds}


def choose_threshold(y_N: NDArray[np.int8], scores_N: NDArray[np.float64]) -> float:
    """The score with the highest F1."""
    precision, recall, thresholds = precision_recall_curve(y_N, scores_N)
    return float(thresholds[np.argmax((2 * precision * recall / np.maximum(precision + recall, 1e-12))[:-1])])


def log_to_mlflow(out: Path, booster: xgb.Booster, preprocessor: Chain, metrics: dict[str, float]) -> str:
    """Logs the run, registers the model; the new version is the champion, whatever it is worth. Returns the version."""
    mlflow.set_tracking_uri(f"sqlite:///{out.resolve()}/mlflow.db")
    if mlflow.get_experiment_by_name("flights") is None:
        mlflow.create_experiment("flights", artifact_location=(out / "artifacts").resolve().as_uri())
    mlflow.set_experiment("flights")
    with mlflow.start_run():
        mlflow.log_params(PARAMS)
        mlflow.log_metrics(metrics)
        (out / "preprocessor.pkl").write_bytes(pickle.dumps(preprocessor))
        mlflow.log_artifact(str(out / "preprocessor.pkl"))
        info = mlflow.xgboost.log_model(booster, name="model", registered_model_name="flights")
    mlflow.MlflowClient().set_registered_model_alias("flights", "champion", info.registered_model_version)
    return str(info.registered_model_version)


Flight: type[BaseModel] = create_model(
    "Flight",
    __doc__="A request: what is known of a flight.",
    **dict.fromkeys(CATEGORIES, (str, ...)),
    **dict.fromkeys(("distance", "sched_dep_time", "sched_arr_time"), (float, ...)),
    **dict.fromkeys(VIEWS, (float | None, None)),
    scheduled_departure=(dt.datetime, ...),
)


@serve.deployment
@serve.ingress(api)
class Endpoint:
    """Answers for one flight."""

    def __init__(self, model: ray.ObjectRef, preprocessor: Chain, threshold: float) -> None:
        self.booster = xgb.Booster(model_file=bytearray(ray.get(model)))
        self.preprocessor, self.threshold = preprocessor, threshold

    @api.post("/predict")
    def predict(self, flight: Flight) -> dict[str, float | bool]:
        """The probability of arriving late, and the verdict."""
        row = pd.DataFrame([flight.model_dump()])
        local = row["scheduled_departure"].dt.tz_convert(ZONE)
        row["departure_hour"], row["departure_weekday"] = local.dt.hour, local.dt.dayofweek + 1  # Polars counts from 1
        row[NUMBERS] = row[NUMBERS].astype(float)
        score = float(self.booster.predict(matrix(self.preprocessor.transform_batch(row)))[0])
        return {"score": score, "late": score >= self.threshold}


def ask(app: serve.Application, record: dict[str, object]) -> dict[str, Any]:
    """Starts the endpoint on a free port, sends one request, and takes the endpoint down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app, name="flights")
    answer = httpx.post(f"http://127.0.0.1:{port}/predict", json=record, timeout=60).raise_for_status()
    serve.shutdown()
    return answer.json()


def run(out: Path) -> dict[str, Any]:
    """The whole job."""
    joined = prepare(out)
    month = col("prediction_month")
    labelled = joined.filter(expr=col("label").is_not_null())
    parts = {
        "train": labelled.filter(expr=month < 10).materialize(),
        "validation": labelled.filter(expr=month == 10).materialize(),
        "test": labelled.filter(expr=month > 10),
    }
    preprocessor = Chain(SimpleImputer(NUMBERS, strategy="mean"), StandardScaler(NUMBERS), OrdinalEncoder(CATEGORIES))
    preprocessor.fit(parts["train"])
    prepared = {name: preprocessor.transform(parts[name]).materialize() for name in ("train", "validation")}
    booster = train(prepared, out)

    model = ray.put(booster.save_raw("ubj"))
    pool = ray.data.ActorPoolStrategy(size=1)
    options = {"fn_constructor_args": (model, preprocessor), "batch_format": "pandas", "compute": pool}
    scored = {name: parts[name].map_batches(Scorer, **options).to_pandas() for name in ("validation", "test")}
    threshold = choose_threshold(scored["validation"]["label"].to_numpy(np.int8), scored["validation"]["score"].to_numpy())
    metrics = evaluate(scored["test"], threshold=threshold)
    version = log_to_mlflow(out, booster, preprocessor, {k: v for k, v in metrics.items() if isinstance(v, float)})

    december = joined.filter(expr=month == 12)
    december.map_batches(Scorer, **options).write_parquet(str(out / "predictions"), mode="overwrite")
    flight = parts["test"].limit(1).to_pandas()
    batch_score = float(Scorer(model, preprocessor)(flight)["score"].iloc[0])
    record = json.loads(flight.iloc[0].to_json(date_format="iso"))
    answer = ask(Endpoint.bind(model, preprocessor, threshold), record) | {"batch_score": batch_score}
    rows = {name: len(table) for name, table in scored.items()}
    rounds = booster.num_boosted_rounds()
    return {"version": version, "rounds": rounds, "rows": rows, "metrics": {"test": metrics}, "answer": answer}


def main() -> None:
    """Start Ray here, run the job, print one line of JSON."""
    parser = argparse.ArgumentParser(description="The flights job as a plain Ray script.")
    parser.add_argument("--out", type=Path, default=Path(".raypipe/plain_ray"), help="folder for all outputs")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # a cluster of this process only, on the loopback address
    start = time.perf_counter()
    # four logical CPUs, also on two cores: with two, the trainer's worker and its datasets wait for each other for ever
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    context.enable_arrow_backed_pandas_conversion = False
    result = run(out)
    ray.shutdown()
    print(json.dumps({"job": "flights_plain_ray", **result, "seconds": round(time.perf_counter() - start, 1)}))


if __name__ == "__main__":
    main()
