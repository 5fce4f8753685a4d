"""The story a job tells on stderr: rich with bars on a terminal, plain lines otherwise."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

_PLAIN_SECONDS = 10.0
_PLAIN_WIDTH = 160
"""Columns of tables where there is no terminal to ask."""

console = Console(stderr=True, highlight=False, soft_wrap=True)
if not console.is_terminal:
    console.width = _PLAIN_WIDTH


def say(text: str) -> None:
    """One line of the story."""
    console.print(escape(text))


def headline(text: str) -> None:
    """The start of a step."""
    console.print(f"[bold cyan]{escape(text)}[/]")


def table(title: str, columns: list[str], rows: list[list[str]], *, text: Collection[str] = ()) -> None:
    """A small table; plain aligned text when not on a terminal. Columns are on the right but the first and those of `text`."""
    out = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
        fixed = width < max(widths)  # where there is no room, only the widest column is folded
        out.add_column(column, justify="left" if i == 0 or column in text else "right", no_wrap=fixed, overflow="fold")
    for row in rows:
        out.add_row(*(escape(cell) for cell in row))
    console.print(out)


class Bar:
    """Progress of one long step."""

    def __init__(self, progress: Progress | None, title: str, total: int) -> None:
        self._progress, self._title, self._total, self._done, self._num_rows = progress, title, total, 0, 0
        self._started_s = self._said_s = time.monotonic()
        self._has_spoken = False
        self._task = progress.add_task(title, total=total) if progress else None

    def advance(self, num_rows: int = 0) -> None:
        """One unit is done, with so many rows where they are counted."""
        self._done, self._num_rows, now_s = self._done + 1, self._num_rows + num_rows, time.monotonic()
        seconds = now_s - self._started_s
        pace = f"{self._num_rows / seconds:,.0f} rows/s" if self._num_rows and seconds else ""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=f"{self._title} {pace}")
        elif now_s - self._said_s >= _PLAIN_SECONDS or (self._has_spoken and self._done == self._total):
            self._said_s, self._has_spoken = now_s, True
            left = _left(seconds, self._done, self._total) if self._done < self._total else ""
            say(", ".join(filter(None, [f"  {self._title}: {self._done}/{self._total}", pace, left])))


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A progress bar on a terminal; otherwise a line every 10 s and the last one, and none where all is done before."""
    if not console.is_terminal:
        yield Bar(None, title, total)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, title, total)


class Live:
    """One line about work that says where it is, and may end before its last step."""

    def __init__(self, progress: Progress | None, title: str, total: int) -> None:
        self._progress, self._title, self._total = progress, title, total
        self._task = progress.add_task(title, total=total, note="") if progress else None
        self._first, self._started_s, self._said_s, self._unsaid = 0, 0.0, 0.0, ""

    def reach(self, done: int, note: str) -> None:
        """`done` steps are done, those of earlier runs among them."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)
            return
        now_s = time.monotonic()
        if not self._started_s:
            self._first, self._started_s = done, now_s
        new, seconds = done - self._first, now_s - self._started_s
        left = f", at most {_left(seconds, new, self._total - self._first)}" if new else ""
        self._unsaid = f"  {self._title}: {done}/{self._total}{left}, {note}"
        if now_s - self._said_s >= _PLAIN_SECONDS:
            self._said_s = now_s
            self.end()

    def end(self) -> None:
        """Say what was not said yet."""
        if self._unsaid:
            say(self._unsaid)
            self._unsaid = ""


@contextmanager
def live(title: str, total: int, *, plain: bool = False) -> Iterator[Live]:
    """A line that changes on a terminal; otherwise, or where `plain`, the first and the last state and one every 10 s."""
    if plain or not console.is_terminal:
        line = Live(None, title, total)
        try:
            yield line
        finally:
            line.end()
        return
    note = TextColumn("{task.fields[note]}")
    columns = (TextColumn("  {task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn(), note)
    with Progress(*columns, console=console, transient=True) as progress:
        yield Live(progress, title, total)


def _left(seconds: float, done: int, total: int) -> str:
    """How long it takes to the end at the pace so far."""
    left_s = int(seconds / done * (total - done))
    return f"{left_s // 60}:{left_s % 60:02d} left"
