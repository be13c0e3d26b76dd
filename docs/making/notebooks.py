"""Runs the notebooks of `examples/notebooks`, and makes pages of what came of it.

    python -m docs.making.notebooks               # those that are not run, or were changed; minutes
    python -m docs.making.notebooks quickstart    # these, anew

The repository keeps them without outputs; what was run lies in `build/notebooks`. Cells run in
this process, as plain Python: what a cell ends with is shown as Jupyter shows it, by its
`_repr_html_` or `_repr_png_`. So nothing of Jupyter is needed, and cells must not use commands of
its own (`%`, `!`).
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import copy
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docs.making.algorithms import table, write
from docs.making.facts import ROOT

NOTEBOOKS = ROOT / "examples" / "notebooks"
RUN = ROOT / "build" / "notebooks"
ORDER = ("quickstart", "which_algorithm", "many_channels")
PARAMETERS = "parameters"  # the tag of the cell that sets sizes
_NOT_RUN = "*Shown as it is stored, without what comes out of it: `make notebooks` runs it.*"
# Links of a notebook, and where they lead from its page.
_LINKS = {
    r"\]\(\.\./\.\./docs/notes/(\w+)\.md": r"](../algorithms/\1.md",
    r"\]\(\.\./\.\./docs/": "](../",
    r"\]\((\w+)\.ipynb": r"](\1.md",
}


def read(file: Path) -> dict[str, Any]:
    """A notebook, as its file has it."""
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def source_of(cell: Mapping[str, Any]) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def run(notebook: Mapping[str, Any], settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Runs the cells one after the other, in the folder where this process is.

    Args:
        notebook: As `read` gives it.
        settings: Values instead of those that the cell tagged "parameters" gives its names.

    Returns:
        A copy with outputs.

    Raises:
        RuntimeError: If a cell fails; it says which.
        ValueError: If the cell of parameters does not set a name of `settings`.
    """
    made = copy.deepcopy(dict(notebook))
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(_code(made), 1):
        try:
            cell["outputs"] = _outputs(source_of(cell), names, number)
        except Exception as error:
            raise RuntimeError(f"cell {number} fails:\n{source_of(cell)}") from error
        cell["execution_count"] = number
        if settings and PARAMETERS in cell["metadata"].get("tags", ()):
            if unknown := set(settings) - set(names):
                raise ValueError(f"the cell of parameters does not set {sorted(unknown)}")
            names.update(settings)
    return made


def _code(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What a cell writes, and what it ends with."""
    body = ast.parse(source, f"cell {number}").body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
        exec(compile(ast.Module(body, []), f"cell {number}", "exec"), names)
        shown = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
            shown = None if value is None else _shown(value, number)
    text = _here(written.getvalue())
    stream = {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
    return [*([stream] if text else []), *([shown] if shown else [])]


def _here(text: str) -> str:
    """Text without the folder in which it was run: that is a temporary one."""
    return text.replace(f"{os.getcwd()}{os.sep}", "")


def _shown(value: Any, number: int) -> dict[str, Any]:
    """A value as Jupyter shows it: as HTML or as a picture where it can be, else as text."""
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if (as_html := getattr(value, "_repr_html_", None)) and (text := as_html()) is not None:
        data["text/html"] = _here(text).splitlines(keepends=True)
    elif as_png := getattr(value, "_repr_png_", None):
        content, metadata["image/png"] = as_png()
        data["image/png"] = base64.b64encode(content).decode("ascii")
    else:
        data["text/plain"] = repr(value).splitlines(keepends=True)
    return {
        "output_type": "execute_result",
        "execution_count": number,
        "data": data,
        "metadata": metadata,
    }


def page(name: str, notebook: Mapping[str, Any]) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page in Markdown.

    Args:
        name: Of the notebook.
        notebook: With outputs, or without.

    Returns:
        The page, and the pictures on it by the names of their files.
    """
    title, *rest = notebook["cells"]
    heading, _, about = _led(source_of(title)).partition("\n")
    file = f"../../{(NOTEBOOKS / f'{name}.ipynb').relative_to(ROOT).as_posix()}"
    parts = [heading, f"The notebook: {{download}}`{name}.ipynb <{file}>`."]
    if not any(cell["outputs"] for cell in _code(notebook)):
        parts.append(_NOT_RUN)
    parts.append(about.strip())
    pictures: dict[str, bytes] = {}
    for cell in rest:
        text = source_of(cell)
        if cell["cell_type"] == "markdown":
            parts.append(_led(text))
            if headings := re.findall(r"^#+ (.+)$", text, re.MULTILINE):
                heading = headings[-1]
            continue
        parts.append(_fenced("python", text))
        for output in cell["outputs"]:
            data = output.get("data", {})
            if output["output_type"] == "stream":
                parts.append(_fenced("text", "".join(output["text"])))
            elif "text/html" in data:
                parts.append(_fenced("{raw} html", "".join(data["text/html"])))
            elif "image/png" in data:
                picture = f"{name}-{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode(data["image/png"])
                alt = f"{heading.lstrip('# ')}: what the cell above draws"
                width = output["metadata"]["image/png"]["width"]
                parts.append(f"```{{image}} {picture}\n:alt: {alt}\n:width: {width}px\n```")
            else:
                parts.append(_fenced("text", "".join(data["text/plain"])))
    return "\n\n".join(part for part in parts if part) + "\n", pictures


def _led(text: str) -> str:
    """The text of a cell with links that lead from its page."""
    for link, other in _LINKS.items():
        text = re.sub(link, other, text)
    return text


def _fenced(kind: str, text: str) -> str:
    """A block that no line of the text ends."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{kind}\n{text.rstrip()}\n{fence}"


def done(name: str) -> dict[str, Any] | None:
    """What came of a notebook as it is now; None if that is not known."""
    if not (RUN / f"{name}.ipynb").is_file():
        return None
    found = read(RUN / f"{name}.ipynb")
    now = read(NOTEBOOKS / f"{name}.ipynb")
    is_same = list(map(source_of, found["cells"])) == list(map(source_of, now["cells"]))
    return found if is_same else None


def write_pages(folder: Path) -> None:
    """Writes a page for each notebook, and one that lists them.

    Args:
        folder: Where they go, pictures beside them; what else there is goes.
    """
    pages, pictures, rows = {}, {}, []
    for name in ORDER:
        pages[name], drawn = page(name, done(name) or read(NOTEBOOKS / f"{name}.ipynb"))
        pictures.update(drawn)
        rows.append([f"[{pages[name].partition(chr(10))[0].lstrip('# ')}]({name}.md)"])
    pages["index"] = (
        "# Notebooks\n\nThey run as they are, on photographs that a package ships, in a few "
        "minutes and without a download. The first cell sets sizes; then take your own images.\n\n"
        + table(["notebook"], rows)
        + "\n```{toctree}\n:hidden:\n\n"
        + "\n".join(ORDER)
        + "\n```\n"
    )
    write(folder, pages)
    for former in folder.glob("*.png"):
        if former.name not in pictures:
            former.unlink()
    for picture, content in pictures.items():
        (folder / picture).write_bytes(content)


def main() -> None:
    """Runs what is asked for, or what is not run yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of notebooks, run anew")
    names = parser.parse_args().names
    RUN.mkdir(parents=True, exist_ok=True)
    for name in names or [each for each in ORDER if done(each) is None]:
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                made = run(read(NOTEBOOKS / f"{name}.ipynb"))
            finally:
                os.chdir(before)
        text = json.dumps(made, indent=1, ensure_ascii=False)
        (RUN / f"{name}.ipynb").write_text(text + "\n", encoding="utf-8")
        print(f"run: build/notebooks/{name}.ipynb", flush=True)


if __name__ == "__main__":
    main()
