"""The fitted model of a network of the user's own: a program that answers without the class it came from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raypipe.core.errors import BundleError
from raypipe.core.tensors import Target, Tensors, TensorSpecs
from raypipe.models._files import read_facts, write_facts
from raypipe.models._missing import refuse_missing


@dataclass(frozen=True, kw_only=True)
class FittedTorchModule:
    """A program of `torch.export` that answers.

    Attributes:
        files: The program by file name.
        forward: What runs it: (numbers_NF, categories_NC) -> (N, O).
        target: What is predicted.
        specs: Names of the input columns.
        label_mean: The answer of a regression is ``output * label_std + label_mean``.
        label_std: See there.
        best_step: The step with the lowest validation loss; 0 where that is not known.
    """

    kind: ClassVar[str] = "torch_module"

    files: Mapping[str, bytes] = field(repr=False)
    forward: Callable[..., Any] = field(repr=False)
    target: Target
    specs: TensorSpecs
    label_mean: float = 0.0
    label_std: float = 1.0
    best_step: int = 0

    def predict(self, inputs: Tensors) -> NDArray[np.float32]:
        """Answers of shape (N,), or (N, K) for multiclass.

        Raises:
            FeatureError: when a number is missing.
        """
        from raypipe.models._torch_answers import answers

        refuse_missing(inputs, self.specs)
        return answers(self.forward, inputs, target=self.target, label_mean=self.label_mean, label_std=self.label_std)

    def save(self, folder: Path) -> None:
        """Write ``program.json``, ``model.safetensors`` and ``model.json``."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        facts = {"label_mean": self.label_mean, "label_std": self.label_std, "best_step": self.best_step}
        write_facts(folder, {"target": self.target.to_dict(), "specs": self.specs.to_dict(), **facts})

    @classmethod
    def load(cls, folder: Path) -> "FittedTorchModule":
        """The inverse of `save`; the class of the network is not needed, and nothing of it runs.

        Raises:
            BundleError: when a file is missing or damaged, or the program holds what raypipe never writes.
        """
        from raypipe.models._torch_module_program import GRAPH, WEIGHTS, forward_of

        facts = read_facts(folder)
        try:
            files = {name: (folder / name).read_bytes() for name in (GRAPH, WEIGHTS)}
            forward = forward_of(files)
        except FileNotFoundError as error:
            raise BundleError(str(error.filename), "the file is missing") from error
        except ValueError as error:
            raise BundleError(str(folder), f"{GRAPH} and {WEIGHTS} cannot be read ({error})") from error
        return cls(
            files=files,
            forward=forward,
            target=Target.from_dict(facts["target"]),
            specs=TensorSpecs.from_dict(facts["specs"]),
            label_mean=facts["label_mean"],
            label_std=facts["label_std"],
            best_step=facts["best_step"],
        )
