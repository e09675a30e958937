import json
import warnings

import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from alutils.paths import NOTEBOOKS, PARAMS
from alutils.studies import parameter_files, profiles

FILES = sorted(NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))


def code_cells(file) -> list[dict]:
    cells = json.loads(file.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source(cell) -> str:
    return "".join(cell["source"])


DEFAULTS = {file.stem: parameter_files.defaults(file.stem) for file in FILES}
"""Read before any test runs, as in test_imports."""


def test_every_study_has_its_notebook():
    assert [file.stem for file in FILES] == sorted(profiles.STUDIES)


@pytest.mark.parametrize("name", ["second_guess", "second-guess"])
def test_the_name_of_an_own_strategy_stands_in_one_cell(name):
    """Where a change of it leaves out a place, a live kernel would take the function before."""
    cells = code_cells(NOTEBOOKS / "05-your-own-strategy.ipynb")
    assert sum(name in source(cell) for cell in cells) == 1


@pytest.mark.parametrize(
    ("notebook", "dataset"),
    [("02-cifar10-active-learning", "cifar10"), ("03-mnist-active-learning", "mnist")],
)
def test_an_own_strategy_finds_the_records_of_another_notebook_s_arms(notebook, dataset):
    file = PARAMS / "desktop" / f"{notebook}.yaml"
    given = parameter_files.read_file(file, notebook) | {"dataset": dataset}
    study = profiles.study_class("05-your-own-strategy").parse(
        DEFAULTS["05-your-own-strategy"] | given
    )
    assert study.cells() == profiles.load_study("desktop", notebook).cells()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
class TestNotebook:
    def test_its_title_is_its_first_heading(self, file):
        notebook = json.loads(file.read_text())
        heading = source(notebook["cells"][0]).splitlines()[0]
        assert heading == f"# {notebook['metadata']['title']}"

    def test_defaults_are_those_of_quick_or_of_the_profile_that_has_its_records(self, file):
        values = DEFAULTS[file.stem]
        homes = ("quick", "sensitivity", "desktop")
        home = next(name for name in homes if file.stem in profiles.notebooks(name))
        study = profiles.load_study(home, file.stem)
        who = (
            {"answers": study.answers} if file.stem.startswith("11-") else {}
        )  # no person is there in batch
        assert type(study).parse(values | who) == study and set(values) == set(
            type(study).model_fields
        )

    def test_it_is_kept_without_outputs_on_the_standard_kernel(self, file):
        assert json.loads(file.read_text())["metadata"]["kernelspec"]["name"] == "python3"
        assert all(c["outputs"] == [] and c["execution_count"] is None for c in code_cells(file))

    def test_cells_are_short_and_plain(self, file):
        for cell in code_cells(file):
            if "parameters" in cell["metadata"].get("tags", []):
                continue
            lines = source(cell).splitlines()
            assert len(lines) <= 10
            assert not any(line.lstrip().startswith(("%", "!")) for line in lines)
            assert "sys.path" not in source(cell) and "class " not in source(cell)

    def test_what_it_says_of_its_parameters_holds_for_a_run_that_was_given_others(self, file):
        """The cell that papermill then puts behind its own is told by how it begins."""
        notebook = json.loads(file.read_text())
        texts = [
            source(cell) for cell in notebook["cells"] if "lab" in cell["metadata"].get("tags", [])
        ]
        for told in [text for text in texts if "`params/" in text]:
            assert "the parameters in the next cell are those of `params/" in told
            assert "begins with `# Parameters` follows, and its values hold" in told
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_notebook_node(str(file))
            given = parameterize_notebook(loaded, {"profile": "other"}).cells
        own = next(i for i, c in enumerate(given) if "parameters" in c.metadata.get("tags", []))
        assert source(given[own + 1]).startswith("# Parameters\n")
        if any("next cell" in text for text in texts):
            assert "lab" in given[own - 1].metadata["tags"]
