"""Every error that raypipe raises on purpose. Each is one clear line: what, how many, expected, next step.

Facts go positional to ``super().__init__`` and the text is made in ``__str__``, so an error keeps its type and its
attributes when Ray pickles it from a worker to the driver.

```text
RaypipeError                 exit 1: the job failed
├── InputError               exit 2: the configuration or the input is wrong; nothing was started
│   ├── ConfigError          settings: unknown, missing, wrong type, target not allowed
│   ├── StorageError         a URI that cannot be read, written or shared
│   ├── SourceError          a file that is missing, empty, truncated or not what it says
│   ├── SchemaMismatch       columns missing from or new in a source
│   ├── ContractViolation    rows or a whole table break the contract more than it allows
│   ├── DuplicateKeys        a key that must be unique is not
│   ├── TableNotFound        a table, or a version of it, that was never written
│   ├── LeakyColumn          a feature that uses a column known only after the prediction time
│   ├── LeakFound            data that tells a model what it could not know, found by the audit
│   ├── LabelError           a label that cannot be learned: null, one class, too many classes
│   ├── EmptySplit           a split without rows
│   ├── ViewTooLarge         a view that does not fit a broadcast join
│   ├── FeatureError         a feature that cannot be fitted or computed
│   ├── ModelNotFound        a model version or alias that does not exist
│   ├── LineageError         what lineage or a reproduction is asked for is not recorded, or no longer there
│   ├── PortInUse            an endpoint's port is taken
│   └── RequestError         records of a prediction request that break the input contract
├── ScoreError               predictions that cannot be judged: not finite, wrong shape, not probabilities
├── BundleError              a model bundle that is damaged, incomplete, newer than this code, or answers differently
├── EndpointError            an endpoint that did not come up with the wanted model version
├── NotReproduced            a run that gave something else when it was run again
├── ClusterError             Ray did not start, or did not answer
├── SearchError              a search in which no trial finished
└── TrainingError            training diverged or its workers failed
```
"""

from collections.abc import Mapping, Sequence

from raypipe.core.naming import listed


class RaypipeError(Exception):
    """Base of all errors that raypipe raises on purpose; ``exit_code`` is what a job ends with."""

    exit_code = 1


class InputError(RaypipeError):
    """The configuration or the input is wrong."""

    exit_code = 2


class _OfSubject(RaypipeError):
    """An error that says what is wrong with one thing, and the way out."""

    _word = ""

    def __init__(self, subject: str, problem: str, way_out: str = "") -> None:
        super().__init__(subject, problem, way_out)
        self.subject, self.problem, self.way_out = subject, problem, way_out

    def __str__(self) -> str:
        between = " " if self.problem.endswith("?") else "; "
        return f"{self._word}{self.subject}: {self.problem}{between + self.way_out if self.way_out else ''}"


class ConfigError(InputError):
    """One or more settings are wrong; all problems of a configuration are listed at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n  ".join(self.problems)


class StorageError(_OfSubject, InputError):
    """A URI cannot be read, written or shared."""


class SourceError(_OfSubject, InputError):
    """A source cannot be read as what it is declared to be."""


class SchemaMismatch(InputError):
    """The columns of a source are not those of the contract."""

    def __init__(self, uri: str, missing: Sequence[str], unexpected: Sequence[str], likely: Mapping[str, str]) -> None:
        super().__init__(uri, tuple(missing), tuple(unexpected), dict(likely))
        self.uri, self.missing, self.unexpected, self.likely = uri, tuple(missing), tuple(unexpected), dict(likely)

    def __str__(self) -> str:
        renamed = ", ".join(f"{listed([new])} is perhaps the renamed {listed([old])}" for old, new in self.likely.items())
        found = f"; found instead: {listed(self.unexpected)}" if self.unexpected else ""
        told = f"{len(self.missing)} declared column(s) missing: {listed(self.missing)}{found}"
        way_out = "correct the source, its delimiter, or the table's columns"
        return f"{self.uri}: {told}{f' ({renamed})' if renamed else ''}; {way_out}"


class ContractViolation(InputError):
    """A table breaks its contract more than that allows; bad rows are in the quarantine, and nothing is committed."""

    def __init__(self, table: str, problems: Sequence[str], num_bad_rows: int, num_rows: int, example: str) -> None:
        super().__init__(table, tuple(problems), num_bad_rows, num_rows, example)
        self.table, self.problems, self.example = table, tuple(problems), example
        self.num_bad_rows, self.num_rows = num_bad_rows, num_rows

    def __str__(self) -> str:
        shown = f"{self.num_bad_rows} of {self.num_rows} rows are set aside, for example {self.example}; "
        rows = shown if self.example else ""
        return (
            f"table {self.table} breaks its contract: {rows}{'; '.join(self.problems)}; "
            f"correct the source, or what data.tables.{self.table}.contract allows"
        )


class DuplicateKeys(InputError):
    """A key that must be unique is not."""

    def __init__(self, table: str, key: Sequence[str], num_duplicates: int, example: str) -> None:
        super().__init__(table, tuple(key), num_duplicates, example)
        self.table, self.key, self.num_duplicates, self.example = table, tuple(key), num_duplicates, example

    def __str__(self) -> str:
        return (
            f"table {self.table}: key ({', '.join(self.key)}) is not unique, {self.num_duplicates} row(s) repeat a key, "
            f"for example {self.example}; correct the source or declare the key that is unique"
        )


class TableNotFound(InputError):
    """A table, or a version of it, was never written."""

    def __init__(self, table: str, version: int | str | None, known: str) -> None:
        super().__init__(table, version, known)
        self.table, self.version, self.known = table, version, known

    def __str__(self) -> str:
        which = f"table {self.table}" + ("" if self.version is None else f"@{self.version}")
        return f"{which} does not exist ({self.known}); write it first: python jobs/ingest.py with the same experiment"


class LeakyColumn(InputError):
    """A feature uses a column whose value is known only after the prediction time."""

    def __init__(self, feature: str, column: str, table: str) -> None:
        super().__init__(feature, column, table)
        self.feature, self.column, self.table = feature, column, table

    def __str__(self) -> str:
        return (
            f"feature {self.feature} uses column {self.column} of table {self.table}, which is known only later than the "
            f"prediction time; a model with it would look right and fail live. Remove it from the features"
        )


class LeakFound(InputError):
    """The audit found leaks that its policy refuses; nothing is trained."""

    def __init__(self, subject: str, reasons: Sequence[str]) -> None:
        super().__init__(subject, tuple(reasons))
        self.subject, self.reasons = subject, tuple(reasons)

    def __str__(self) -> str:
        found = f"{self.subject}: {len(self.reasons)} leak(s) found, nothing is trained: {'; '.join(self.reasons)}"
        return f"{found}; correct data, split or features, or say with audit.allow={{COLUMN: reason}} why a column is none"


class LabelError(_OfSubject, InputError):
    """The label cannot be learned from as it is."""

    _word = "label "


class EmptySplit(InputError):
    """A split has no rows."""

    def __init__(self, split: str, counts: Mapping[str, int]) -> None:
        super().__init__(split, dict(counts))
        self.split, self.counts = split, dict(counts)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {num}" for name, num in self.counts.items())
        return f"split {self.split} has no rows ({counts}); change the bounds or shares under split"


class ViewTooLarge(InputError):
    """A view is larger than what a broadcast join may hold."""

    def __init__(self, view: str, num_bytes: int, limit_bytes: int) -> None:
        super().__init__(view, num_bytes, limit_bytes)
        self.view, self.num_bytes, self.limit_bytes = view, num_bytes, limit_bytes

    def __str__(self) -> str:
        return (
            f"view {self.view} holds {self.num_bytes:,} bytes, more than joins.broadcast_bytes={self.limit_bytes:,}; "
            f"set joins.strategy=auto, select fewer columns or raise the limit (every worker holds the view once)"
        )


class FeatureError(_OfSubject, InputError):
    """A feature cannot be fitted or computed."""

    _word = "feature "


class ModelNotFound(InputError):
    """A registered model, version or alias does not exist."""

    def __init__(self, name: str, version: str, known: str) -> None:
        super().__init__(name, version, known)
        self.name, self.version, self.known = name, version, known

    def __str__(self) -> str:
        judged = self.version == "champion" and "version" in self.known
        way_out = "let the evaluate job judge one of them" if judged else "train and register one first"
        return f"model {self.name} has no version or alias {self.version!r} (known: {self.known}); {way_out}"


class LineageError(_OfSubject, InputError):
    """What lineage or a reproduction is asked for is not recorded, or no longer there."""


class PortInUse(InputError):
    """The port of an endpoint is taken by another process."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host, self.port = host, port

    def __str__(self) -> str:
        return f"{self.host}:{self.port} is in use by another process; stop it or choose another with serving.port=PORT"


class RequestError(InputError):
    """Records of a prediction request break the input contract."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "; ".join(self.problems)


class ScoreError(RaypipeError):
    """Predictions of a model that cannot be judged: not finite, of the wrong shape, or not probabilities."""

    def __init__(self, split: str, num_bad_rows: int, num_rows: int, problem: str) -> None:
        super().__init__(split, num_bad_rows, num_rows, problem)
        self.split, self.num_bad_rows, self.num_rows, self.problem = split, num_bad_rows, num_rows, problem

    def __str__(self) -> str:
        return (
            f"predictions on split {self.split}: {self.num_bad_rows} of {self.num_rows} rows {self.problem}; "
            f"the model diverged or its features are not finite: look at its training curve and its inputs"
        )


class BundleError(_OfSubject):
    """A model bundle is damaged, incomplete, newer than this code, or answers differently than when it was made."""

    _word = "model bundle "


class EndpointError(_OfSubject):
    """An endpoint did not come up with the wanted model version; a former version answers as before."""

    _word = "endpoint "


class NotReproduced(RaypipeError):
    """A run that gave something else when it was run again from what was recorded."""

    def __init__(self, run_id: str, layer: str, differs: Sequence[str], causes: Sequence[str]) -> None:
        super().__init__(run_id, layer, tuple(differs), tuple(causes))
        self.run_id, self.layer, self.differs, self.causes = run_id, layer, tuple(differs), tuple(causes)

    def __str__(self) -> str:
        other = f"{', '.join(self.causes)} differ too" if self.causes else "its config, code, libraries and tables are the same"
        return f"run {self.run_id}: the first result that differs is {self.layer} ({', '.join(self.differs)}); {other}"


class ClusterError(_OfSubject):
    """Ray did not start, or the cluster that a job is to join did not answer."""

    _word = "Ray "


class SearchError(_OfSubject):
    """A search in which no trial finished."""

    _word = "search "


class TrainingError(_OfSubject):
    """Training diverged or its workers failed."""

    _word = "training "
