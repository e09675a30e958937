import nbformat
import pytest
from nbclient import NotebookClient

from alutils.records.store import Store
from alutils.running.progress import Progress, duration
from tests.records.test_records import rounds

TALK = """
from alutils.running.progress import Live, progress_reporter
with progress_reporter(None) as say:
    for i in range(20):
        say(f"line {i}")
    if isinstance(say, Live):
        say.advance(0.5)
"""


def outputs(monkeypatch, session: str | None) -> list[dict]:
    """What a notebook shows of a run that speaks, in JupyterLab or elsewhere."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if session:
        monkeypatch.setenv("JPY_SESSION_NAME", session)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(TALK)])
    return NotebookClient(notebook, timeout=60).execute().cells[0].outputs


def test_elsewhere_a_run_speaks_in_plain_lines(monkeypatch):
    (stream,) = outputs(monkeypatch, None)
    assert stream["text"].splitlines() == [f"line {i}" for i in range(20)]


def test_in_jupyterlab_a_bar_and_the_last_line_are_left(monkeypatch):
    bar, text = outputs(monkeypatch, "03.ipynb")
    assert "<progress" in bar["data"]["text/html"] and "value='500'" in bar["data"]["text/html"]
    assert text["data"] == {"text/plain": "line 19"}


def test_a_training_that_several_cells_share_counts_once(digits_cell, outputs):
    store, cells = Store("test"), [digits_cell(arm=arm) for arm in ("random", "margin", "kmeans")]
    progress = Progress(cells, store, lambda line: None)
    first, *later = cells[0].steps()
    assert progress.left == first + 3 * sum(later)
    for cell in cells:
        done = rounds(1)[0] | {"steps": first, "heldout_accuracy": []}
        progress.round(cell, {"rounds": [done], "status": "running"}, len(cells))
    assert progress.done == pytest.approx(first) and progress.left == pytest.approx(3 * sum(later))


def test_what_another_run_finishes_is_not_left(digits_cell, outputs):
    store, lines = Store("test"), []
    cells = [digits_cell(rounds=1, seed=seed) for seed in range(3)]
    progress = Progress(cells, store, lines.append)
    (steps,) = cells[0].steps()
    assert (progress.finished, progress.left) == (0, 3 * steps)
    progress.elsewhere(cells[1:])
    assert progress.left == steps
    done = rounds(1)[0] | {"steps": steps, "heldout_accuracy": []}
    progress.round(cells[0], {"rounds": [done], "status": "finished"})
    assert lines[0].endswith("3/3 cells  0 min left")


def test_a_step_of_the_small_stem_counts_as_what_it_costs(digits_cell, outputs):
    store, cells = Store("test"), [digits_cell(rounds=1), digits_cell(rounds=1, stem="3x3")]
    lines: list[str] = []
    progress = Progress(cells, store, lines.append)
    (steps,) = cells[0].steps()
    assert progress.left == 16 * steps
    progress.start -= 60
    done = rounds(1)[0] | {"steps": steps, "heldout_accuracy": []}
    progress.round(cells[0], {"rounds": [done], "status": "finished"})
    assert lines[0].endswith("1/2 cells  15 min left")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 min"), (89, "1 min"), (3600, "1 h 00 min"), (7_530, "2 h 06 min")],
)
def test_a_duration_is_hours_and_minutes(seconds, expected):
    assert duration(seconds) == expected
