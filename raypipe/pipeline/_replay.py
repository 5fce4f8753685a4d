"""The jobs of the quarantine: rows are looked at again, and what is there is shown."""

import json
from typing import Annotated

from pydantic import Field, model_validator

from raypipe.core.config import Name, config
from raypipe.core.console import say, table
from raypipe.core.errors import ConfigError
from raypipe.core.job import JobRecord
from raypipe.core.naming import did_you_mean
from raypipe.core.storage import Storage
from raypipe.ingest import replay_table
from raypipe.pipeline import _session
from raypipe.pipeline._data import aside
from raypipe.pipeline._experiment import Experiment
from raypipe.tables import Quarantine, Tables, rule_text


@config
class QuarantineQuery:
    """Whose quarantine is shown: exactly one of `table` and `predictions`.

    Attributes:
        table: Rows that the ingest of a table set aside.
        predictions: Rows that the scoring with a model of this name set aside.
        newest: How many of the open rows are shown, newest first.
        storage: Where tables and quarantine are.
    """

    table: Name | None = None
    predictions: Name | None = None
    newest: Annotated[int, Field(ge=0)] = 5
    storage: Storage = Storage()

    @model_validator(mode="after")
    def _one_is_named(self) -> "QuarantineQuery":
        if (self.table is None) == (self.predictions is None):
            raise ValueError("give either table=NAME or predictions=NAME")
        return self

    @property
    def log(self) -> Quarantine:
        """The quarantine that is asked for.

        Raises:
            TableNotFound: when the table was never written, and nothing of it was set aside.
        """
        name, folder = (self.table, "tables") if self.table is not None else (self.predictions, "predictions")
        assert name is not None  # one of both is
        found = Quarantine(self.storage, name, folder)
        if not found.part_uris():
            Tables(self.storage, folder).open(name)
        return found


def run_replay(run: Experiment, record: JobRecord) -> None:
    """Look at the open rows of the quarantine again, and bring those that keep the contract now into their table.

    Raises:
        ConfigError: when `replay.table` is not a table of the experiment.
    """
    wanted, known = run.replay.table, list(run.data.tables)
    if wanted is not None and wanted not in known:
        raise ConfigError([f"replay.table: no table {wanted}{did_you_mean(wanted, known)} (tables: {', '.join(known)})"])
    session = _session.open_session(run, record.settings)
    names = [wanted] if wanted is not None else known
    done = {name: replay_table(name, run.data.tables[name], session.run.storage) for name in names}
    rows = [
        [found.ref.label, f"{found.rows.rows_in:,}", f"{found.rows.rows_out:,}", aside(found.rows)] for found in done.values()
    ]
    table("replay", ["table", "looked at", "resolved", "still bad"], rows)
    record.finish(
        tables={name: found.ref.version for name, found in done.items()},
        rows={name: found.rows.to_dict() for name, found in done.items()},
        replaced={name: found.replaced for name, found in done.items() if found.replaced},
        reused={name: found.reused for name, found in done.items()},
        quarantine={name: found.quarantine for name, found in done.items()},
    )


def run_quarantine(query: QuarantineQuery, record: JobRecord) -> None:
    """Show how many rows stand where, by rule, and the newest open ones."""
    log = query.log
    counts = log.counts()
    rows = [[standing, rule, f"{num:,}"] for standing, rules in counts.items() for rule, num in rules.items()]
    table("quarantine", ["standing", "rule", "rows"], rows, text=("rule",))
    for row in log.newest(query.newest):
        place = {name: value for name, value in row["location"].items() if value is not None}
        say(f"  {rule_text(row['rule'], row['column'])}: {row['reason']}")
        say(f"    {json.dumps(place, ensure_ascii=False)}: {row['payload']}")
    record.finish(quarantine=log.uri, rows=counts)
