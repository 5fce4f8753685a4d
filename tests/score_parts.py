"""A model trained on the shop's orders, and the tables to score, for the tests of scoring."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from model_data import MemoryLoop
from shops import KINDS, SHOPS, Shop

from raypipe.bundle import Bundle, save_bundle
from raypipe.contract import Column, Contract
from raypipe.core.config import build
from raypipe.core.storage import Storage
from raypipe.joins import Joins
from raypipe.models import Xgboost
from raypipe.prepare import Plan, Prepared
from raypipe.score import ModelId, Scored, Scoring, score_table
from raypipe.tables import TableRef

NUM = 600


@dataclass(frozen=True)
class Ready:
    """A trained model of one kind, what it was trained on, and the tables to score."""

    plan: Plan
    prepared: Prepared
    bundle: Bundle
    model: ModelId
    tables: Mapping[str, TableRef]

    def score(self, storage: Storage, *, plan: Plan | None = None, model: ModelId | None = None, **scoring: Any) -> Scored:
        return score_table(
            plan or self.plan,
            self.tables,
            build(scoring, Scoring),
            model or self.model,
            storage=storage,
            joins=Joins(),
        )


ByKind = Mapping[str, Ready]


def saved(bundle: Bundle, folder: Path, version: int = 1) -> ModelId:
    return ModelId(name="m", version=version, digest=save_bundle(bundle, folder), bundle_uri=str(folder))


def made_ready(shop: Shop, kind: str, folder: Path) -> Ready:
    plan = shop.plan(KINDS[kind])
    prepared = shop.prepared(plan)
    bundle = Bundle(
        inputs=prepared.inputs,
        sources=prepared.sources,
        features=prepared.features,
        model=Xgboost(num_rounds=4, max_depth=3).train(prepared.training_data(), MemoryLoop()),
        target=prepared.target,
        examples=prepared.joined.head("train", 32).select(list(prepared.inputs.columns)),
        threshold=0.5 if kind == "binary" else None,
    )
    return Ready(plan=plan, prepared=prepared, bundle=bundle, model=saved(bundle, folder), tables=shop.tables())


@pytest.fixture(scope="module")
def ready(kept: tuple[Shop, Prepared], tmp_path_factory: pytest.TempPathFactory) -> ByKind:
    shop, _ = kept
    folder = tmp_path_factory.mktemp("bundles")
    return {kind: made_ready(shop, kind, folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def binary(kept: tuple[Shop, Prepared], tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return made_ready(kept[0], "binary", tmp_path_factory.mktemp("bundles") / "binary")


def frame(scored: Scored) -> pl.DataFrame:
    return pl.read_delta(scored.ref.uri).sort("id")


def parts(storage: Storage) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (Path(storage.root) / "predictions" / "m").glob("part-*.parquet")}


def strict(bundle: Bundle) -> Bundle:
    """The same model under a contract that takes no shop `west` and no null amount."""
    columns = {
        **bundle.inputs.columns,
        "shop": Column(type="string", one_of=SHOPS[:3]),
        "amount": Column(type="float64", nullable=False),
    }
    rows = pl.DataFrame(bundle.examples).filter(pl.col("amount").is_not_null() & (pl.col("shop") != "west")).to_arrow()
    return replace(bundle, inputs=Contract(columns=columns), examples=rows.cast(bundle.examples.schema))


def newer(made: Ready, digest: str = "newer") -> Ready:
    """The same events under another version, as after late data."""
    events = made.tables["orders"]
    return replace(made, tables={**made.tables, "orders": replace(events, facts={**events.facts, "digest": digest})})
