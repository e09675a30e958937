"""A file of rows and its journal."""

import subprocess
import sys

import numpy as np

from alutils.learning.row_file import CHUNK_ROWS, RowFile
from alutils.paths import ROOT


def test_checking_a_file_does_not_make_it_the_process_s_memory(tmp_path):
    file = RowFile(tmp_path / "rows.npy", {"of": "noise"}, (500 * CHUNK_ROWS, 1_000), np.uint8)
    file.create({})
    chunk = np.random.default_rng(0).integers(256, size=(CHUNK_ROWS, 1_000), dtype=np.uint8)
    for start in range(0, file.shape[0], CHUNK_ROWS):
        file.write(start, chunk)
    code = (
        "from pathlib import Path; import numpy, psutil\n"
        "from alutils.learning.row_file import RowFile\n"
        f"file = RowFile(Path({str(file.path)!r}), {file.facts}, {file.shape}, numpy.uint8)\n"
        "before = psutil.Process().memory_info().rss\n"
        "content = file.read()\n"
        "print(psutil.Process().memory_info().rss - before, content.missing)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    grown, missing = done.stdout.split()
    assert missing == "[]" and int(grown) < file.path.stat().st_size / 8
