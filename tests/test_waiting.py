import io

import pytest

from alutils.waiting import bar


@pytest.mark.parametrize(("notebook", "shown"), [("/my/notebook.ipynb", True), (None, False)])
def test_a_bar_is_shown_in_jupyterlab_and_not_in_a_log(notebook, shown, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if notebook:
        monkeypatch.setenv("JPY_SESSION_NAME", notebook)
    log = io.StringIO()
    with bar(10, " images", 4, file=log, mininterval=0) as one:
        one.update(3)
    assert ("7/10" in log.getvalue()) == shown
