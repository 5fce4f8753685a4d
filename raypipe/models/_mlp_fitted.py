"""The fitted model of `Mlp`: a trained network that answers. PyTorch is imported only when it is used."""

import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, Tensors, TensorSpecs
from raypipe.models._files import read_facts, write_facts
from raypipe.models._missing import refuse_missing

if TYPE_CHECKING:
    from torch import nn

    from raypipe.models._mlp_network import NetworkShape

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class FittedMlp:
    """A trained network that answers.

    Attributes:
        network: In evaluation mode.
        shape: How the network is built.
        target: What is predicted.
        specs: Names of the input columns.
        label_mean: For regression: mean of the training label.
        label_std: For regression: its standard deviation.
        best_step: The epoch with the lowest validation loss.
        device: Where the network is; a fitted model is loaded onto the CPU.
    """

    kind: ClassVar[str] = "mlp"

    network: "nn.Module" = field(repr=False)
    shape: "NetworkShape"
    target: Target
    specs: TensorSpecs
    label_mean: float
    label_std: float
    best_step: int
    device: str = "cpu"

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass.

        Raises:
            FeatureError: when a number is missing.
        """
        from raypipe.models._torch_answers import answers

        refuse_missing(inputs, self.specs)
        return answers(
            self.network,
            inputs,
            target=self.target,
            label_mean=self.label_mean,
            label_std=self.label_std,
            device=self.device,
        )

    def on(self, device: str) -> "FittedMlp":
        """The same model with its network on `device`: "cpu" or "cuda"."""
        return replace(self, network=copy.deepcopy(self.network).to(device), device=device)

    def save(self, folder: Path) -> None:
        """Write ``model.safetensors`` and ``model.json``."""
        from safetensors.torch import save_file

        save_file(dict(self.network.state_dict()), folder / _WEIGHTS)
        facts = {"label_mean": self.label_mean, "label_std": self.label_std, "best_step": self.best_step}
        write_facts(
            folder,
            {"shape": asdict(self.shape), "target": self.target.to_dict(), "specs": self.specs.to_dict(), **facts},
        )

    @classmethod
    def load(cls, folder: Path) -> "FittedMlp":
        """The inverse of `save`.

        Raises:
            BundleError: when a file is missing or damaged, or the weights do not fit the network.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from raypipe.models._mlp_network import Network, NetworkShape

        facts, path = read_facts(folder), folder / _WEIGHTS
        shape = NetworkShape.from_dict(facts["shape"])
        with torch.random.fork_rng(devices=[]):
            network = Network(shape)
        try:
            network.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise BundleError(str(path), "the file is missing") from error
        except (SafetensorError, RuntimeError) as error:
            raise BundleError(str(path), f"the weights cannot be read ({str(error).splitlines()[0]})") from error
        return cls(
            network=network.eval(),
            shape=shape,
            target=Target.from_dict(facts["target"]),
            specs=TensorSpecs.from_dict(facts["specs"]),
            label_mean=facts["label_mean"],
            label_std=facts["label_std"],
            best_step=facts["best_step"],
        )
