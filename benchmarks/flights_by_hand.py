"""The flights job as one hand-written process: Polars, NumPy, XGBoost, scikit-learn; neither Ray nor raypipe.

It is the yardstick for what the pipeline costs: the same rows, columns, split, model, metrics, intervals and files, in
the fewest steps that are still fast. ``python benchmarks/flights_by_hand.py --out DIR [--rows-factor 10]`` prints one
JSON line with metrics, row counts and seconds per phase.

The moment that counts everywhere is the prediction time, one hour before the scheduled departure: the weather is the
latest known then, and the splits are cut on it, at midnight in New York. The calendar parts are those of the departure.

Shapes: N rows, D features (numbers first, then categories as indices, 0 for unknown), B resamples.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import xgboost as xgb
from flights_data import data_folder, write_repeated, zipped_flights
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, precision_recall_curve, roc_auc_score

Floats = NDArray[np.float64]

ZONE = "America/New_York"
KEY = ["time_hour", "carrier", "flight", "origin"]
SPLITS = {"train": (1, 10), "validation": (10, 11), "test": (11, 13)}  # months of 2013, half-open
SCORED_MONTH = 12
PLANE = ["year", "engines", "seats"]
AIRPORT = ["lat", "lon", "alt"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
NUMBERS = [
    *("distance", "sched_dep_time", "sched_arr_time"),
    *(f"planes_{c}" for c in PLANE),
    *(f"airports_{c}" for c in AIRPORT),
    *(f"weather_{c}" for c in WEATHER),
    *("departure_hour", "departure_weekday"),
]
CATEGORIES = {"carrier": 20, "origin": 20, "dest": 20}  # column: fewest training rows of a value that gets an index
PARAMS: dict[str, object] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "max_depth": 6,
    "learning_rate": 0.05,
    "min_child_weight": 20,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
}
NUM_ROUNDS = 600
EARLY_STOPPING_ROUNDS = 50
NUM_RESAMPLES = 400


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The four tables as they are in the files."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame
    airports: pl.DataFrame


@dataclass(frozen=True, kw_only=True)
class Features:
    """What was learned from the training rows: fill value, mean and deviation of each number, indices of each category."""

    numbers: dict[str, tuple[float, float, float]]
    categories: dict[str, dict[str, int]]

    @property
    def types(self) -> list[str]:
        """XGBoost's type of each column: "q" for numbers, "c" for categories."""
        return ["q"] * len(self.numbers) + ["c"] * len(self.categories)


class Clock:
    """Seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def read_csv(source: Path | bytes) -> pl.DataFrame:
    """One CSV file, ``NA`` and nothing as null."""
    return pl.read_csv(source, null_values=["", "NA"], infer_schema_length=100_000)


def read_sources(flights: Path | None) -> Sources:
    """All tables; `flights` is a CSV file beside the packaged one."""
    folder = data_folder()
    return Sources(
        flights=read_csv(flights or zipped_flights()),
        weather=read_csv(folder / "weather.csv"),
        planes=read_csv(folder / "planes.csv"),
        airports=read_csv(folder / "airports.csv"),
    )


def join(sources: Sources) -> pl.DataFrame:
    """One row a flight, by prediction time: key, label, and what is known by then."""
    instant = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")
    departure = pl.col("scheduled_departure").dt.convert_time_zone(ZONE)
    flights = (
        sources.flights.with_columns(instant, (pl.col("arr_delay") > 15).alias("label"))  # minutes; null if it never arrived
        .with_columns((pl.col("time_hour") + pl.duration(minutes=pl.col("minute"))).alias("scheduled_departure"))
        .with_columns(
            (pl.col("scheduled_departure") - pl.duration(hours=1)).alias("prediction_time"),
            departure.dt.hour().alias("departure_hour"),
            departure.dt.weekday().alias("departure_weekday"),
        )
        .sort("prediction_time", maintain_order=True)
    )
    planes = sources.planes.select("tailnum", *(pl.col(c).alias(f"planes_{c}") for c in PLANE))
    airports = sources.airports.select(pl.col("faa").alias("dest"), *(pl.col(c).alias(f"airports_{c}") for c in AIRPORT))
    weather = sources.weather.select(
        "origin", instant.alias("observed"), *(pl.col(c).alias(f"weather_{c}") for c in WEATHER)
    ).sort("observed")
    return (
        flights.join(planes, on="tailnum", how="left", maintain_order="left", validate="m:1")
        .join(airports, on="dest", how="left", maintain_order="left", validate="m:1")
        .join_asof(
            weather,
            left_on="prediction_time",
            right_on="observed",
            by="origin",
            strategy="backward",
            tolerance="3h",
            check_sortedness=False,  # both sides were sorted above; with `by` Polars cannot see it
        )
    )


def in_months(first: int, end: int) -> pl.Expr:
    """Rows whose prediction time is in [first, end) of the months of 2013 in New York."""
    local = pl.col("prediction_time").dt.convert_time_zone(ZONE)
    return (local.dt.year() == 2013) & (local.dt.month() >= first) & (local.dt.month() < end)


def fit_features(train: pl.DataFrame, *, numbers: list[str]) -> Features:
    """Statistics of the training rows."""
    fitted: dict[str, tuple[float, float, float]] = {}
    for name in numbers:
        values = train[name].cast(pl.Float64)
        filled = values.fill_null(fill := float(values.median()))  # type: ignore[arg-type]
        fitted[name] = (fill, float(filled.mean()), float(filled.std(ddof=0)) or 1.0)  # type: ignore[arg-type]
    categories: dict[str, dict[str, int]] = {}
    for name, min_count in CATEGORIES.items():
        counts = train.group_by(name).len().drop_nulls(name).filter(pl.col("len") >= min_count)
        ordered = counts.sort(["len", name], descending=[True, False])[name]
        categories[name] = {value: i for i, value in enumerate(ordered, start=1)}
    return Features(numbers=fitted, categories=categories)


def transform(rows: pl.DataFrame, features: Features) -> NDArray[np.float32]:
    """The matrix x_ND."""
    numbers = [
        (pl.col(name).cast(pl.Float64).fill_null(fill) - mean) / deviation
        for name, (fill, mean, deviation) in features.numbers.items()
    ]
    categories = [
        pl.col(name).replace_strict(indices, default=0, return_dtype=pl.Float64)
        for name, indices in features.categories.items()
    ]
    selected = rows.select(e.cast(pl.Float32) for e in [*numbers, *categories])
    return np.ascontiguousarray(selected.to_numpy())


def train_model(x: dict[str, NDArray[np.float32]], y: dict[str, NDArray[np.float32]], features: Features) -> xgb.Booster:
    """Boosted trees, as many as lower the validation loss."""
    train = xgb.QuantileDMatrix(x["train"], y["train"], feature_types=features.types)
    validation = xgb.QuantileDMatrix(x["validation"], y["validation"], ref=train, feature_types=features.types)
    stop = xgb.callback.EarlyStopping(rounds=EARLY_STOPPING_ROUNDS)
    booster = xgb.train(PARAMS, train, NUM_ROUNDS, evals=[(validation, "validation")], verbose_eval=False, callbacks=[stop])
    return booster[: booster.best_iteration + 1]


def choose_threshold(y_N: NDArray[np.float32], scores_N: NDArray[np.float32]) -> float:
    """The score from which a flight is called late: the highest F1."""
    precision, recall, thresholds = precision_recall_curve(y_N, scores_N)
    return float(thresholds[np.argmax((2 * precision * recall / np.maximum(precision + recall, 1e-12))[:-1])])


def metrics(y_N: NDArray[np.float32], scores_N: NDArray[np.float32], *, threshold: float) -> dict[str, object]:
    """Metrics without intervals, by scikit-learn, and the confusion matrix at the threshold."""
    late_N = scores_N >= threshold
    tp, fp = int(np.sum(late_N & (y_N == 1))), int(np.sum(late_N & (y_N == 0)))
    fn, tn = int(np.sum(~late_N & (y_N == 1))), int(np.sum(~late_N & (y_N == 0)))
    return {
        "roc_auc": roc_auc_score(y_N, scores_N),
        "pr_auc": average_precision_score(y_N, scores_N),
        "log_loss": log_loss(y_N, scores_N),
        "brier": brier_score_loss(y_N, scores_N),
        "accuracy": (tp + tn) / len(y_N),
        "precision": tp / max(tp + fp, 1),
        "recall": tp / max(tp + fn, 1),
        "f1": 2 * tp / max(2 * tp + fp + fn, 1),
        "confusion": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
    }


def intervals(y_N: NDArray[np.float32], scores_N: NDArray[np.float32], *, threshold: float) -> dict[str, list[float]]:
    """95 % intervals of the metrics from resamples of the rows.

    Sorting happens once: a resample is a count per row, and every metric is sums of counts in the order of the scores.
    """
    order = np.argsort(-scores_N, kind="stable")
    y, p = y_N[order].astype(np.float64), np.clip(scores_N[order].astype(np.float64), 1e-7, 1 - 1e-7)
    ends = np.append(np.flatnonzero(np.diff(p)), len(p) - 1)  # last row of each run of equal scores
    loss, square, called = -np.log(np.where(y == 1, p, 1 - p)), (p - y) ** 2, int(np.sum(p >= threshold))
    rng = np.random.default_rng(0)
    draws: dict[str, list[float]] = {}
    for _ in range(NUM_RESAMPLES):
        counts = np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y)).astype(np.float64)
        for name, value in _resampled(counts, y=y, ends=ends, called=called).items():
            draws.setdefault(name, []).append(value)
        draws.setdefault("log_loss", []).append(float(counts @ loss) / len(y))
        draws.setdefault("brier", []).append(float(counts @ square) / len(y))
    return {name: [float(q) for q in np.quantile(values, [0.025, 0.975])] for name, values in draws.items()}


def _resampled(counts: Floats, *, y: Floats, ends: NDArray[np.int64], called: int) -> dict[str, float]:
    """The metrics that depend on the order, for one resample of the rows in the order of their scores."""
    true, every = np.cumsum(counts * y), np.cumsum(counts)
    tp, fp = true[ends], (every - true)[ends]
    precision = tp / np.maximum(tp + fp, 1)
    at_tp, at_fp = (float(true[called - 1]), float((every - true)[called - 1])) if called else (0.0, 0.0)
    num, positive = float(every[-1]), float(true[-1])
    return {
        "roc_auc": float(np.trapezoid(np.append(0, tp), np.append(0, fp)) / (positive * (num - positive))),
        "pr_auc": float(np.sum(np.diff(tp, prepend=0) * precision) / positive),
        "accuracy": (at_tp + num - positive - at_fp) / num,
        "precision": at_tp / max(at_tp + at_fp, 1),
        "recall": at_tp / positive,
        "f1": 2 * at_tp / (at_tp + at_fp + positive),
    }


def run(*, out: Path, flights: Path | None, numbers: list[str], clock: Clock) -> dict[str, object]:
    """The whole job; returns what the last line says."""
    with clock.phase("read"):
        sources = read_sources(flights)
    with clock.phase("join"):
        joined = join(sources)
        labelled = joined.filter(pl.col("label").is_not_null())
        parts = {name: labelled.filter(in_months(*months)) for name, months in SPLITS.items()}
    with clock.phase("features"):
        features = fit_features(parts["train"], numbers=numbers)
        x = {name: transform(part, features) for name, part in parts.items()}
        y = {name: part["label"].to_numpy().astype(np.float32) for name, part in parts.items()}
    with clock.phase("train"):
        booster = train_model(x, y, features)
    with clock.phase("evaluate"):
        scores = {name: booster.inplace_predict(x[name]) for name in ("validation", "test")}
        threshold = choose_threshold(y["validation"], scores["validation"])
        found = {name: metrics(y[name], scores[name], threshold=threshold) for name in scores}
        found["test"]["intervals"] = intervals(y["test"], scores["test"], threshold=threshold)
    with clock.phase("score"):
        month = joined.filter(in_months(SCORED_MONTH, SCORED_MONTH + 1))
        late = pl.Series("score", booster.inplace_predict(transform(month, features)))
        predictions = month.select(KEY).with_columns(late, (late >= threshold).alias("late"))
        predictions.write_parquet(out / "predictions.parquet")
        booster.save_model(out / "model.ubj")
    rows = {"flights": joined.height, "unlabelled": joined.height - labelled.height, "scored": predictions.height}
    rows |= {name: part.height for name, part in parts.items()}
    return {"rounds": booster.num_boosted_rounds(), "threshold": threshold, "rows": rows, "metrics": found}


def main() -> None:
    """Parse the options, run the job, print one line of JSON."""
    parser = argparse.ArgumentParser(description="The flights job as one hand-written process.")
    parser.add_argument("--out", type=Path, default=Path(".raypipe/by_hand"), help="folder for predictions and model")
    parser.add_argument("--rows-factor", type=int, default=1, help="use every flight this many times")
    parser.add_argument("--leak", action="store_true", help="also learn from dep_delay, which nobody knows in time")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    flights = options.out / f"flights_x{options.rows_factor}.csv" if options.rows_factor > 1 else None
    if flights is not None:
        write_repeated(flights, factor=options.rows_factor)  # not timed: any job would find this file
    numbers, clock = NUMBERS + ["dep_delay"] * options.leak, Clock()
    result = run(out=options.out, flights=flights, numbers=numbers, clock=clock)
    total = round(sum(clock.seconds.values()), 3)
    print(json.dumps({"job": "flights_by_hand", **result, "seconds": {**clock.seconds, "total": total}}))


if __name__ == "__main__":
    main()
