"""A bundle on a worker: fetched and verified once a process."""

import shutil
from functools import lru_cache

from raypipe.bundle import Bundle, load_bundle
from raypipe.core.errors import BundleError
from raypipe.core.storage import download_folder, is_remote


@lru_cache(maxsize=4)
def loaded(uri: str, digest: str) -> Bundle:
    """The bundle at `uri`, which must have `digest`.

    Raises:
        BundleError: when it is damaged, or is another bundle.
    """
    folder = download_folder(uri)
    try:
        bundle = load_bundle(folder)
    finally:
        if is_remote(uri):
            shutil.rmtree(folder)
    if bundle.digest != digest:
        raise BundleError(uri, f"has digest {bundle.digest[:12]}, expected {digest[:12]}")
    return bundle
