"""Labelling, training and exporting killed at random moments: nothing that was said is lost."""

import csv
import json
import multiprocessing
import os
import random
from pathlib import Path

import pytest

from alutils.labelling.entries import Answers
from alutils.labelling.hash_chain import read
from alutils.labelling.ledger import Ledger, LedgerLocked
from alutils.labelling.saved_head import load_head
from tests.labelling.blobs import CLASSES, blobs
from tests.labelling.labeller import MANY, acknowledged, label_until_killed

KILLS = 100 if os.environ.get("SOAK") else 30
LONGEST_S = 0.5
"""Most seconds that a labeller works before it is killed."""
LEDGERS = 10
"""Kills after which a new ledger is begun."""


@pytest.fixture(scope="module")
def processes():
    """Processes that are forked off one that has imported everything and computed nothing.

    ``torch._dynamo`` is what an optimiser imports when it is first made, which takes seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.labelling.labeller", "sklearn.cluster", "torch._dynamo"])
    return context


def a_folder(base: Path, number: int) -> Path:
    """A folder for a ledger, its exports, and the files of the images."""
    folder = base / str(number)
    for name in blobs(MANY)[0].names:
        (folder / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / name).touch()
    return folder


def killed(processes, folder: Path, rng: random.Random) -> list[tuple]:
    """The lines that a labeller told of before it was killed, at any moment from its start on."""
    mine, theirs = processes.Pipe(duplex=False)
    labeller = processes.Process(target=label_until_killed, args=(folder, theirs))
    labeller.start()
    theirs.close()
    lines = []
    try:
        if rng.random() < 0.8:
            lines.append(mine.recv())
        labeller.join(rng.uniform(0, LONGEST_S))
    finally:
        labeller.kill()
        labeller.join()
    try:
        while True:
            lines.append(mine.recv())
    except (EOFError, OSError):  # the last one may be half sent
        mine.close()
    assert labeller.exitcode == -9
    return lines


def check_exports(folder: Path, known: set[Path]) -> int:
    """Every export that has its name is whole; returns how many there are.

    Folders that are ``known``, as they were looked at before, are not looked at again.
    """
    checked = 0
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            columns, *rows = csv.reader(file)
        assert rows and {len(row) for row in rows} == {len(columns)}
        checked += 1
    for path in folder.glob("*.json"):
        assert json.loads(path.read_text())
        checked += 1
    folders = {path for path in folder.iterdir() if path.is_dir() and path.suffix != ".part"}
    for path in folders - known - {folder / "pictures"}:
        if path.name.startswith("head"):
            assert load_head(path).head.labels > 12 and len(list(path.iterdir())) == 3
        else:
            links = list(path.rglob("*.png"))
            assert len(links) > 12 and all(link.exists() for link in links)
        known.add(path)
        checked += 1
    return checked


def test_no_acknowledged_answer_is_lost_however_often_labelling_is_killed(processes, tmp_path):
    """A busy machine gets less done between kills: there are more until there was much to lose."""
    rng = random.Random(KILLS)
    exports, turns = 0, 0
    for kill in range(5 * KILLS):
        if kill % LEDGERS == 0:
            folder, told, known = a_folder(tmp_path, kill), [], set()
        told += killed(processes, folder, rng)
        path = folder / "ledger.jsonl"
        entries = read(path) if path.exists() else []
        kept = [acknowledged(entry) for entry in entries]
        assert set(told) <= set(kept) and len(kept) == len(set(kept))
        sessions = len({entry.session for entry in entries})
        assert len(kept) - len(told) <= 3 * sessions  # its first line, and one step not told of
        assert not list(folder.glob("*.torn"))
        exports += check_exports(folder, known)
        if kill % LEDGERS == LEDGERS - 1:
            with Ledger(path, CLASSES, entries[0].facts, print) as ledger:
                assert vars(ledger.answers) == vars(Answers(entries))
                turns += len(ledger.answers.counts)
            if kill + 1 >= KILLS and exports > KILLS and turns > KILLS:
                return
    pytest.fail(f"{exports} exports and {turns} turns are too few")


def test_a_ledger_that_another_process_writes_is_refused_until_that_is_killed(processes, tmp_path):
    folder = a_folder(tmp_path, 0)
    mine, theirs = processes.Pipe(duplex=False)
    labeller = processes.Process(target=label_until_killed, args=(folder, theirs))
    labeller.start()
    try:
        mine.recv()
        path = folder / "ledger.jsonl"
        facts = read(path)[0].facts
        with pytest.raises(LedgerLocked, match=f"is being written by process {labeller.pid} on "):
            Ledger(path, CLASSES, facts)
        assert len(read(path)) > 1
    finally:
        labeller.kill()
        labeller.join()
    with Ledger(path, CLASSES, facts) as ledger:
        assert ledger.append("skip", image="b/001.png").number == len(read(path))
