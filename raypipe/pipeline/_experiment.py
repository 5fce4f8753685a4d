"""The experiment: all settings of one model's life, the same class for every job."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from raypipe.audit import Audit
from raypipe.contract import Contract
from raypipe.core.cluster import Cluster
from raypipe.core.config import Name, VersionName, config, to_settings
from raypipe.core.errors import ConfigError
from raypipe.core.storage import Storage
from raypipe.evaluate import COST, Card, Evaluator, Gate, no_costs
from raypipe.features import FeatureSet, FeatureSpec
from raypipe.ingest import TableSpec
from raypipe.joins import Joins
from raypipe.models import Model, NeedsModules, ReadsFiles
from raypipe.prepare import Collection, Declared, Plan, Task, audit_problems, digest_modules, make_plan
from raypipe.registry import LineageEvents, Tracking
from raypipe.score import Scoring
from raypipe.serve import Serving
from raypipe.split import Split, splits_of
from raypipe.train import Trainer
from raypipe.transforms import Transform, order_of
from raypipe.tune import Tuning


@config
class Core:
    """What the configuration itself may do.

    Attributes:
        allowed_targets: Module prefixes that ``_target_`` may name beside ``raypipe.``, such as ``mycompany.``.
    """

    allowed_targets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MadeTable:
    """What a task knows of a table that a transform makes."""

    contract: Contract


@config
class Data:
    """Tables by name.

    Attributes:
        tables: Where the rows of each table come from and what they must be.
        transforms: Tables that are made of others; null takes one out that an earlier file put in.
    """

    tables: dict[Name, TableSpec]
    transforms: dict[Name, Transform | None] = field(default_factory=dict)

    @property
    def made(self) -> dict[str, Transform]:
        """The transforms that there are."""
        return {name: transform for name, transform in self.transforms.items() if transform is not None}

    def declared(self, used: Iterable[str]) -> dict[str, Declared]:
        """Every table that a task can read, ingested or made.

        Raises:
            ConfigError: when a transform among those `used` does not say what its rows are, or they cannot be put in order.
        """
        order_of(self.made, self.tables)
        silent = [name for name in dict.fromkeys(used) if name in self.made and self.made[name].recipe.contract is None]
        if silent:
            raise ConfigError([f"data.transforms.{name}.contract is missing: the task reads this table" for name in silent])
        contracts = {name: transform.recipe.contract for name, transform in self.made.items()}
        made = {name: MadeTable(contract=contract) for name, contract in contracts.items() if contract is not None}
        return {**self.tables, **made}


@config
class Candidate:
    """A model that the pipeline trains beside others; the validation rows choose among them.

    Attributes:
        model: What to learn.
        trainer: Where it trains.
    """

    model: Model
    trainer: Trainer = Trainer()

    def check_files(self) -> None:
        """Refuse a model whose files are not there; only a training needs them.

        Raises:
            StorageError: naming the file.
        """
        if isinstance(self.model, ReadsFiles):
            self.model.files_digest()

    @property
    def shaping(self) -> dict[str, Any]:
        """Settings that what is learned is a function of, and digests of the files and the user's code that the model reads."""
        files = {"files": self.model.files_digest()} if isinstance(self.model, ReadsFiles) else {}
        code = {"modules": digest_modules(self.model.modules)} if isinstance(self.model, NeedsModules) else {}
        return {"model": to_settings(self.model), "trainer": to_settings(self.trainer.shaping), **files, **code}


@config
class Judged:
    """Which registered version the evaluate job judges.

    Attributes:
        model: Version number, alias or ``latest``.
    """

    model: VersionName = "latest"


@config
class Replay:
    """Whose quarantined rows the replay job looks at again.

    Attributes:
        table: One table of the experiment; null takes all.
    """

    table: Name | None = None


@config
class Deployment:
    """Which registered version is deployed, and whether the job stays with it.

    Attributes:
        model: Version number or alias.
        keep: Keep the endpoint up until the job is interrupted; on an existing cluster it stays up by itself.
    """

    model: VersionName = "champion"
    keep: bool = False


@config
class Experiment:
    """One experiment, from its tables to its endpoint.

    Attributes:
        name: Name of the experiment and of the registered model.
        data: Tables and where they come from.
        task: What is predicted, about which events, with which views.
        split: Which rows are for learning, choosing and judging.
        features: What the model sees, by feature name; null takes a feature out that an earlier file put in.
        audit: Which leaks refuse a training.
        model: The model of the train job.
        trainer: Where it trains.
        candidates: Models that the pipeline job trains; null takes one out, and none at all takes `model` alone.
        tune: What the tune job and the pipeline search; an empty space searches nothing.
        evaluator: How models are judged.
        gate: When a model may become the champion.
        card: What people have to say about the model, for its model card.
        evaluate: What the evaluate job judges.
        deploy: What the deploy job deploys.
        scoring: What the score job scores.
        replay: Which rows of the quarantine the replay job looks at.
        serving: Where endpoints listen.
        joins: How views are joined.
        gc: When prepared data that is no longer used goes.
        storage: Where state lives.
        tracking: The MLflow store.
        lineage: Where OpenLineage events go.
        ray: The cluster.
        core: Rules of the configuration itself.
    """

    name: Name
    data: Data
    task: Task
    split: Split
    features: dict[str, FeatureSpec | None]
    model: Model
    audit: Audit = Audit()
    trainer: Trainer = Trainer()
    candidates: dict[Name, Candidate | None] = field(default_factory=dict)
    tune: Tuning = Tuning()
    evaluator: Evaluator = Evaluator()
    gate: Gate = Gate()
    card: Card = Card()
    evaluate: Judged = Judged()
    deploy: Deployment = Deployment()
    scoring: Scoring = Scoring()
    replay: Replay = Replay()
    serving: Serving = Serving()
    joins: Joins = Joins()
    gc: Collection = Collection()
    storage: Storage = Storage()
    tracking: Tracking = Tracking()
    lineage: LineageEvents = LineageEvents()
    ray: Cluster = Cluster()
    core: Core = Core()

    def plan(self) -> Plan:
        """The checked task; raises before any cluster is started."""
        self.evaluator.main_metric(self.task.kind)
        if self.gate.deciding_metric(self.task.kind) == COST and self.evaluator.costs is None:
            raise ConfigError([no_costs("gate.metric")])
        wanted = {name: spec for name, spec in self.features.items() if spec is not None}
        features = FeatureSet(derive=self.task.derive, features=wanted)
        used = [self.task.events, *(view.table for view in self.task.views.values())]
        plan = make_plan(self.task, self.split, features, self.data.declared(used), slices=self.evaluator.slices)
        judging = self.evaluator.problems(self.task.kind, inputs=plan.inputs, splits=splits_of(self.split))
        problems = [*audit_problems(plan, self.audit), *judging]
        if problems:
            raise ConfigError(problems)
        self.trainer.check(self.model)
        for name, candidate in self.candidates.items():
            if candidate is not None:
                candidate.trainer.check(candidate.model, at=f"candidates.{name}.trainer")
        return plan

    def all_candidates(self) -> dict[str, Candidate]:
        """The candidates, or the one model under its kind."""
        wanted = {name: candidate for name, candidate in self.candidates.items() if candidate is not None}
        return wanted or {self.model.kind: Candidate(model=self.model, trainer=self.trainer)}
