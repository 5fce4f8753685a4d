"""The story a job tells on stderr: rich with bars on a terminal, plain lines otherwise."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

_PLAIN_LINES = 3
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
    for i, column in enumerate(columns):
        out.add_column(column, justify="left" if i == 0 or column in text else "right", no_wrap=True)
    for row in rows:
        out.add_row(*(escape(cell) for cell in row))
    console.print(out)


class Bar:
    """Progress of one long step."""

    def __init__(self, progress: Progress | None, title: str, total: int) -> None:
        self._progress, self._title, self._total, self._done = progress, title, total, 0
        self._task = progress.add_task(title, total=total) if progress else None

    def advance(self, num: int = 1, note: str = "") -> None:
        """`num` more units are done."""
        self._done += num
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=num, description=f"{self._title} {note}")
        elif self._done == self._total or self._done % max(1, self._total // _PLAIN_LINES) == 0:
            say(f"  {self._title}: {self._done}/{self._total} {note}".rstrip())


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A progress bar on a terminal, about five plain lines otherwise."""
    if not console.is_terminal:
        yield Bar(None, title, total)
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress, title, total)
