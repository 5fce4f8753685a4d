"""A bundle on a worker: fetched and verified once a process."""

from functools import lru_cache

from raypipe.bundle import Bundle, load_bundle
from raypipe.core.errors import BundleError
from raypipe.core.storage import download_folder


@lru_cache(maxsize=4)
def loaded(uri: str, digest: str) -> Bundle:
    """The bundle at `uri`, which must have `digest`.

    Raises:
        BundleError: when it is damaged, or is another bundle.
    """
    bundle = load_bundle(download_folder(uri))
    if bundle.digest != digest:
        raise BundleError(uri, f"has digest {bundle.digest[:12]}, expected {digest[:12]}")
    return bundle
