"""Run the cells of a notebook as Jupyter would, and store what they give.

```text
python run_notebook.py               run features.ipynb and store its outputs
```

Kept are what a cell prints and the value of its last expression, as text and, for data frames, as HTML: nothing that
differs from one run to the next. Jupyter itself is not needed.
"""

import ast
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parent / "features.ipynb"
Output = dict[str, Any]


def load(path: Path) -> dict[str, Any]:
    """The notebook, in Jupyter's format 4."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def outputs_of(notebook: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Output]]]:
    """Each code cell and what it gives now; cells see the names of those before them."""
    names: dict[str, Any] = {"__name__": "__notebook__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code, start=1):
        yield cell, _run("".join(cell["source"]), names, count)


def main() -> int:
    """Run and store."""
    sys.path.insert(0, str(NOTEBOOK.parent))
    notebook = load(NOTEBOOK)
    for count, (cell, outputs) in enumerate(outputs_of(notebook), start=1):
        cell["execution_count"], cell["outputs"] = count, outputs
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _run(source: str, names: dict[str, Any], count: int) -> list[Output]:
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"<cell {count}>", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"<cell {count}>", "eval"), names)
    outputs: list[Output] = []
    if printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())})
    if value is not None:
        data = {"text/plain": _lines(repr(value))}
        if hasattr(type(value), "_repr_html_"):
            data["text/html"] = _lines(value._repr_html_())
        outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    raise SystemExit(main())
