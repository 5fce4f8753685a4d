"""What a job says where there is no terminal: tables that keep their columns, and no line of what takes no time."""

import io

import pytest
from rich.console import Console

from raypipe.core import console


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=out, width=80, soft_wrap=True))
    return out


def test_only_the_widest_column_gives_way(said: io.StringIO) -> None:
    console.table("steps", ["step", "seconds", "why"], [["train-xgboost", "12.5", "a reason " * 30]], text=("why",))
    lines = said.getvalue().splitlines()
    assert "train-xgboost │    12.5 │ a reason" in lines[3]
    assert said.getvalue().count("reason") == 30
    assert max(map(len, lines)) <= 80


def test_work_that_takes_no_time_says_nothing_and_long_work_its_end(said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now_s)
    for seconds, expected in ((0.1, []), (4.0, ["  fit: 3/4, 0:04 left", "  fit: 4/4"])):
        said.truncate(0)
        said.seek(0)
        with console.bar("fit", 4) as bar:
            for _ in range(4):
                now_s += seconds
                bar.advance()
        assert said.getvalue().splitlines() == expected


def test_long_work_over_rows_says_its_pace(said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now_s)
    with console.bar("score", 30) as bar:
        for _ in range(30):
            now_s += 5.0
            bar.advance(num_rows=10_000)
    first, *_, last = said.getvalue().splitlines()
    assert first == "  score: 2/30, 2,000 rows/s, 2:20 left"
    assert last == "  score: 30/30, 2,000 rows/s"
