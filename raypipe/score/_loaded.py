"""A bundle on a worker: fetched and verified once a process."""

import shutil
from dataclasses import replace
from functools import lru_cache
from typing import Protocol, Self, runtime_checkable

from raypipe.bundle import Bundle, load_bundle
from raypipe.core.storage import download_folder, is_remote


@runtime_checkable
class OnDevice(Protocol):
    """A fitted model that can answer from a GPU."""

    def on(self, device: str) -> Self:
        """The same model with its weights on `device`, "cpu" or "cuda"; it takes and gives NumPy arrays as before."""


@lru_cache(maxsize=8)
def loaded(uri: str, digest: str, device: str = "cpu") -> Bundle:
    """The bundle at `uri`, which must have `digest`; its model on `device` where it can be there.

    Raises:
        BundleError: when it is damaged, or is another bundle.
    """
    folder = download_folder(uri)
    try:
        bundle = load_bundle(folder, digest=digest)
    finally:
        if is_remote(uri):
            shutil.rmtree(folder)
    return replace(bundle, model=bundle.model.on(device)) if device != "cpu" and isinstance(bundle.model, OnDevice) else bundle
