"""core.config.build: a configuration chooses among parts; it cannot run code, and all its problems are told at once."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, model_validator

import raypipe.core.config
from raypipe.contract import Contract
from raypipe.core.config import build, config
from raypipe.core.errors import ConfigError
from raypipe.features import FeatureSet, Number

HERE = f"{__name__}."


@config
class Small:
    kind: Literal["small"] = "small"
    size: Annotated[int, Field(ge=1)] = 1


@config
class Large:
    kind: Literal["large"] = "large"
    size: int = 10
    colour: Literal["red", "green"] = "red"


@config
class Part:
    learning_rate: float
    sizes: tuple[int, ...] = ()
    choice: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    named: dict[str, Small] = Field(default_factory=dict)
    value: int | str = 0

    @model_validator(mode="after")
    def _rate_is_sane(self) -> "Part":
        if self.learning_rate > 10:
            raise ValueError("learning_rate is larger than 10")
        return self


@config
class Job:
    part: Part
    other: Any = None
    steps: int = 1


class Unmarked(Small):
    """A subclass of a part is not a part until it is marked itself."""


class Dangerous:
    """Not a part."""


def problems(settings: dict[str, Any], cls: type[Any] = Job) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        build(settings, cls, allowed=(HERE,))
    return list(caught.value.problems)


PART = {"learning_rate": 0.1}


def test_a_part_named_by_target_is_built_inside_of_others() -> None:
    job = build({"part": {"_target_": f"{HERE}Part", **PART}, "other": {"_target_": f"{HERE}Small"}}, Job, allowed=(HERE,))
    assert job == Job(part=Part(learning_rate=0.1), other=Small())


def test_mappings_become_parts_by_type_lists_become_tuples_and_unions_go_by_kind() -> None:
    part = build({**PART, "sizes": [1, 2], "choice": {"kind": "large"}, "named": {"a": {"size": 3}}}, Part)
    assert part == Part(learning_rate=0.1, sizes=(1, 2), choice=Large(), named={"a": Small(size=3)})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"part": PART, "stepps": 2}, "unknown setting stepps; did you mean steps? (settings: part, other, steps)"),
        ({"part": {**PART, "learnin_rate": 1}}, "unknown setting part.learnin_rate; did you mean learning_rate?"),
        ({"part": {**PART, "choice": {"kind": "large", "color": "red"}}}, "part.choice.color; did you mean colour?"),
        ({"part": {**PART, "choice": {"kind": "small", "colour": "red"}}}, "part.choice.colour (settings: kind, size)"),
        ({"part": {**PART, "choice": {"kind": "smal"}}}, "part.choice.kind: unknown kind 'smal'; did you mean small?"),
        ({"part": {**PART, "choice": {"size": 1}}}, "no value for part.choice.kind (kinds: small, large)"),
        ({"part": {**PART, "choice": {"kind": "large", "colour": "gren"}}}, "did you mean green? (got 'gren')"),
        ({"part": {**PART, "named": {"a": {"sise": 1}}}}, "unknown setting part.named.a.sise; did you mean size?"),
        (
            {"part": {**PART, "named": {"a": {"size": 0}}}},
            "part.named.a.size: Input should be greater than or equal to 1 (got 0)",
        ),
        ({"part": {**PART, "sizes": [1, "x"]}}, "part.sizes[1]: Input should be a valid integer"),
        (
            {"part": {**PART, "value": [1]}},
            "part.value: Input should be a valid integer (got [1]) or Input should be a valid str",
        ),
        ({"part": {"learning_rate": 11}}, "part: learning_rate is larger than 10"),
        ({"part": {"learning_rate": "fast"}}, "part.learning_rate: Input should be a valid number"),
        ({"part": {}}, "no value for part.learning_rate (add part.learning_rate=...)"),
        ({}, "no value for part (add part=...)"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(settings: dict[str, Any], expected: str) -> None:
    (line,) = problems(settings)
    assert expected in line


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("os.system", "part._target_: os.system is not allowed"),
        ("subprocess.run", "is not allowed"),
        ("raypipexyz.Part", "is not allowed"),
        ("pathlib.Path.write_text", "is not allowed"),
        ("raypipe.core.storage.shutil.rmtree", "cannot be imported"),
        ("raypipe.core.storage.os.remove", "cannot be imported"),
        ("raypipe.core.storage.Path", "is not a configurable part"),
        ("raypipe.core.config.importlib.import_module", "cannot be imported"),
        ("raypipe.core.config.build", "is not a configurable part"),
        ("raypipe.core.config.TypeAdapter", "is not a configurable part"),
        ("raypipe.core.nowhere.Part", "cannot be imported"),
        ("raypipe.features.Numbr", "is not a configurable part; did you mean Number?"),
        (f"{HERE}Dangerous", "is not a configurable part"),
        (f"{HERE}Unmarked", "is not a configurable part"),
        (f"{HERE}Small.__init__", "cannot be imported"),
        (f"{HERE}pytest.exit", "cannot be imported"),
        ("Part", "expected package.Class"),
        (["os", "system"], "expected package.Class"),
    ],
)
def test_a_target_outside_of_the_allowed_parts_is_refused(target: Any, expected: str) -> None:
    (line,) = problems({"part": {"_target_": target, **PART}})
    assert expected in line


def test_a_foreign_part_inside_of_an_allowed_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raypipe.core.config, "Foreign", Part, raising=False)
    with pytest.raises(ConfigError, match=f"{__name__}, which is not allowed"):
        build({"part": {"_target_": "raypipe.core.config.Foreign", **PART}}, Job)


def test_an_allowed_prefix_ends_at_a_dot() -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        build({"part": {"_target_": f"{HERE}Part", **PART}}, Job, allowed=(__name__[:-2],))


@pytest.mark.parametrize("keyword", ["_args_", "_partial_", "_convert_", "_recursive_"])
def test_keywords_of_hydras_instantiate_are_refused(keyword: str) -> None:
    (line,) = problems({"part": {"_target_": f"{HERE}Part", **PART, keyword: [1]}})
    assert line.startswith(f"part.{keyword}: is not used here")


def test_all_problems_are_told_at_once_across_parts() -> None:
    wrong = {"_target_": f"{HERE}Part", "learning_rate": "x", "sizes": ["y"], "speed": 1}
    lines = problems({"part": wrong, "other": {"_target_": "os.system"}})
    assert len(lines) == 4
    assert {"learning_rate", "sizes[0]", "speed", "os.system"} == {
        name for name in ("learning_rate", "sizes[0]", "speed", "os.system") for line in lines if name in line
    }


def test_a_contract_and_a_feature_set_come_from_plain_mappings() -> None:
    contract = build({"columns": {"id": "int64", "x": {"type": "float64", "min": 0}}, "key": ["id"]}, Contract)
    assert contract.columns["x"].min == 0
    assert contract.nullable("x")
    assert not contract.nullable("id")
    features = build({"derive": {"y": "x * 2"}, "features": {"y": {"kind": "number", "scale": "none"}}}, FeatureSet)
    assert features.features["y"] == Number(scale="none")
    assert features.input_columns == ("x",)


@pytest.mark.parametrize(
    ("cls", "settings", "expected"),
    [
        (Contract, {"columns": {"a": "strng"}}, "columns.a: Input should be .*; did you mean string"),
        (Contract, {"columns": {"a": {"type": "string", "nulable": True}}}, "columns.a.nulable; did you mean nullable"),
        (Contract, {"columns": {"carrier": "string"}, "key": ["carier"]}, "key column carier .* did you mean carrier"),
        (Contract, {"columns": {"a": {"type": "string", "min": 1}}}, "columns.a: min and max are for int64 and float64"),
        (Contract, {"columns": {"a": {"type": "int64", "one_of": ["x"]}}}, "one_of holds 'x', which is not .* int64"),
        (Contract, {"columns": {"a": {"type": "date", "one_of": ["x"]}}}, "one_of is not for date columns"),
        (Contract, {"columns": {"a": {"type": "int64", "min": 2, "max": 1}}}, "min 2 is larger than max 1"),
        (Contract, {"columns": {}, "max_bad_share": 2}, "max_bad_share: Input should be less than or equal to 1"),
        (FeatureSet, {"features": {"a": {"kind": "numbr"}}}, "features.a.kind: unknown kind 'numbr'; did you mean number"),
        (FeatureSet, {"features": {"a": {"kind": "number", "scalle": "none"}}}, "features.a.scalle; did you mean scale"),
        (FeatureSet, {"features": {"a": {"kind": "number", "scale": "standrd"}}}, "did you mean standard"),
        (FeatureSet, {"features": {"a": {"kind": "number", "fill": 1}}}, "features.a: fill has no effect with impute: mean"),
        (FeatureSet, {"features": {"a": {"kind": "number", "impute": "constant"}}}, "impute: constant needs fill"),
        (FeatureSet, {"features": {"a": {"kind": "number", "column": "b", "columns": ["c"]}}}, "column or columns, not both"),
        (FeatureSet, {"features": {"a": {"kind": "category", "columns": []}}}, "features.a.columns"),
        (FeatureSet, {"features": {"a": {"kind": "calendar", "zone": "UTC", "parts": ["our"]}}}, "did you mean hour"),
        (
            FeatureSet,
            {"features": {"a": {"kind": "calendar", "zone": "America/NewYork", "parts": ["hour"]}}},
            "America/New_York",
        ),
        (FeatureSet, {"features": {"a": {"kind": "calendar", "parts": ["hour"]}}}, "no value for features.a.zone"),
        (FeatureSet, {"features": {}}, "features: Dictionary should have at least 1 item"),
        (FeatureSet, {"features": {"a": {"kind": "number"}}, "derive": {"a": "b +"}}, r"derive.a: syntax error"),
    ],
)
def test_a_misspelt_contract_or_feature_set_is_refused_by_name(cls: type[Any], settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        build(settings, cls)
