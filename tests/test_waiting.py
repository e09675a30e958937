import errno
import fcntl
import io
from unittest.mock import Mock

import pytest

from alutils.waiting import bar, exclusive_lock


@pytest.mark.parametrize(("notebook", "shown"), [("/my/notebook.ipynb", True), (None, False)])
def test_a_bar_is_shown_in_jupyterlab_and_not_in_a_log(notebook, shown, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if notebook:
        monkeypatch.setenv("JPY_SESSION_NAME", notebook)
    log = io.StringIO()
    with bar(10, " images", 4, file=log, mininterval=0) as one:
        one.update(3)
    assert ("7/10" in log.getvalue()) == shown


def test_nothing_is_done_alone_on_a_file_system_without_locks(monkeypatch, tmp_path):
    missing = OSError(errno.ENOSYS, "Function not implemented")
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=missing))
    with pytest.raises(OSError, match="Function not implemented"):
        with exclusive_lock(tmp_path / "a.lock", ""):
            raise AssertionError
