"""Hydra's sweep grammar as axes: what each form means, what is refused, and that values come back as they were."""

import math
from decimal import Decimal

import hypothesis.strategies as st
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings

from raypipe.core.compose import Composition, Groups
from raypipe.core.errors import ConfigError
from raypipe.core.job import run_job
from raypipe.core.sweep import read_axes, split_overrides
from raypipe.pipeline import Experiment

GROUPS = Groups(
    chosen={"model": "xgboost", "trainer": "driver", "model@candidates.a.model": "mlp"},
    options={
        "model": ("linear", "mlp", "xgboost", "xgboost_flights"),
        "trainer": ("driver", "ray_train"),
        "model@candidates.a.model": ("mlp", "xgboost"),
    },
)


def one(text: str, key: str = "a"):
    return read_axes({key: text}, GROUPS)[0]


def values(text: str, key: str = "a") -> list:
    axis = one(text, key)
    return [axis.value(i) for i in range(axis.num)]


def parsed(line: str):
    return OverridesParser.create().parse_override(line).value()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("range(256,1024,256)", [256, 512, 768]),
        ("range(3,10,2)", [3, 5, 7, 9]),
        ("range(5)", [0, 1, 2, 3, 4]),
        ("range(10,1,-3)", [4, 7, 10]),
        ("range(0,0.9,0.3)", [0.0, 0.3, 0.6]),
        ("range(0.1,0.35,0.1)", [0.1, 0.2, 0.3]),
        ("float(range(1,4))", [1.0, 2.0, 3.0]),
        ("int(interval(1,4))", [1, 2, 3]),
        ("choice(relu,gelu)", ["relu", "gelu"]),
        ("x,y", ["x", "y"]),
        ("null,0.1", ["null", "0.1"]),
        ("sort(choice(3,1,2))", ["1", "2", "3"]),
        ("choice([1,2],{b:1})", ["[1,2]", "{b:1}"]),
    ],
)
def test_each_form_means_its_values_and_the_stop_is_excluded(text, expected):
    found = values(text)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_values_that_are_equal_in_python_stay_apart():
    assert values("choice(1,true,1.0,'1')") == ["1", "true", "1.0", "'1'"]
    got = [parsed(one("choice(1,true,1.0,'1')").override(label)) for label in values("choice(1,true,1.0,'1')")]
    assert [(type(value), value) for value in got] == [(int, 1), (bool, True), (float, 1.0), (str, "1")]


def test_an_interval_ends_below_its_end():
    axis = one("tag(log,interval(1e-4,1e-1))")
    assert (axis.kind, axis.low, axis.high, axis.log, axis.num) == ("float", 1e-4, 1e-1, True, None)
    assert axis.ends == (1e-4, math.nextafter(1e-1, 0))
    assert one("int(tag(log,interval(1,10)))").ends == (1, 9)


def test_a_list_a_tag_and_a_glob_deal_each_value_equally_often():
    assert [one(text).grid for text in ("x,y", "tag(grid,range(1,4))", "choice(x,y)", "range(1,4)")] == [
        True,
        True,
        False,
        False,
    ]
    glob = one("glob(xgboost*)", "model")
    assert (glob.grid, glob.labels) == (True, ("xgboost", "xgboost_flights"))
    assert one("glob([m*,l*],exclude=linear)", "model").labels == ("mlp",)


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("a", "tag(loog,interval(1,2))", ["unknown tag 'loog'", "did you mean log"]),
        ("a", "rnge(1,2)", ["Unknown function 'rnge'", "did you mean range"]),
        ("a", "range(3,3)", ["empty", "stop is excluded"]),
        ("a", "range(1,9,0)", ["step that is not 0"]),
        ("a", "interval(2,1)", ["first below the second"]),
        ("a", "interval(1)", ["missing a required argument: 'end'"]),
        ("a", "tag(log,interval(0,1))", ["above 0"]),
        ("a", "tag(log,choice(1,2))", ["tag log"]),
        ("a", "tag(log,range(1,9,2))", ["step 1"]),
        ("a", "tag(grid,interval(0,1))", ["no grid", "choice()"]),
        ("a", "shuffle(choice(1,2))", ["shuffle()"]),
        ("a", "choice(1,1)", ["1 is there twice"]),
        ("a", "choice(x,'x')", ["x is there twice"]),
        ("a", "choice(null,1)", ["null,1"]),
        ("a", "5", ["one value", "choice(1,2)"]),
        ("a", "tag(log,xgboost,mlp)", ["Last argument to tag()", "choice()"]),
        ("é", "choice(1,2)", ["not a sweep", "'é'"]),
        ("a", "glob(*)", ["not a group"]),
        ("model", "glob(z*)", ["matches none of", "mlp"]),
        ("model", "choice(mlp,xgbost)", ["xgbost is not an option of group model", "did you mean xgboost"]),
        ("a", "tag(modle:mlp,choice(1,2))", ["'modle'", "not a group", "did you mean model"]),
        ("a", "tag(model:linaer,choice(1,2))", ["model:linaer", "did you mean linear"]),
        ("a", "tag(trainer:driver|ray_trian,choice(1,2))", ["ray_trian", "did you mean ray_train"]),
    ],
)
def test_what_is_wrong_is_said_with_the_axis_and_the_way_out(key, text, words):
    with pytest.raises(ConfigError) as error:
        one(text, key)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_all_problems_of_a_space_are_said_at_once():
    with pytest.raises(ConfigError) as error:
        read_axes({"a": "range(3,3)", "b": "tag(lgo,choice(1,2))"}, GROUPS)
    assert len(error.value.problems) == 2


def test_conditions_on_what_is_not_varied_are_settled():
    space = {"a": "tag(model:mlp,choice(1,2))", "b": "tag(model:xgboost|linear,choice(1,2))", "c": "choice(1,2)"}
    assert [axis.key for axis in read_axes(space, GROUPS)] == ["b", "c"]


def test_an_axis_that_no_sample_reaches_is_left_out_and_groups_come_first():
    space = {
        "a": "tag(model:mlp,choice(1,2))",
        "b": "tag(model:linear,choice(1,2))",
        "model": "choice(xgboost,mlp)",
    }
    assert [axis.key for axis in read_axes(space, GROUPS)] == ["model", "a"]


def test_options_that_begin_with_a_digit_are_conditions_as_any():
    groups = Groups(chosen={"model": "mlp"}, options={"model": ("2d", "mlp")})
    model, width = read_axes({"model": "2d,mlp", "a": "tag(model:2d,choice(1,2))"}, groups)
    assert (model.labels, width.when[0].options) == (("2d", "mlp"), ("2d",))


def test_a_dealt_axis_cannot_depend_on_a_drawn_one():
    with pytest.raises(ConfigError, match=r"choice\(\.\.\.\)"):
        read_axes({"model": "choice(xgboost,mlp)", "a": "tag(model:mlp,grid,choice(1,2))"}, GROUPS)
    axes = read_axes({"model": "xgboost,mlp", "a": "tag(model:mlp,grid,choice(1,2))"}, GROUPS)
    assert [axis.grid for axis in axes] == [True, True]


def test_conditions_in_a_circle_are_refused():
    with pytest.raises(ConfigError, match="circle"):
        read_axes(
            {"model": "tag(trainer:driver,choice(mlp,xgboost))", "trainer": "tag(model:mlp,choice(driver,ray_train))"}, GROUPS
        )


def test_a_command_line_is_told_apart_into_values_and_sweeps():
    lines = [
        "experiment=flights",
        "a=1,2",
        "b=[1,2]",
        "c='1,2'",
        "d=choice(1,2)",
        "e=rnage(1,2)",
        "f=",
        "~g",
        "h=f(1)",
        "i=range(1",
    ]
    found = split_overrides(lines)
    assert found.sweeps == ("a=1,2", "d=choice(1,2)", "e=rnage(1,2)")
    assert found.plain == tuple(line for line in lines if line not in found.sweeps)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
SCALAR = st.one_of(TEXT, st.integers(-(10**9), 10**9), st.floats(allow_nan=False), st.booleans())


def quoted(value) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\") if value.endswith("\\") or "\\'" in value else value
        return "'" + escaped.replace("'", "\\'") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


@settings(max_examples=60)
@given(st.lists(SCALAR, min_size=1, max_size=5, unique_by=lambda value: (type(value), str(value))))
def test_what_goes_into_a_choice_comes_out_of_its_overrides(items):
    lines = [f"a={quoted(item)}" for item in items]
    given_values = [parsed(line) for line in lines]
    axis = one(f"choice({','.join(quoted(item) for item in items)})")
    back = [parsed(axis.override(label)) for label in axis.labels]
    assert back == given_values
    assert [type(value) for value in back] == [type(value) for value in given_values]


@settings(max_examples=60)
@given(st.integers(-999, 999), st.integers(1, 40), st.integers(1, 300), st.integers(0, 4))
def test_a_range_of_decimals_is_exact_and_each_value_has_its_place(start, num, step, digits):
    unit = Decimal(1).scaleb(-digits)
    low, stop = start * unit, (start + num * step) * unit
    axis = one(f"range({low},{stop},{step * unit})")
    found = [axis.value(i) for i in range(axis.num)]
    assert found == [float((start + i * step) * unit) for i in range(num)]
    assert [axis.index(value) for value in found] == list(range(num))
    assert [parsed(axis.override(value)) for value in found] == found


def test_single_settings_are_put_in_as_hydra_composes_them():
    composition = Composition(job="train", fixed=("experiment=flights",))
    lines = ("model=mlp", "model.hidden_dims=[8,4]", "model.dropout=0.25", "split.zone='a b'", "model.learning_rate=1e-3")
    whole = Composition(job="train", fixed=(*composition.fixed, *lines))
    assert composition.compose(lines) == whole.compose()
    assert composition.compose() == Composition(job="train", fixed=composition.fixed).compose()


def test_sweeps_of_a_command_line_become_the_space_and_win_over_that_of_the_files(capsys):
    seen = []

    def search(run, record):
        command = record.composition.for_job("train", without="tune").command(("model.max_depth=3",))
        seen.append((run.tune.space, run.tune.num_trials, command))

    argv = ["experiment=flights", "tune.num_trials=3", "-m", "model.max_depth=range(3,9)", "model.subsample=0.5"]
    assert run_job("train", Experiment, refuse, argv, multirun=search) == 0
    [(space, num, command)] = seen
    assert (space["model.max_depth"], "model.subsample" in space, num) == ("range(3,9)", False, 3)
    assert command == "python jobs/train.py experiment=flights model.subsample=0.5 model.max_depth=3"
    assert run_job("train", Experiment, refuse, [*argv, "--cfg"], multirun=search) == 0
    assert "model.max_depth: range(3,9)" in capsys.readouterr().out


def refuse(run, record):
    raise AssertionError("the job itself was run")


@pytest.mark.parametrize(("searches", "words"), [(True, "raypipe train -m"), (False, "one value for each setting")])
def test_a_sweep_where_one_run_is_asked_for_is_refused(searches, words, capsys):
    argv = ["experiment=flights", "model.max_depth=range(3,9)"]
    assert run_job("train", Experiment, refuse, argv, multirun=refuse if searches else None) == 2
    assert words in capsys.readouterr().out
