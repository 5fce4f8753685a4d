"""Ways to train the same network on the same rows; one in a process of its own, its speed as JSON on the last line.

``python -m benchmarks.train_torch_ways --way hand --rows 100000``. All have the default `Mlp` but for embeddings
of 8 numbers, its batch size, AdamW in one fused call, and all cores. Rows per second are those of the passes over the
training rows, what they wait for data included; reading files into memory beforehand is not.
"""

import argparse
import json
import logging
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from benchmarks.features_data import CATEGORIES, NUMBERS, bench_folder, files
from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData

if TYPE_CHECKING:
    import torch

BATCH_ROWS, EPOCHS, DIM, HIDDEN, DROPOUT = 4096, 2, 8, (128, 64), 0.1
SLOW_ROWS = 300_000
"""Rows after which the naive ways stop: their speed is the same all the time."""
_VALIDATION = 0.02
Batch = tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]


def prepared(num_rows: int) -> Path:
    """Prepared fragments of so many rows, made if they are not there: numbers imputed and scaled, categories as indices."""
    import polars as pl

    paths = files(num_rows, rows_per_file=max(1, num_rows // 8))
    folder = paths[0].parent / "fragments"
    if (folder / "vocabularies.json").exists():
        return folder
    folder.mkdir(exist_ok=True)
    rows = pl.concat([pl.read_parquet(path) for path in paths])
    means = {name: rows[name].mean() for name in NUMBERS}
    stds = {name: rows[name].fill_null(means[name]).std() for name in NUMBERS}
    words = {name: rows[name].drop_nulls().unique().sort() for name in CATEGORIES}
    index = {name: dict(zip(words[name], range(1, len(words[name]) + 1), strict=True)) for name in CATEGORIES}
    for i, path in enumerate(paths):
        part = pl.read_parquet(path)
        numbers = [((part[name].fill_null(means[name]) - means[name]) / stds[name]).to_numpy() for name in NUMBERS]
        categories = [part[name].replace_strict(index[name], default=0).fill_null(0).to_numpy() for name in CATEGORIES]
        tensors = {
            "numbers_NF": np.stack(numbers, axis=1).astype(np.float32),
            "categories_NC": np.stack(categories, axis=1).astype(np.int32),
            "y_N": part["label"].to_numpy().astype(np.float32),
        }
        save_file(tensors, folder / f"part-{i:05d}.safetensors")
    facts = {"means": means, "stds": stds, "vocabularies": {name: list(words[name]) for name in CATEGORIES}}
    (folder / "vocabularies.json").write_text(json.dumps(facts))
    return folder


def load(folder: Path) -> TrainingData:
    """All fragments in memory; the last rows are for validation."""
    parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = LabelledTensors(y_N=tensors.pop("y_N"), inputs=tensors)
    cut = math.ceil(len(rows) * (1 - _VALIDATION))
    return TrainingData(
        train=rows.take(slice(0, cut)),
        validation=rows.take(slice(cut, None)),
        specs=TensorSpecs(numbers=tuple(NUMBERS), categories=tuple(CATEGORIES), cardinalities=tuple(_sizes(folder))),
        target=Target(kind="binary", name="label", classes=("false", "true")),
    )


def _sizes(folder: Path) -> list[int]:
    return [len(words) + 1 for words in _facts(folder)["vocabularies"].values()]


def _facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "vocabularies.json").read_text())
    return found


def raypipe(folder: Path) -> dict[str, float]:
    """`train_model` in the driver."""
    from raypipe.models import Mlp
    from raypipe.train import Trainer, train_model

    model = Mlp(hidden_dims=HIDDEN, dropout=DROPOUT, embedding_dim=DIM, batch_size=BATCH_ROWS, max_epochs=EPOCHS)
    data = load(folder)
    with tempfile.TemporaryDirectory(dir=bench_folder()) as uri:
        trained = train_model(model, trainer=Trainer(patience=0), load=lambda: data, uri=uri, fingerprint="bench")
    whole = len(data.train) * EPOCHS / trained.seconds
    return {
        "rows_per_s": trained.speed.rows_per_s,
        "data_wait_share": trained.speed.data_wait_share,
        "with_validation_and_checkpoints": whole,
    }


def hand(folder: Path) -> dict[str, float]:
    """A loop by hand over tensors in memory."""
    import torch

    data = load(folder)
    arrays = (data.train.inputs["numbers_NF"], data.train.inputs["categories_NC"], data.train.y_N)
    numbers_NF, categories_NC, y_N = (torch.from_numpy(array) for array in arrays)

    def batches() -> Iterator[Batch]:
        for _ in range(EPOCHS):
            for index in torch.split(torch.randperm(len(y_N)), BATCH_ROWS):
                yield numbers_NF[index], categories_NC[index], y_N[index]

    return {"rows_per_s": _train(data.specs.cardinalities, batches())}


def data_loader(folder: Path) -> dict[str, float]:
    """PyTorch's DataLoader over a map-style data set: a row is what is asked for, and rows are put together."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    data = load(folder)

    class Rows(Dataset[Batch]):
        numbers_NF, categories_NC = (torch.from_numpy(data.train.inputs[name]) for name in ("numbers_NF", "categories_NC"))
        y_N = torch.from_numpy(data.train.y_N)

        def __len__(self) -> int:
            return len(self.y_N)

        def __getitem__(self, i: int) -> Batch:
            return self.numbers_NF[i], self.categories_NC[i], self.y_N[i]

    loader = DataLoader(Rows(), batch_size=BATCH_ROWS, shuffle=True)  # on two cores as fast with workers as without
    return {"rows_per_s": _train(data.specs.cardinalities, islice(loader, SLOW_ROWS // BATCH_ROWS))}


def iter_torch_batches(folder: Path) -> dict[str, float]:
    """Ray Data from raw Parquet, the features by hand in `map_batches`, then `iter_torch_batches`."""
    import ray.data

    facts = _facts(folder)
    index = {name: {word: i for i, word in enumerate(words, start=1)} for name, words in facts["vocabularies"].items()}
    ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = [str(path) for path in sorted(folder.parent.glob("*.parquet"))]
    work = partial(_features, means=facts["means"], stds=facts["stds"], index=index)
    rows = ray.data.read_parquet(paths).map_batches(work, batch_format="pandas")
    batches = rows.iter_torch_batches(batch_size=BATCH_ROWS)
    found = ((batch["numbers"], batch["categories"], batch["label"]) for batch in batches)
    return {"rows_per_s": _train(tuple(_sizes(folder)), islice(found, SLOW_ROWS // BATCH_ROWS))}


def _features(
    frame: Any, *, means: dict[str, float], stds: dict[str, float], index: dict[str, dict[str, int]]
) -> dict[str, NDArray[Any]]:
    numbers = [((frame[name].fillna(means[name]) - means[name]) / stds[name]) for name in NUMBERS]
    categories = [frame[name].map(index[name]).fillna(0) for name in CATEGORIES]
    return {
        "numbers": np.stack(numbers, axis=1).astype(np.float32),
        "categories": np.stack(categories, axis=1).astype(np.int32),
        "label": frame["label"].to_numpy(dtype=np.float32),
    }


def _train(sizes: Iterable[int], batches: Iterable[Batch]) -> float:
    """The loop that everyone writes; rows per second."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleList([nn.Embedding(size, DIM) for size in sizes])
            layers: list[nn.Module] = []
            width = len(NUMBERS) + DIM * len(self.embeddings)
            for next_width in HIDDEN:
                layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(DROPOUT)]
                width = next_width
            self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

        def forward(self, numbers_NF: torch.Tensor, categories_NC: torch.Tensor) -> torch.Tensor:
            embedded = [embedding(categories_NC[:, i]) for i, embedding in enumerate(self.embeddings)]
            outputs: torch.Tensor = self.layers(torch.cat([numbers_NF, *embedded], dim=1))
            return outputs[:, 0]

    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
    loss_of, num_rows, started_s = nn.BCEWithLogitsLoss(), 0, time.perf_counter()
    for numbers_NF, categories_NC, y_N in batches:
        optimizer.zero_grad()
        loss_of(network(numbers_NF, categories_NC), y_N).backward()
        optimizer.step()
        num_rows += len(y_N)
    return num_rows / (time.perf_counter() - started_s)


WAYS = {"raypipe": raypipe, "hand": hand, "data_loader": data_loader, "iter_torch_batches": iter_torch_batches}


def main() -> None:
    """Run the asked way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=sorted(WAYS), required=True)
    parser.add_argument("--rows", type=int, default=2_000_000)
    asked = parser.parse_args()
    print(json.dumps(WAYS[asked.way](prepared(asked.rows))))


if __name__ == "__main__":
    main()
