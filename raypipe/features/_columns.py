"""What kinds with the settings `column` and `columns` share."""

from typing import Annotated

from pydantic import Field

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class Columns:
    """One column, or several with the same treatment; a `@config` class below has the two settings as fields."""

    column: str | None
    columns: Names | None

    def __post_init__(self) -> None:
        """Refuse both settings at once."""
        if self.column is not None and self.columns is not None:
            raise ValueError("give column or columns, not both")

    def columns_of(self, feature: str) -> tuple[str, ...]:
        """The columns."""
        return self.columns or (self.column or feature,)

    def names_of(self, feature: str) -> tuple[str, ...]:
        """The columns' names, or the feature's."""
        return self.columns or (feature,)

    def outputs_of(self, feature: str) -> tuple[str, ...]:
        """An output of each name."""
        return self.names_of(feature)
