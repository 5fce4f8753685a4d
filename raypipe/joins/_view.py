"""What a feature view is, and the settings of joins."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raypipe.core.config import config
from raypipe.core.durations import Duration

Ties = Literal["refuse"] | dict[Literal["first", "last"], str]


@config
class FeatureView:
    """Columns of a table, looked up by entity and, with `event_time`, as of the prediction time.

    A row counts at prediction time t when ``event_time + lead_time <= t`` and ``known_time <= t``. Of the rows that count the
    one of the latest event time is taken, of its corrections (rows that differ in `known_time` alone) the latest known one; it
    is taken for null when it is older than `ttl`. So a training row sees what was known at its time, never what was corrected
    later, and a late correction of an old value never hides a newer one.

    Attributes:
        table: The table that holds the view's rows.
        entity: Event column -> column of `table`; together they identify the entity.
        columns: What is joined.
        event_time: When a row became true (and known, without `known_time`); null for an exact view.
        known_time: Column with the instant at which a row became known; a row where it is null never counts.
        ttl: Oldest age of a row that still counts, such as ``3h``, from its event time; null for any age.
        lead_time: How long after its event time a row can be used: the delay of the feed that brings it.
        ties: What becomes of several rows with one entity, event time and known time: ``refuse`` them, or take the one with
            the lowest (``{first: COLUMN}``) or highest (``{last: COLUMN}``) value of a column, null after all others.
    """

    table: str
    entity: Annotated[dict[str, str], Field(min_length=1)]
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    event_time: str | None = None
    known_time: str | None = None
    ttl: Duration | None = None
    lead_time: Duration | None = None
    ties: Ties = "refuse"

    @model_validator(mode="after")
    def _settings_have_effect(self) -> "FeatureView":
        if self.event_time is None:
            if self.ttl is not None or self.lead_time is not None:
                raise ValueError("ttl and lead_time: ttl needs event_time, and so does lead_time; an exact view has no age")
            if self.known_time is not None:
                raise ValueError("known_time needs event_time; a view with one time only has it as event_time")
        if self.known_time is not None and self.known_time == self.event_time:
            raise ValueError("known_time is event_time; leave it out, a row is known at its event time then")
        if len({*self.entity.values()}) < len(self.entity):
            raise ValueError("entity names a column of the table twice; leave one out, or derive one event column of both")
        if len({*self.columns}) < len(self.columns):
            raise ValueError(f"columns holds a name twice: {', '.join(self.columns)}")
        return self

    @model_validator(mode="after")
    def _a_row_can_count(self) -> "FeatureView":
        for name, found in (("ttl", self.ttl), ("lead_time", self.lead_time)):
            if found is not None and found < timedelta(0):
                raise ValueError(f"{name} is less than nothing; expected a time such as 3h")
        if self.ttl is not None and self.lead_time is not None and self.ttl < self.lead_time:
            raise ValueError("ttl is less than lead_time: every row would be too old before it can be used")
        if self.ties != "refuse" and len(self.ties) != 1:
            raise ValueError("ties: expected refuse, {first: COLUMN} or {last: COLUMN}")
        return self

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the table that must be unique, or made so by `ties`."""
        return (*self.entity.values(), *(name for name in (self.event_time, self.known_time) if name))

    @property
    def tie_column(self) -> str | None:
        """The column that decides between rows with one key."""
        return None if self.ties == "refuse" else next(iter(self.ties.values()))

    @property
    def table_columns(self) -> tuple[str, ...]:
        """Columns that the view reads of its table."""
        return tuple(dict.fromkeys((*self.key, *self.columns, *([self.tie_column] if self.tie_column else []))))


@config
class Joins:
    """How views are joined; the result is the same, to the row.

    Attributes:
        strategy: ``broadcast``: every machine holds the view once. ``distributed``: events and view are cut by a hash of the
            entity into partitions, which are joined one by one. ``auto``: broadcast up to `broadcast_bytes`.
        broadcast_bytes: Largest view in memory (Arrow bytes of its selected columns); every worker maps it once.
        partition_bytes: About how much of a view, and of the keys of the events, one worker holds when distributed. The rows of
            one entity stay together, so an entity with more than that takes more; events do not, however many an entity has.
    """

    strategy: Literal["auto", "broadcast", "distributed"] = "auto"
    broadcast_bytes: Annotated[int, Field(ge=0)] = 256 << 20
    partition_bytes: Annotated[int, Field(gt=0)] = 64 << 20


def view_column(view: str, column: str) -> str:
    """Name of a joined column, for example ``planes_year``."""
    return f"{view}_{column}"
