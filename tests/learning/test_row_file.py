"""A file of rows and its journal."""

import subprocess
import sys

import numpy as np
import torch

from alutils.learning.row_file import CHUNK_ROWS, RowFile
from alutils.paths import ROOT


def test_a_file_that_is_checked_and_mapped_is_not_the_process_s_memory(tmp_path):
    """Neither what it holds of it, nor what the system has to promise it."""
    file = RowFile(tmp_path / "rows.npy", {"of": "noise"}, (500 * CHUNK_ROWS, 1_000), np.uint8)
    file.create({})
    chunk = np.random.default_rng(0).integers(256, size=(CHUNK_ROWS, 1_000), dtype=np.uint8)
    for start in range(0, file.shape[0], CHUNK_ROWS):
        file.write(start, chunk)
    code = (
        "from pathlib import Path; import numpy, psutil, resource\n"
        "from alutils.learning.row_file import RowFile\n"
        f"file = RowFile(Path({str(file.path)!r}), {file.facts}, {file.shape}, numpy.uint8)\n"
        "before = psutil.Process().memory_info()\n"
        "most = getattr(before, 'data', before.vms) + file.path.stat().st_size // 2\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (most, most))\n"
        "content = file.read()\n"
        "print(psutil.Process().memory_info().rss - before.rss, content.missing)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    grown, missing = done.stdout.split()
    assert missing == "[]" and int(grown) < file.path.stat().st_size / 8


def test_rows_are_a_tensor_on_a_map_for_reading_only(tmp_path):
    file = RowFile(tmp_path / "rows.npy", {"of": "ones"}, (200, 3))
    content = file.filled("", "", lambda starts: [np.ones((n, 3), np.float16) for n in (128, 72)])
    assert not content.rows.flags.writeable
    assert content.tensor.data_ptr() == content.rows.ctypes.data
    assert torch.equal(content.tensor, torch.ones(200, 3).half())


def test_a_file_with_bytes_at_its_end_is_made_anew(tmp_path):
    file = RowFile(tmp_path / "rows.npy", {"of": "ones"}, (3, 2))
    whole = file.filled("", "", lambda starts: [np.ones((3, 2), np.float16)])
    with file.path.open("ab") as opened:
        opened.write(b"more")
    assert file.read().rows is None
    again = file.filled("", "", lambda starts: [np.ones((3, 2), np.float16)])
    assert (again.missing, again.digests) == ([], whole.digests)
