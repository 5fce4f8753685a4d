"""Ways to grow the same trees from the same rows in files; one in a process of its own, its figures as JSON on the last line.

``python -m benchmarks.train_trees_ways --library xgboost --way bare --rows 100000``. 13 numbers (a tenth missing) and 26
categories of 3 to 1,000 values, a tenth of the rows for validation; all rounds are evaluated by log loss and AUC of the
validation rows, none is left out. Seconds are from the files to a saved model; memory is the peak above that of the same
process (and cluster) before it read anything.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from benchmarks._pss import GIB, MARKER, PeakMemory
from benchmarks.features_data import bench_folder
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData

ROUNDS, NUM_FILES, NUM_NUMBERS = 50, 8, 13
CARDINALITIES = [round(c) for c in np.geomspace(3, 1000, 26)]
NUMBERS = [f"n{i}" for i in range(NUM_NUMBERS)]
CATEGORIES = [f"c{i}" for i in range(len(CARDINALITIES))]
_VALIDATION_FILES = 1
SHARED = {"learning_rate": 0.1}
XGBOOST = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 6, **SHARED}
LIGHTGBM = {"objective": "binary", "num_leaves": 63, "verbosity": -1, **SHARED}


def made(num_rows: int) -> Path:
    """The rows as Parquet and as prepared fragments, made if they are not there."""
    folder = bench_folder() / f"trees_{num_rows}"
    if folder.exists():
        return folder
    import pyarrow as pa
    import pyarrow.parquet as pq

    partial = Path(tempfile.mkdtemp(dir=bench_folder()))
    for i in range(NUM_FILES + _VALIDATION_FILES):
        rng = np.random.default_rng([7, i])
        size = num_rows // NUM_FILES
        numbers_NF = rng.standard_normal((size, NUM_NUMBERS), dtype=np.float32)
        codes = [1 + (c * rng.random(size) ** 2).astype(np.int32) for c in CARDINALITIES]
        categories_NC = np.stack(codes, axis=1)
        signal_N = numbers_NF[:, 0] + numbers_NF[:, 1] * (categories_NC[:, 8] % 3) + np.sin(categories_NC[:, 20])
        y_N = (signal_N + rng.standard_normal(size) > 1).astype(np.float32)
        numbers_NF[rng.random(numbers_NF.shape) < 0.1] = np.nan
        save_file({"numbers_NF": numbers_NF, "categories_NC": categories_NC, "y_N": y_N}, partial / f"{i:02d}.safetensors")
        columns = dict(zip(NUMBERS, numbers_NF.T, strict=True)) | dict(zip(CATEGORIES, categories_NC.T, strict=True))
        pq.write_table(pa.table({**columns, "y": y_N}), partial / f"{i:02d}.parquet", row_group_size=size)
    partial.rename(folder)
    return folder


def load(folder: Path) -> TrainingData:
    """The fragments, each read into its place."""
    from raypipe.prepare._load_parts import fill

    uris = [str(path) for path in sorted(folder.glob("*.safetensors"))]
    rows = [len(load_file(uris[0])["y_N"]) * num for num in (NUM_FILES, _VALIDATION_FILES)]

    def split(some: list[str], num_rows: int) -> LabelledTensors:
        named = fill(some, num_rows, lambda _, shape, dtype: np.empty(shape, dtype))
        return LabelledTensors(y_N=named.pop("y_N"), inputs=named)

    return TrainingData(
        train=split(uris[:NUM_FILES], rows[0]),
        validation=split(uris[NUM_FILES:], rows[1]),
        specs=TensorSpecs(
            numbers=tuple(NUMBERS), categories=tuple(CATEGORIES), cardinalities=tuple(c + 1 for c in CARDINALITIES)
        ),
        target=Target(kind="binary", name="y", classes=("false", "true")),
    )


def raypipe(library: str, folder: Path) -> float:
    """`train_model` in the driver, on prepared fragments."""
    from raypipe.models import Lightgbm, Xgboost
    from raypipe.train import Trainer, train_model

    settings: dict[str, Any] = {"num_rounds": ROUNDS, "evaluate_train": False, **SHARED}
    model = Xgboost(max_depth=6, **settings) if library == "xgboost" else Lightgbm(num_leaves=63, **settings)
    with tempfile.TemporaryDirectory(dir=bench_folder()) as uri:
        trained = train_model(model, trainer=Trainer(patience=0), load=lambda: load(folder), uri=uri, fingerprint="bench")
    return trained.curve[-1]["validation_loss"]


def bare(library: str, folder: Path) -> float:
    """The library on a matrix that pyarrow read."""
    train, validation = (_matrix(folder, part) for part in (slice(0, NUM_FILES), slice(NUM_FILES, None)))
    return _xgboost(train, validation) if library == "xgboost" else _lightgbm(train, validation)


def _matrix(folder: Path, part: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))[part]])
    x_ND = np.empty((len(table), NUM_NUMBERS + len(CATEGORIES)), dtype=np.float32)
    for i, name in enumerate([*NUMBERS, *CATEGORIES]):
        x_ND[:, i] = table[name].to_numpy()
    return x_ND, table["y"].to_numpy()


def _xgboost(train: "_Split", validation: "_Split") -> float:
    import xgboost as xgb

    types = ["q"] * NUM_NUMBERS + ["c"] * len(CATEGORIES)
    rows = xgb.QuantileDMatrix(train[0], label=train[1], feature_types=types)
    held_out = xgb.QuantileDMatrix(validation[0], label=validation[1], feature_types=types, ref=rows)
    params = {**XGBOOST, "eval_metric": ["auc", "logloss"], "nthread": os.cpu_count()}
    told: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(params, rows, ROUNDS, evals=[(held_out, "validation")], evals_result=told, verbose_eval=False)
    booster.save_model(Path(tempfile.mkdtemp(dir=bench_folder()), "model.ubj"))
    return told["validation"]["logloss"][-1]


def _lightgbm(train: "_Split", validation: "_Split") -> float:
    import lightgbm as lgb

    native = list(range(NUM_NUMBERS, NUM_NUMBERS + len(CATEGORIES)))
    rows = lgb.Dataset(train[0], label=train[1], categorical_feature=native)
    held_out = lgb.Dataset(validation[0], label=validation[1], reference=rows)
    params = {**LIGHTGBM, "metric": ["binary_logloss", "auc"], "num_threads": os.cpu_count()}
    told: dict[str, dict[str, list[float]]] = {}
    booster = lgb.train(params, rows, ROUNDS, valid_sets=[held_out], callbacks=[lgb.record_evaluation(told)])
    booster.save_model(Path(tempfile.mkdtemp(dir=bench_folder()), "model.txt"))
    return told["valid_0"]["binary_logloss"][-1]


def ray(library: str, folder: Path) -> float:
    """Ray's own trainer with one worker and its documented pattern: a materialized shard as a pandas frame."""
    import ray.data
    from ray.train import RunConfig, ScalingConfig

    parts = sorted(str(path) for path in folder.glob("*.parquet"))
    datasets = {"train": ray.data.read_parquet(parts[:NUM_FILES]), "validation": ray.data.read_parquet(parts[NUM_FILES:])}
    if library == "xgboost":
        from ray.train.xgboost import XGBoostTrainer as Chosen

        loop = _ray_xgboost
    else:
        from ray.train.lightgbm import LightGBMTrainer as Chosen

        loop = _ray_lightgbm
    cpus = max(1, (os.cpu_count() or 2) - 1)  # reading needs one
    with tempfile.TemporaryDirectory(dir=bench_folder()) as uri:
        trainer = Chosen(
            loop,
            datasets=datasets,
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": cpus}),
            run_config=RunConfig(name="bench", storage_path=uri),
        )
        return float(trainer.fit().metrics["loss"])


def _frames() -> list[Any]:
    import ray.train

    return [ray.train.get_dataset_shard(name).materialize().to_pandas() for name in ("train", "validation")]


def _ray_xgboost() -> None:
    import xgboost as xgb
    from ray.train.xgboost import RayTrainReportCallback

    types = ["q"] * NUM_NUMBERS + ["c"] * len(CATEGORIES)
    train, validation = (xgb.DMatrix(frame.drop(columns="y"), frame["y"], feature_types=types) for frame in _frames())
    params = {**XGBOOST, "eval_metric": ["auc", "logloss"], "nthread": os.cpu_count()}
    callback = RayTrainReportCallback(metrics={"loss": "validation-logloss"}, checkpoint_at_end=True)
    xgb.train(params, train, ROUNDS, evals=[(validation, "validation")], callbacks=[callback], verbose_eval=False)


def _ray_lightgbm() -> None:
    import lightgbm as lgb
    from ray.train.lightgbm import RayTrainReportCallback, get_network_params

    # Ray gives columns of Arrow types, which LightGBM refuses
    types = {**dict.fromkeys([*NUMBERS, "y"], "float32"), **dict.fromkeys(CATEGORIES, "int32")}
    train, validation = (frame.astype(types) for frame in _frames())
    rows = lgb.Dataset(train.drop(columns="y"), train["y"], categorical_feature=CATEGORIES)
    held_out = lgb.Dataset(validation.drop(columns="y"), validation["y"], reference=rows)
    params = {**LIGHTGBM, "metric": ["auc", "binary_logloss"], "num_threads": os.cpu_count(), **get_network_params()}
    callback = RayTrainReportCallback(metrics={"loss": "validation-binary_logloss"}, checkpoint_at_end=True)
    lgb.train(params, rows, ROUNDS, valid_sets=[held_out], valid_names=["validation"], callbacks=[callback])


_Split = tuple[NDArray[np.float32], NDArray[np.float32]]
WAYS: dict[str, Callable[[str, Path], float]] = {"raypipe": raypipe, "bare": bare, "ray": ray}


def _import(library: str, way: str) -> None:
    """What every way has in memory before it reads anything."""
    __import__(library)
    for name in {"raypipe": ("raypipe.train",), "bare": ("pyarrow.parquet",), "ray": ("ray.data", "ray.train", "pandas")}[way]:
        __import__(name)


def main() -> None:
    """Run one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=["xgboost", "lightgbm"], required=True)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--rows", type=int, required=True)
    asked = parser.parse_args()
    folder, marker = made(asked.rows), os.environ.get(MARKER, "")
    _import(asked.library, asked.way)
    if asked.way == "ray":
        from raypipe.core.cluster import Cluster

        Cluster(object_store_gib=max(0.5, asked.rows * 39 * 4 * 3 / GIB)).start()
    memory = PeakMemory(marker)
    idle = memory.now_bytes()
    with memory:
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        loss = WAYS[asked.way](asked.library, folder)
        seconds, cpu_seconds = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    above = (memory.total_bytes - idle) / GIB
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "above_idle_gib": above, "idle_gib": idle / GIB, "loss": loss}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
