"""Every error of raypipe: one clear line, facts that survive pickling, and a docstring that lists them all."""

import pickle
import re
from typing import Any

import pytest
from ray import cloudpickle

from raypipe.core import errors
from raypipe.core.errors import InputError, RaypipeError

SAMPLES: dict[str, tuple[Any, ...]] = {
    "RaypipeError": ("the job failed",),
    "InputError": ("the input is wrong",),
    "ConfigError": (["model.depth: unknown setting"],),
    "StorageError": ("s3://b/x", "does not exist", "set storage.root"),
    "SourceError": ("a.csv", "the file is empty", "correct the source"),
    "SchemaMismatch": ("a.csv", ["b", "c"], ["bb"], {"b": "bb"}),
    "ContractViolation": ("flights", ["max_bad_share: 3 of 100 rows break it"], 3, 100, "row 7: 'abc' is not a number"),
    "DuplicateKeys": ("planes", ["tailnum"], 2, "tailnum=N1"),
    "TableNotFound": ("flights", 7, "versions 0 to 3"),
    "LeakyColumn": ("delay", "dep_delay", "flights"),
    "LeakFound": ("prepared data ab12", ["proxies: delay: AUC 0.9900 alone"]),
    "LabelError": ("late", "null in 3 of 5 rows", "name the reason"),
    "EmptySplit": ("test", {"train": 5, "validation": 2, "test": 0}),
    "ViewTooLarge": ("planes", 2_000_000, 1_000_000),
    "FeatureError": ("distance", "is not a number", "use kind: category"),
    "ModelNotFound": ("flights", "9", "1, 2, champion"),
    "LineageError": ("run 12ab", "was deleted in MLflow", "restore it there"),
    "PortInUse": ("127.0.0.1", 8000),
    "RequestError": (["record 0, column x: is null"],),
    "ScoreError": ("test", 3, 100, "are not finite"),
    "BundleError": ("/tmp/bundle", "model.ubj has another sha256"),
    "EndpointError": ("flights", "did not come up in 60 s"),
    "NotReproduced": ("12ab", "weights", ["model.json"], ["code"]),
    "ClusterError": ("on this machine", "did not start: timed out", "run the command again"),
    "SearchError": ("late", "none of 8 trials finished", "look at the first error"),
    "TrainingError": ("mlp", "the loss is not finite", "lower learning_rate"),
}


def family(cls: type[RaypipeError]) -> list[type[RaypipeError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in family(child))]


CLASSES = [cls for cls in dict.fromkeys(family(RaypipeError)) if cls.__module__ == errors.__name__ and cls.__name__[0] != "_"]
every = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_there_is_a_sample_of_each_class() -> None:
    assert set(SAMPLES) == {cls.__name__ for cls in CLASSES}


@every
@pytest.mark.parametrize("pickler", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_an_error_survives_pickling_with_its_type_facts_and_text(cls: type[RaypipeError], pickler: Any) -> None:
    error = cls(*SAMPLES[cls.__name__])
    copy = pickle.loads(pickler.dumps(error))
    assert type(copy) is cls
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
    assert copy.args == error.args


@every
def test_an_error_is_one_clear_line_with_its_facts(cls: type[RaypipeError]) -> None:
    text = str(cls(*SAMPLES[cls.__name__]))
    assert text
    assert "\n" not in text
    assert "  " not in text
    for fact in SAMPLES[cls.__name__]:
        for value in [*fact, *fact.values()] if isinstance(fact, dict) else fact if isinstance(fact, list) else [fact]:
            assert str(value) in text or f"{value:,}" in text


@every
def test_facts_can_be_compared_because_they_do_not_change(cls: type[RaypipeError]) -> None:
    assert not any(isinstance(value, list) for value in vars(cls(*SAMPLES[cls.__name__])).values())


@every
def test_the_exit_code_says_whether_the_input_is_wrong(cls: type[RaypipeError]) -> None:
    assert cls(*SAMPLES[cls.__name__]).exit_code == (2 if issubclass(cls, InputError) else 1)


def test_the_docstring_shows_exactly_these_classes_in_their_tree() -> None:
    tree = str(errors.__doc__).partition("```text")[2].partition("```")[0]
    lines = re.findall(r"^([│├└─ ]*)([A-Za-z]+)  ", tree, re.MULTILINE)
    shown = [(len(indent) // 4, name) for indent, name in lines]
    parents: dict[str, str | None] = {}
    for i, (depth, name) in enumerate(shown):
        above = [other for level, other in shown[:i] if level == depth - 1]
        parents[name] = above[-1] if above else None
    public = {cls: [base.__name__ for base in cls.__mro__[1:] if base in CLASSES] for cls in CLASSES}
    assert parents == {cls.__name__: next(iter(above), None) for cls, above in public.items()}


def test_all_problems_of_a_configuration_are_shown_each_on_its_line() -> None:
    assert str(errors.ConfigError(["a", "b"])).splitlines() == ["a", "  b"]
