"""A table as a task knows it before any row is read: whatever makes its rows, a contract says what they are."""

from typing import Protocol

from raypipe.contract import Contract


class Declared(Protocol):
    """A table that is ingested from a source or made by a transform."""

    @property
    def contract(self) -> Contract:
        """What its rows are."""
