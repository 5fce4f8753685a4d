"""The page of a search: its best, how it got there, each axis, and every trial; one self-contained HTML file."""

from collections.abc import Mapping, Sequence

from raypipe.pages import Html, document, figures_of, join, meter, row, table, tag
from raypipe.tune._importance import Importance, importance_of, where
from raypipe.tune._page_charts import Across, Point, plot
from raypipe.tune._records import AxisFacts, Search, Trial

_MAX_TRIALS = 200
_MAX_PLOTS = 24
_ERROR = 240


def render_search(search: Search, *, command: str, about: Mapping[str, str]) -> str:
    """The page as text: nothing is loaded from elsewhere, no script runs, no value can become markup.

    Args:
        search: What was tried.
        command: The line that trains the best again; empty when every trial failed.
        about: More facts, by their names.
    """
    main = tag(
        "main",
        _headline(search),
        _best(search, command),
        _history(search),
        _axes(search),
        _importance(search),
        _trials(search),
        _failed(search),
        _about(search, about),
        tag(
            "footer", "Written by raypipe. Scores are of validation rows: what a search chose is judged on test rows elsewhere."
        ),
    )
    return document(title=f"search {search.name}", main=main)


def ranked(search: Search) -> list[Trial]:
    """The trials, best first; those without a score last, in their order."""
    sign = 1.0 if search.mode == "min" else -1.0
    return sorted(search.trials, key=lambda t: (t.value is None, 0.0 if t.value is None else sign * t.value, t.number))


def best_so_far(search: Search) -> list[tuple[int, float]]:
    """Number of the trial and the best score up to it, for every trial with a score."""
    found: list[tuple[int, float]] = []
    better = min if search.mode == "min" else max
    for trial in search.trials:
        if trial.value is not None:
            found.append((trial.number, better(trial.value, found[-1][1]) if found else trial.value))
    return found


def words_of(axis: AxisFacts) -> str:
    """The values of an axis in words: "3 to 8", "0.02 to 0.3, log", "a, b"."""
    if axis.kind == "choice":
        return ", ".join(axis.labels)
    return f"{value_of(axis.low)} to {value_of(axis.high)}{', log' if axis.log else ''}"


def value_of(value: object) -> str:
    """A sampled value for people: floats with four digits; a dash where the trial had no such axis."""
    return "\u2013" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _headline(search: Search) -> Html:
    counts = {word: sum(t.status == word for t in search.trials) for word in ("finished", "stopped", "failed", "interrupted")}
    said = [f"{num} {'stopped early' if word == 'stopped' else word}" for word, num in counts.items() if num]
    kept = f"{search.num_kept} taken over from an earlier run" if search.num_kept else ""
    steps = sum(t.steps for t in search.trials)
    worked = sum(t.seconds for t in search.trials)
    value = search.best.value if search.best is not None else None
    tiles = [
        (
            "Best " + search.metric.replace("_", " "),
            figures_of(value),
            "" if search.best is None else f"trial {search.best.number}",
        ),
        ("Trials", str(len(search.trials)), ", ".join(said)),
        ("Seconds", f"{search.seconds:,.0f}", f"{worked:,.0f} s of trials" + (f", {kept}" if kept else "")),
        ("Steps", f"{steps:,}", "epochs or boosting rounds"),
    ]
    drawn = [_tile(*texts, first=" first" if i == 0 else "") for i, texts in enumerate(tiles)]
    return tag("header", tag("h1", search.name, tag("small", " search")), tag("div", *drawn, class_="tiles"))


def _tile(name: str, value: str, note: str, *, first: str) -> Html:
    parts = [tag("div", text, class_=kind) for text, kind in ((name, "name"), (value, "value"), (note, "note")) if text]
    return tag("div", *parts, class_=f"tile{first}")


def _best(search: Search, command: str) -> Html:
    if search.best is None:
        return tag("p", tag("b", "failed"), "No trial has a score.", class_="verdict hold")
    return join(
        tag("h2", "The best"), tag("p", "This line trains it again, or finds it trained:"), tag("p", tag("code", command))
    )


def _history(search: Search) -> Html:
    if not best_so_far(search):
        return Html("")
    last = max(1, *(t.number for t in search.trials))
    across = Across(title="trial", low=min(t.number for t in search.trials), high=last)
    points = [_point(search, t, float(t.number)) for t in search.trials]
    line = [(float(number), value) for number, value in best_so_far(search)]
    drawn = plot(points, across, upright=search.metric, mode=search.mode, line=line)
    caption = "The line is the best so far. Hollow: stopped early, or without a score, which are at the edge of the worst."
    return join(tag("h2", "How it went"), tag("div", _figure("Every trial", drawn, caption), class_="figures"))


def _figure(title: str, drawn: Html, caption: str) -> Html:
    return tag("figure", tag("h3", title), drawn, tag("figcaption", caption))


def _point(search: Search, trial: Trial, x: float) -> Point:
    best = search.best is not None and trial.number == search.best.number
    style = "best" if best else "finished" if trial.status == "finished" else "faint"
    return Point(x=x, y=trial.value, title=f"trial {trial.number}: {_score(trial)}, {', '.join(trial.overrides)}", style=style)


def _score(trial: Trial) -> str:
    return trial.status if trial.value is None else f"{trial.value:.6g}"


def _axes(search: Search) -> Html:
    drawn = [_axis_figure(search, axis) for axis in search.axes[:_MAX_PLOTS]] if best_so_far(search) else []
    rows = [row(tag("code", a.name), words_of(a), where(a.when)) for a in search.axes]
    more = f" Plots of the first {_MAX_PLOTS}." if len(search.axes) > _MAX_PLOTS else ""
    return join(
        tag("h2", "The axes"),
        table(("Setting", "Values", "Only where"), rows),
        tag("p", f"Each plot is one axis and all trials that had it.{more}", class_="muted") if drawn else Html(""),
        tag("div", *drawn, class_="figures"),
    )


def _axis_figure(search: Search, axis: AxisFacts) -> Html:
    trials = [t for t in search.trials if axis.name in t.sample]
    if axis.low is None or axis.high is None:
        places = {label: float(i) for i, label in enumerate(axis.labels)}
        across = Across(title=axis.name, low=-0.5, high=len(places) - 0.5, labels=axis.labels)
        points = [_point(search, t, places[t.sample[axis.name]]) for t in trials]
    else:
        across = Across(title=axis.name, low=axis.low, high=axis.high, log=axis.log)
        points = [_point(search, t, float(t.sample[axis.name])) for t in trials]
    caption = f"Only where {where(axis.when)}." if axis.when else ""
    return _figure(axis.name, plot(points, across, upright=search.metric, mode=search.mode), caption)


def _importance(search: Search) -> Html:
    return join(tag("h2", "What matters"), *map(_importance_part, importance_of(search)))


def _importance_part(found: Importance) -> Html:
    title = tag("h3", f"Where {found.where}" if found.where else "Over all trials")
    if not found.shares:
        return join(title, tag("p", f"Not said: {found.too_few}.", class_="muted"))
    rows = [
        row(
            tag("code", name),
            f"{100 * share:.0f} %",
            meter(share),
            "" if share > found.chance else "no more than chance",
            numbers=frozenset({1}),
        )
        for name, share in found.shares.items()
    ]
    about = (
        f"Share of what differs in the ranks of {found.num_trials} trials that each axis explains by itself (fANOVA); "
        f"an axis of random numbers gets {100 * found.chance:.0f} %. What is missing from 100 % is explained by axes together."
    )
    return join(title, tag("p", about, class_="muted"), table(("Setting", "Share", "", ""), rows, numbers=frozenset({1})))


def _trials(search: Search) -> Html:
    names = [axis.name for axis in search.axes]
    heads = ("Trial", search.metric, "", "Steps", "Best step", "Seconds", *(tag("code", name) for name in names))
    numbers = frozenset({0, 1, 3, 4, 5, *range(6, 6 + len(names))})
    shown = ranked(search)[:_MAX_TRIALS]
    rows = [_trial_row(search, trial, names, numbers) for trial in shown]
    more = f" The best {_MAX_TRIALS} of {len(search.trials)}." if len(search.trials) > _MAX_TRIALS else ""
    return join(tag("h2", "Trials"), tag("p", f"Best first.{more}", class_="muted"), table(heads, rows, numbers=numbers))


def _trial_row(search: Search, trial: Trial, names: Sequence[str], numbers: frozenset[int]) -> Html:
    best = search.best is not None and trial.number == search.best.number
    value = "\u2013" if trial.value is None else f"{trial.value:.5f}"
    status = "stopped early" if trial.status == "stopped" else trial.status
    facts = (
        str(trial.number),
        value,
        tag("span", status, class_="line"),
        str(trial.steps),
        str(trial.best_step),
        f"{trial.seconds:,.1f}",
    )
    cells = (*facts, *(value_of(trial.sample.get(name)) for name in names))
    return row(*cells, numbers=numbers, class_="main" if best else "")


def _failed(search: Search) -> Html:
    failed = [trial for trial in search.trials if trial.error]
    if not failed:
        return Html("")
    rows = [row(str(t.number), tag("code", " ".join(t.overrides)), _cut(t.error or "")) for t in failed[:_MAX_TRIALS]]
    heads = ("Trial", "Settings", "Error")
    return join(tag("h2", f"Failed: {len(failed)} of {len(search.trials)} trials"), table(heads, rows, numbers=frozenset({0})))


def _cut(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= _ERROR else f"{one[:_ERROR]}\u2026"


def _about(search: Search, about: Mapping[str, str]) -> Html:
    pairs = {**about, "Records": search.uri}
    items = [part for label, value in pairs.items() for part in (tag("dt", label), tag("dd", tag("code", value)))]
    return join(tag("h2", "The search"), tag("dl", *items))
