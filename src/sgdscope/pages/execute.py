"""Executing a page: notebook source in, executed notebook out, by papermill in a kernel of its own."""

from __future__ import annotations

import json
import os
import resource
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

from sgdscope import paths
from sgdscope.errors import InvalidInput, SgdscopeError
from sgdscope.pages.page import Page
from sgdscope.pages.table import parameters_markdown
from sgdscope.runs import progress


class ExecutionFailed(SgdscopeError):
    """A cell raised; the notebook is kept up to it."""


def environment(page: Page, scale: str, values: dict[str, Any]) -> dict[str, str]:
    """What an executed page finds in its environment: name, scale and parameters for its cards, our terminal, one thread, no colour codes."""
    return {
        "SGDSCOPE_PAGE": page.name,
        "SGDSCOPE_SCALE": scale,
        "SGDSCOPE_PARAMETERS": json.dumps(values),
        progress.TERMINAL: progress.terminal_path(),
        "NO_COLOR": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    }


def execute(page: Page, scale: str, values: dict[str, Any], output: Path, *, label: str | None = None) -> Path:
    """Execute a page with these parameter values and write the notebook with its outputs.

    Args:
        page: the page.
        scale: its scale, for the environment.
        values: all its parameters.
        output: the executed notebook; written cell by cell, so that a killed execution leaves what it had.
        label: scale named on the page if another than ``scale`` (``custom`` after changed parameters).

    Raises:
        InvalidInput: the output cannot be written.
        ExecutionFailed: a cell raised; says which, and where the notebook is.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    changed = {name: value for name, value in values.items() if value != page.parameters[name].default}
    notebook = deepcopy(page.notebook)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["sgdscope"] = {"page": page.name, "scale": label or scale}
    notebook.metadata.pop("jupytext", None)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.open("a").close()
    except OSError as error:
        raise InvalidInput(f"the notebook cannot be written to {output} ({error.strerror}); give another file.") from error
    needed = environment(page, label or scale, values)
    before = {name: os.environ.get(name) for name in needed}
    os.environ |= needed
    used = _children_cpu()
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / f"{page.file.stem}.ipynb"
            nbformat.write(notebook, source)
            papermill.execute_notebook(
                source,
                output,
                parameters=changed,
                cwd=paths.repository(),
                kernel_name="python3",
                progress_bar=False,
                start_timeout=300,  # s; a busy machine takes its time
                # No open ports; a name of its own, or two pages executed side by side would meet in one socket.
                config=Config({"KernelManager": {"transport": "ipc", "ip": str(Path(folder) / "kernel")}}),
            )
    except PapermillExecutionError as error:
        raise ExecutionFailed(
            f"{page.name}: cell {error.exec_count} raised {error.ename}: {error.evalue}\nThe notebook up to there: {output}"
        ) from None
    except DeadKernelError:
        raise ExecutionFailed(
            f"{page.name}: its kernel died, killed from outside or for want of memory.\nThe notebook up to there: {output}"
        ) from None
    finally:
        for name in needed:
            del os.environ[name]
        os.environ |= {name: value for name, value in before.items() if value is not None}
    executed = nbformat.read(output, as_version=4)
    executed.metadata["sgdscope"]["cpu_seconds"] = _children_cpu() - used
    _show_parameters(executed, page, values)
    nbformat.write(executed, output)
    return output


def _show_parameters(notebook: nbformat.NotebookNode, page: Page, values: dict[str, Any]) -> None:
    """Put a table of all values in force in the place of the parameters cell, which stays in the file (nbval needs it) and off the page."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags or "parameters" in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
    at = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(at, nbformat.v4.new_markdown_cell(parameters_markdown(page, values)))


def _children_cpu() -> float:
    """CPU time (s) of all child processes that have ended: after an execution, of its kernel."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
