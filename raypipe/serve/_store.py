"""Where the columns of feature views come from when a request asks for a prediction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

Record = Mapping[str, object]


class OnlineStore(Protocol):
    """Latest values of feature views, by entity."""

    @property
    def note(self) -> str:
        """Where view columns come from, as said in the endpoint's description and in refusals."""

    async def get(self, view: str, keys: Sequence[Record], at: datetime) -> Sequence[Record]:
        """Values of `view` for each of `keys`, as known at `at`.

        Args:
            view: Name of the feature view.
            keys: One record per row; it holds the view's entity key columns, among others.
            at: The moment of the request (UTC).

        Returns:
            One mapping per row, in the order of `keys`, from column name (``VIEW_COLUMN``) to value. What it holds
            replaces what the request said; a column it lacks stays as the request gave it.
        """


class NullOnlineStore:
    """No store: the columns of views are taken from the request."""

    note = "no online store is configured, so columns of views come in the request"

    async def get(self, view: str, keys: Sequence[Record], at: datetime) -> Sequence[Record]:  # noqa: ARG002
        """Nothing to add to any row."""
        return [{}] * len(keys)
