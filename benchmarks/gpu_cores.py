"""Seconds of raypipe's fit and transform on 1, 2, 4, 8 and 16 cores, without Ray; asked for by gpu.py."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.gpu import NUM_NUMBERS, SIZES, Arrays, made_up

_CORES = (1, 2, 4, 8, 16)


def threads_curve(num_rows: int) -> dict[str, Any]:
    """Seconds of raypipe's fit and transform of Parquet files, by processes of one core each."""
    cores = [count for count in _CORES if count <= (os.cpu_count() or 1)]
    found: dict[str, Any] = {"rows": num_rows, "cores": cores, "fit_s": [], "transform_s": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = _written(made_up(num_rows), Path(folder), num_files=max(cores) * 2)
        for count in cores:
            with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
                list(pool.map(_warm, range(2 * count)))
                fit_s, transform_s = _features(pool, paths)
            found["fit_s"].append(round(fit_s, 3))
            found["transform_s"].append(round(transform_s, 3))
    for name in ("fit", "transform"):
        found[f"{name}_speed_up"] = [round(found[f"{name}_s"][0] / seconds, 2) for seconds in found[f"{name}_s"]]
    return found


def _features(pool: ProcessPoolExecutor, paths: Sequence[str]) -> tuple[float, float]:
    import pyarrow.parquet as pq

    from raypipe.features import FitState, merge_states, solve

    started_s = time.perf_counter()
    states = [FitState.from_bytes(state) for state in pool.map(_fit_one, paths)]
    fitted = solve(_feature_set(), merge_states(states), pq.read_schema(paths[0])).features
    middle_s = time.perf_counter()
    files = fitted.to_files()
    list(pool.map(_transform_one, paths, [files] * len(paths)))
    return middle_s - started_s, time.perf_counter() - middle_s


def _feature_set() -> Any:
    from raypipe.features import Category, FeatureSet, Number

    numbers = Number(columns=tuple(f"n{i}" for i in range(NUM_NUMBERS)))
    return FeatureSet(features={"numbers": numbers, "categories": Category(columns=tuple(f"c{i}" for i in range(len(SIZES))))})


def _warm(_: int) -> None:
    """Import what the work needs, in a process of the pool."""
    import pyarrow as pa

    _feature_set()
    pa.set_cpu_count(1)
    time.sleep(0.2)  # so that each process gets one of these


def _fit_one(path: str) -> bytes:
    import pyarrow.parquet as pq

    from raypipe.features import fit_chunk

    return fit_chunk(_feature_set(), pq.read_table(path, use_threads=False)).to_bytes()


def _transform_one(path: str, files: Mapping[str, bytes]) -> None:
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    from raypipe.features import FittedFeatures

    tensors = FittedFeatures.from_files(files).transform(pq.read_table(path, use_threads=False))
    save_file(dict(tensors), f"{path}.safetensors")


def _written(arrays: Arrays, folder: Path, *, num_files: int) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {f"n{i}": pa.array(arrays["numbers_NF"][:, i]) for i in range(NUM_NUMBERS)}
    columns |= {f"c{i}": pa.array(arrays["categories_NC"][:, i]).cast(pa.string()) for i in range(len(SIZES))}
    table, paths = pa.table(columns), [str(folder / f"{i:03d}.parquet") for i in range(num_files)]
    size = -(-len(table) // num_files)
    for i, path in enumerate(paths):
        pq.write_table(table.slice(i * size, size), path)
    return paths
