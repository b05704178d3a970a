"""Tutorials: scripts of cells (``# %%``) become notebooks that have run, and pages that show them.

A cell that fails, fails the build. Each page offers its notebook, with its outputs, to download. One process runs all
tutorials, since most of a fresh one's time goes into imports; each begins without the names of those before it.
"""

from __future__ import annotations

import base64
import re
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from jupyter_client.manager import AsyncKernelManager
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

SECONDS = 120  #: a cell that takes longer has gone wrong
_LATER = ("text/html", "image/png", "text/plain")  #: the forms of an output, the best first
_COLUMNS = 88  #: that a block of output has room for
_STYLE = re.compile(r"<style.*?</style>", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace each script in ``tutorials/`` by its page, its figures and its notebook."""
    kernel = AsyncKernelManager()
    for script in [file for file in files if file.src_uri.startswith("tutorials/") and file.src_uri.endswith(".py")]:
        name = script.src_uri.removesuffix(".py")
        notebook = run(Path(script.abs_src_path or ""), kernel)
        page, figures = as_page(notebook, Path(name).name)
        files.remove(script)
        files.append(File.generated(config, f"{name}.md", content=page))
        files.append(File.generated(config, f"{name}.ipynb", content=nbformat.writes(notebook)))
        for figure, content in figures.items():
            files.append(File.generated(config, f"tutorials/{figure}", content=content))
    return files


def run(script: Path, kernel: AsyncKernelManager) -> nbformat.NotebookNode:
    """Run the cells of a script in a new folder, in a kernel that may have run others, and return what they show."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with TemporaryDirectory() as folder:
        # `%reset` forgets names and outputs; the counter of the cells is then that of a fresh kernel again
        fresh = f"%reset -sf\nimport os; os.chdir({folder!r}); del os\nget_ipython().execution_count = -1"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(fresh))
        client = NotebookClient(notebook, kernel, timeout=SECONDS, extra_arguments=["--log-level=ERROR"])
        client.execute()
        del notebook.cells[0]
    return notebook


def as_page(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its figures by the name under which the page shows them."""
    parts, figures = [], dict[str, bytes]()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            shown = {"text/plain": output.text} if output.output_type == "stream" else output.data
            form = next(form for form in _LATER if form in shown)
            if form == "image/png":
                figure = f"{name}-{len(figures) + 1}.png"
                figures[figure] = base64.b64decode(shown[form])
                parts.append(f"![what this cell draws]({figure})")
            elif form == "text/html":
                parts.append(f'<div class="output">{_without_blank_lines(shown[form])}</div>')
            else:
                parts.append(f"```text\n{_narrow(shown[form])}\n```")
    title, *rest = parts
    download = f"[Download this page as a notebook]({name}.ipynb){{ .download }}"
    return "\n\n".join([title, *rest, download]) + "\n", figures


def _narrow(text: str) -> str:
    """Break lines that are wider than the page, such as a sentence to quote."""
    return "\n".join(
        textwrap.fill(line, _COLUMNS) if len(line) > _COLUMNS else line for line in text.rstrip().splitlines()
    )


def _without_blank_lines(html: str) -> str:
    """A blank line would end the block of HTML in Markdown; a style of its own would miss the dark page."""
    return "\n".join(line for line in _STYLE.sub("", html).splitlines() if line.strip())
