"""A hash of all that a report is made from: while it is the same, the report isn't made again."""

import hashlib
import json
import tempfile
from contextlib import suppress
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from alutils.paths import NOTEBOOKS, PACKAGE, ROOT, outputs
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import Parameters
from alutils.records.record import diverged
from alutils.records.store import Store
from alutils.studies.claims.ablation import AblationStudy
from alutils.studies.claims.plan import ClaimsStudy

EXCLUDED_PARAMETERS = {"workers", "cells_per_gpu", "scheduler", "train"}
"""Parameters that don't affect a report."""


def fingerprint(name: str, study: Parameters, hashed: str = "") -> str:
    """Hash of the records of a notebook's cells, and of all else that its report is made from.

    ``hashed`` is an earlier value of ``all_else``, which is otherwise computed now.
    """
    digest = hashlib.sha256((hashed or all_else(name, study)).encode())
    for cell, store in _read_by(study):
        digest.update(f"{cell.name} {store.facts(cell).checksum or 'none'}".encode())
    return digest.hexdigest()


def all_else(name: str, study: Parameters) -> str:
    """Hash of all that a report is made from, except what its notebook's run writes.

    That is its ``sources``, files, and the records of other studies that it covers. Of these, only
    finished ones count by their content: of the others, a report shows just the number.
    """
    digest = hashlib.sha256(sources(name, study).encode())
    for each in study.related():
        store = Store(each.profile)
        for cell in each.cells():
            facts = store.facts(cell)
            finished = facts.checksum if facts.status == "finished" else ""
            digest.update(f"{cell.name} {facts.status} {finished}".encode())
    for file in study.files():
        digest.update(file.read_bytes() if file.exists() else b"none")
    return digest.hexdigest()


def sources(name: str, study: Parameters) -> str:
    """Hash of the code, notebook and parameters that a report is made from.

    The code is what the notebook imports, directly or not, the page that it is rendered in, and the
    files beside the notebook, which may hold a user's strategies. The parameters include those of
    the other studies that the report covers; of studies that share trainings with it, the cells
    count.
    """
    digest = hashlib.sha256()
    code = imported_files(NOTEBOOKS / f"{name}.ipynb")
    for file in [*code, *sorted(NOTEBOOKS.glob("**/*.py"))]:
        digest.update(file.read_bytes())
    digest.update((NOTEBOOKS / f"{name}.ipynb").read_bytes())
    for each in (study, *study.related()):
        digest.update(each.model_dump_json(exclude=EXCLUDED_PARAMETERS).encode())
    if PACKAGE / "studies" / "overlap.py" in code:
        from alutils.studies import overlap

        for cells in overlap.others(study.profile, name).values():
            digest.update("".join(cell.name for cell in cells).encode())
    return digest.hexdigest()


def imported_files(notebook: Path) -> list[Path]:
    """Files of the package that a notebook imports, directly or not, sorted by name.

    With ``strategies/own.py``, every strategy is among them, as that imports them by name.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code = "\n".join(map(_python, sources))
    finder = ModuleFinder(path=[str(ROOT)])
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "notebook.py"
        script.write_text(f"import alutils.reporting.page\n{code}", encoding="utf-8")
        finder.run_script(str(script))
    files = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    files |= set((PACKAGE / "reporting" / "templates").rglob("*.*"))
    if PACKAGE / "strategies" / "own.py" in files:
        files |= set((PACKAGE / "strategies").glob("*.py"))
    return sorted(file for file in files if file.is_relative_to(PACKAGE))


def _python(source: str) -> str:
    """A cell as Python: magics as calls, and the body of a cell magic also as code."""
    from IPython.core.inputtransformer2 import TransformerManager

    python = TransformerManager().transform_cell
    first, _, below = source.partition("\n")
    code = python(source)
    if first.startswith("%%"):
        with suppress(SyntaxError):  # it may be in another language
            compile(python(below), "cell", "exec")
            code += python(below)
    return code


def _read_by(study: Parameters) -> list[tuple[Cell, Store]]:
    """The cells that a notebook reads, with their stores; the audit reads the ablation's too."""
    studies = [study, AblationStudy()] if isinstance(study, ClaimsStudy) else [study]
    return [(cell, Store(s.profile)) for s in studies for cell in s.cells()]


def is_current(name: str, study: Parameters) -> bool:
    """Whether a report shows every cell, and was made from the current sources and records.

    A cell that diverged counts as shown.
    """
    file = outputs() / study.profile / f"{name}.ipynb"
    if not file.with_suffix(".html").exists():
        return False
    facts = kept_report(file).get("metadata", {}).get("alutils", {})
    facts_of = Store(study.profile).facts
    ended = all(
        facts_of(cell).status == "finished" or diverged(facts_of(cell).record)
        for cell in study.cells()
    )
    return ended and facts.get("fingerprint") == fingerprint(name, study)


def kept_report(file: Path) -> dict[str, Any]:
    """A kept report's notebook; empty if there is none or it is damaged."""
    import nbformat

    try:
        return nbformat.read(file, as_version=4)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, nbformat.ValidationError):
        return {}
