"""The MLP on a GPU beside a loop by hand; one file that can be copied. Also the features on more and more cores.

It needs torch, numpy and safetensors; where raypipe can be imported (Ray is not needed) its MLP is measured too.

```text
python benchmarks/gpu.py                                  # bf16, 2 M rows made up, five rounds in turn
python benchmarks/gpu.py --fragments FOLDER               # rows of prepared fragments (*.safetensors)
python benchmarks/gpu.py --device cpu --rows 20000 --rounds 1
python -m benchmarks.gpu --threads-curve                  # fit and transform on 1, 2, 4, 8 and 16 cores (gpu_cores.py)
```

The last line of stdout is JSON.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

NUM_NUMBERS, SIZES = 13, tuple(int(size) for size in np.geomspace(3, 100_000, 26))
DIM, HIDDEN, DROPOUT, GOAL = 16, (256, 128), 0.1, 0.9
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured."""

    device: str
    rows: int
    rounds: int
    epochs: int
    batch_rows: int
    precision: Literal["bf16", "fp32"]
    fragments: Path | None


def made_up(num_rows: int) -> Arrays:
    """Rows as of the feature benches: numbers of deviation 1, categories by Zipf's law, labels by some of both."""
    rng = np.random.default_rng(0)
    numbers_NF = rng.standard_normal((num_rows, NUM_NUMBERS), dtype=np.float32)
    categories_NC = np.empty((num_rows, len(SIZES)), dtype=np.int32)
    for i, size in enumerate(SIZES):
        shares = np.cumsum(1 / np.arange(1, size + 1) ** 1.1)
        categories_NC[:, i] = np.minimum(np.searchsorted(shares / shares[-1], rng.random(num_rows)), size - 1)
    score_N = numbers_NF[:, 0] - numbers_NF[:, 1] + (categories_NC[:, 5] % 3 - 1)
    y_N = (rng.random(num_rows) < 1 / (1 + np.exp(-score_N))).astype(np.float32)
    return {"numbers_NF": numbers_NF, "categories_NC": categories_NC, "y_N": y_N}


def from_fragments(folder: Path, num_rows: int) -> Arrays:
    """The first rows of the prepared fragments in `folder`."""
    parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    if not parts:
        raise SystemExit(f"no *.safetensors in {folder}; raypipe writes them to prepared/DIGEST/tensors/train")
    return {name: np.concatenate([part[name] for part in parts])[:num_rows] for name in parts[0]}


def sizes(arrays: Arrays) -> tuple[int, ...]:
    """Indices of each category column."""
    return tuple(int(size) + 1 for size in arrays["categories_NC"].max(axis=0))


class Network(nn.Module):
    """The network of raypipe's MLP, as one writes it."""

    def __init__(self, num_numbers: int, cardinalities: Sequence[int]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(size, DIM) for size in cardinalities])
        layers: list[nn.Module] = []
        width = num_numbers + DIM * len(cardinalities)
        for next_width in HIDDEN:
            layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(DROPOUT)]
            width = next_width
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, numbers_NF: Tensor, categories_NC: Tensor) -> Tensor:
        """Log odds (N,)."""
        embedded = [embedding(categories_NC[:, i]) for i, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.layers(torch.cat([numbers_NF, *embedded], dim=1))
        return outputs[:, 0]


def by_hand(arrays: Arrays, asked: Asked) -> float:
    """Rows per second of a loop by hand with all rows on the device."""
    numbers_NF, categories_NC, y_N = (torch.from_numpy(array).to(asked.device) for array in arrays.values())
    network = Network(numbers_NF.shape[1], sizes(arrays)).to(asked.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
    loss_of = nn.BCEWithLogitsLoss()
    started_s = time.perf_counter()
    for _ in range(asked.epochs):
        order = torch.randperm(len(y_N), device=asked.device)
        for start in range(0, len(order), asked.batch_rows):
            rows = order[start : start + asked.batch_rows]
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(asked.device, dtype=torch.bfloat16, enabled=asked.precision == "bf16"):
                outputs_N = network(numbers_NF[rows], categories_NC[rows])
            loss_of(outputs_N.float(), y_N[rows]).backward()
            optimizer.step()
    if asked.device == "cuda":
        torch.cuda.synchronize()
    return len(y_N) * asked.epochs / (time.perf_counter() - started_s)


@dataclass
class MeasuringLoop:
    """A loop of raypipe that keeps nothing but the speed."""

    device: str
    recipe: Any
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    num_threads: int = field(default_factory=torch.get_num_threads)
    memory_bytes: int = 2**40
    core_hours: float = 0.0
    scratch: Path = Path(tempfile.gettempdir())
    rows: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nobody looks."""

    def measure(self, *, rows: int, seconds: float, waited_s: float = 0.0) -> None:
        """Add up."""
        self.rows, self.seconds, self.waited_s = self.rows + rows, self.seconds + seconds, self.waited_s + waited_s

    def note(self, text: str) -> None:
        """Nobody listens."""

    def save(self, step: int, state: Mapping[str, bytes]) -> None:
        """Nothing is kept."""

    def restore(self) -> None:
        """A fresh start."""

    def wrap(self, module: nn.Module) -> nn.Module:
        """Alone."""
        return module

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Alone."""
        return values

    def network_params(self) -> Mapping[str, Any]:
        """Alone."""
        return {}


def by_raypipe(arrays: Arrays, asked: Asked) -> float:
    """Rows per second of raypipe's MLP; it also validates, on few rows and apart from this time."""
    from raypipe.core.tensors import LabelledTensors, Target, TensorSpecs, TrainingData
    from raypipe.models import Mlp, Recipe

    inputs = {name: arrays[name] for name in ("numbers_NF", "categories_NC")}
    rows = LabelledTensors(inputs=inputs, y_N=arrays["y_N"])
    cardinalities = sizes(arrays)
    specs = TensorSpecs(
        numbers=tuple(f"n{i}" for i in range(inputs["numbers_NF"].shape[1])),
        categories=tuple(f"c{i}" for i in range(len(cardinalities))),
        cardinalities=cardinalities,
    )
    target = Target(kind="binary", name="y", classes=("false", "true"))
    data = TrainingData(train=rows, validation=rows.take(slice(0, 4096)), specs=specs, target=target)
    network: dict[str, Any] = {"hidden_dims": HIDDEN, "dropout": DROPOUT, "embedding_dim": DIM}
    loop = MeasuringLoop(device=asked.device, recipe=Recipe(precision=asked.precision, patience=0, checkpoint_every=10**6))
    Mlp(**network, batch_size=asked.batch_rows, max_epochs=asked.epochs).train(data, loop)
    return loop.rows / loop.seconds


@contextmanager
def utilisation(device: str) -> Iterator[list[float]]:
    """Shares of time in which the GPU computed, as nvidia-smi tells them every 0.2 s; empty on a CPU."""
    found: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200"]
    if device != "cuda" or shutil.which(command[0]) is None:
        yield found
        return
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

        def listen() -> None:
            found.extend(float(line) / 100 for line in process.stdout or () if line.strip().isdigit())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            process.terminate()
            thread.join()


def networks(asked: Asked) -> dict[str, Any]:
    """All ways in turn, after one short round to warm up."""
    ways: dict[str, Callable[[Arrays, Asked], float]] = {"by_hand": by_hand}
    if importlib.util.find_spec("raypipe"):
        ways["raypipe"] = by_raypipe
    arrays = from_fragments(asked.fragments, asked.rows) if asked.fragments else made_up(asked.rows)
    short = {name: array[: 4 * asked.batch_rows] for name, array in arrays.items()}
    for way in ways.values():
        way(short, asked)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(asked.rounds):
        for name in list(ways)[:: 1 if i % 2 else -1]:
            with utilisation(asked.device) as shares:
                speeds[name].append(ways[name](arrays, asked))
            busy[name] += shares
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if asked.device == "cuda" else "cpu", "rows": asked.rows}
    found |= {"precision": asked.precision, "batch_rows": asked.batch_rows, "torch": torch.__version__}
    for name in ways:
        found[f"{name}_rows_per_s"] = round(statistics.median(speeds[name]))
        found[f"{name}_utilisation"] = round(statistics.mean(busy[name]), 3) if busy[name] else None
    if "raypipe" in ways:
        pairs = [ours / theirs for ours, theirs in zip(speeds["raypipe"], speeds["by_hand"], strict=True)]
        found |= {"ratio": round(statistics.median(pairs), 3), "pairs": [round(pair, 3) for pair in sorted(pairs)]}
        found |= {"goal": GOAL, "met": statistics.median(pairs) >= GOAL}
    return found


def main() -> None:
    """Measure what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-rows", type=int, default=4096)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--fragments", type=Path)
    parser.add_argument("--threads-curve", action="store_true")
    options = vars(parser.parse_args())
    if options.pop("threads_curve"):
        from benchmarks.gpu_cores import threads_curve

        print(json.dumps(threads_curve(options["rows"])))
    else:
        print(json.dumps(networks(Asked(**options))))


if __name__ == "__main__":
    main()
