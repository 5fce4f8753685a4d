"""Looking inside a model on some validation rows: what it goes by, and whether it behaves; one task for each question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.bundle import Bundle
from raypipe.core.console import say
from raypipe.core.fragments import map_fragments
from raypipe.core.storage import arrow_filesystem, path_of
from raypipe.core.tensors import Target
from raypipe.evaluate import (
    Evaluator,
    RawRows,
    Yardstick,
    check_metric,
    contributions_of,
    permute,
    ranked,
    run_behaviour,
)
from raypipe.pipeline._experiment import Experiment
from raypipe.prepare import JOINED_LABEL, Prepared, label_tensor
from raypipe.score import loaded

_SPLIT = "validation"


@dataclass(frozen=True)
class _Question:
    """What a worker finds out: the importance of a group of columns, all contributions, or a behaviour, by name."""

    kind: Literal["importance", "contributions", "behaviour"]
    name: str = ""


def look_inside(run: Experiment, prepared: Prepared, *, uri: str, digest: str) -> Mapping[str, Any]:
    """The parts of an evaluation that are found by looking into the bundle: importances, contributions, behaviours."""
    evaluator, bundle = run.evaluator, loaded(uri, digest)
    questions = [_Question("behaviour", name) for name in evaluator.declared]
    if evaluator.importance is not None:
        questions += [_Question("contributions"), *(_Question("importance", n) for n in evaluator.importance.groups(bundle))]
    if not questions:
        return {}
    sample = _sample(prepared, bundle.input_columns, evaluator.sample_rows)
    work = _Look(uri=uri, digest=digest, evaluator=evaluator, sample=sample)
    answers = list(zip(questions, map_fragments(work, questions, title="look inside"), strict=True))
    found: dict[str, Any] = {"behaviours": tuple(answer for asked, answer in answers if asked.kind == "behaviour")}
    if evaluator.importance is not None:
        rows = [answer for asked, answer in answers if asked.kind == "importance"]
        repeats, yardstick = evaluator.importance.repeats, work.yardstick(bundle)
        found["importances"] = ranked(yardstick, rows, repeats=repeats, confidence=evaluator.confidence)
        if found["importances"] is None:
            say(f"  {yardstick.metric} is undefined on {len(sample.y_N):,} {_SPLIT} rows; raise evaluator.sample_rows")
        found["contributions"] = next(answer for asked, answer in answers if asked.kind == "contributions")
    return found


def _sample(prepared: Prepared, columns: tuple[str, ...], num: int) -> RawRows:
    """Up to `num` validation rows, as many of each part as it has of all, evenly spread."""
    share = min(1.0, num / prepared.num_rows[_SPLIT])
    work = _Take(columns=columns, share=share, target=prepared.target)
    parts = list(map_fragments(work, prepared.joined_uris(_SPLIT), title="take validation rows"))
    rows = pa.concat_tables([part.rows for part in parts]).combine_chunks()
    return RawRows(rows=rows, y_N=np.concatenate([part.y_N for part in parts]), split=_SPLIT)


@dataclass(frozen=True, kw_only=True)
class _Take:
    """Worker: some rows of one file of joined rows."""

    columns: tuple[str, ...]
    share: float
    target: Target

    def __call__(self, uri: str) -> RawRows:
        read = [*self.columns, JOINED_LABEL]
        rows = pq.read_table(path_of(uri), columns=read, filesystem=arrow_filesystem(uri))
        num = min(rows.num_rows, max(1, round(self.share * rows.num_rows)))
        rows = rows.take(pa.array(np.arange(num, dtype=np.int64) * rows.num_rows // num))
        label = label_tensor(rows.column(JOINED_LABEL), self.target)
        return RawRows(rows=rows.select(list(self.columns)), y_N=label, split=_SPLIT)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """Worker: the answer to one question about the bundle."""

    uri: str
    digest: str
    evaluator: Evaluator
    sample: RawRows

    def __call__(self, question: _Question) -> Any:
        bundle, evaluator, name = loaded(self.uri, self.digest), self.evaluator, question.name
        if question.kind == "behaviour":
            return run_behaviour(name, evaluator.declared[name], bundle=bundle, sample=self.sample)
        if question.kind == "contributions" or evaluator.importance is None:
            return contributions_of(bundle, self.sample)
        return permute(
            name,
            evaluator.importance.groups(bundle)[name],
            yardstick=self.yardstick(bundle),
            repeats=evaluator.importance.repeats,
            seed=evaluator.seed,
            confidence=evaluator.confidence,
        )

    def yardstick(self, bundle: Bundle) -> Yardstick:
        """The main metric on the sample."""
        kind = bundle.target.kind
        metric = self.evaluator.main_metric(kind)
        better = check_metric(metric, kind=kind, setting="evaluator.metric")
        return Yardstick(bundle, self.sample, metric=metric, better=better, costs=self.evaluator.costs)
