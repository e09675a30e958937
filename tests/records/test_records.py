import json
import os
import platform
import re
import shutil
import subprocess
import time
from errno import EIO, ENOSPC
from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from alutils.commands import verify
from alutils.paths import ROOT
from alutils.protocol.cell import Cell
from alutils.protocol.parameters import ParameterError, StudyError
from alutils.records import files, tidy
from alutils.records import store as records_store
from alutils.records.files import CanNotWrite
from alutils.records.locks import CanNotLock
from alutils.records.record import (
    NEXT,
    belongs_to,
    canonical,
    chained_digest,
    diverged,
    parse,
    state_digest,
)
from alutils.records.store import CanNotRead, Store
from alutils.records.tidy import table
from alutils.reporting import record_facts
from alutils.running import run
from alutils.studies import profiles
from tests.studies.made_up import save_finished


def rounds(count: int) -> list[dict]:
    done, before = [], ""
    for number in range(count):
        plain = {
            "labels": 128 + number,
            "labelled": list(range(number)),
            "test_accuracy": 0.1 * number,
            "heldout_accuracy": [0.2, 0.5, 0.4],
            "seconds_train": 1.5,
        }
        before = chained_digest(plain, before)
        done.append(plain | {"digest": before})
    return done


def picked() -> list[dict]:
    """Three rounds with picks, those of the first two being what the next one has more."""
    done, before = [], ""
    for number in range(3):
        plain = {k: v for k, v in rounds(3)[number].items() if k != "digest"}
        plain["picks"] = list(range(number + 1)) if number < 2 else [7, 9]
        before = chained_digest(plain, before)
        done.append(plain | {"digest": before})
    return done


@pytest.fixture
def stored(outputs, digits_cell):
    store, cell = Store("test"), digits_cell()
    store.prepare()
    record = store.load(cell) | {"status": "finished", "rounds": rounds(3)}
    store.save(cell, record)
    return store, cell


def test_a_record_comes_back_as_it_was_written(stored):
    store, cell = stored
    record = store.load(cell)
    assert record["rounds"] == rounds(3) and store.finished(cell)
    assert record["cell"]["dataset"] == "digits" and len(record["checksum"]) == 64
    assert '"labelled": [0, 1]' in store.path(cell).read_text()
    assert list(store.folder.glob("*.part")) == []


def test_picks_that_the_next_round_repeats_are_written_once(stored):
    """The last round's stand in the file: no next round has them."""
    store, cell = stored
    done = picked()
    store.save(cell, store.load(cell) | {"rounds": done})
    text = store.path(cell).read_text()
    assert text.count(f'"picks": "{NEXT}"') == 2 and '"picks": [7, 9]' in text
    assert store.load(cell)["rounds"] == done and store.is_complete(cell)
    store.path(cell).write_text(text.replace('"labelled": [0, 1]', '"labelled": [0, 2]'))
    assert [kept_round["picks"] for kept_round in store.load(cell)["rounds"]] == [[0]]


def test_the_digest_ignores_times_and_nothing_else():
    done = rounds(1)[0]
    assert chained_digest(done | {"seconds_train": 9.0}, "") == done["digest"]
    assert chained_digest(done | {"labels": 5}, "") != done["digest"]
    assert chained_digest(done, "x") != done["digest"]


@pytest.mark.parametrize(("damage", "kept"), [("labels", 1), ("cut", 2), ("status", 3)])
def test_a_damaged_record_is_set_aside_and_its_sound_rounds_kept(stored, damage, kept, capsys):
    store, cell = stored
    text = store.path(cell).read_text()
    changed = {
        "labels": text.replace('"labels": 129', '"labels": 130'),
        "cut": text[: text.rindex('"labels": 130')],
        "status": text.replace('"finished"', '"running"'),
    }[damage]
    store.path(cell).write_text(changed)
    record = store.load(cell)
    assert store.path(cell).read_text() == changed, "readers change nothing"
    assert len(record["rounds"]) == kept and not store.is_complete(cell)
    assert record["status"] == ("finished" if kept == 3 else "running")
    assert store.recover(cell)["rounds"] == record["rounds"]
    (aside,) = store.folder.glob("*.damaged")
    assert aside.read_text() == changed
    assert f"continuing after {kept} intact rounds" in capsys.readouterr().err
    assert (
        store.path(cell).exists() == bool(kept) and store.load(cell)["rounds"] == record["rounds"]
    )


def test_the_table_has_a_row_a_round_of_finished_cells(stored, digits_cell):
    store, cell = stored
    results = table(store, [cell, digits_cell(seed=1)])
    assert results["labels"].tolist() == [128, 129, 130] and results["round"].tolist() == [1, 2, 3]
    assert set(results["seed"]) == {0} and results["heldout_best"].tolist() == [0.5] * 3
    assert results["heldout_last"].tolist() == [0.4] * 3


def test_an_outputs_folder_that_can_not_be_written_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALUTILS_OUTPUTS", str(tmp_path / "file"))
    with pytest.raises(ParameterError, match="can't be written.*ALUTILS_OUTPUTS"):
        Store("test").prepare()


def test_canonical_text_does_not_depend_on_the_order_of_keys():
    assert canonical({"b": 1, "a": [1, 2]}) == canonical(json.loads('{"a": [1, 2], "b": 1}'))


@pytest.mark.soak
def test_no_changed_byte_and_no_cut_goes_unnoticed(stored):
    """Every byte of a record replaced in turn, and the file cut at every length."""
    store, cell = stored
    whole, record = store.path(cell).read_bytes(), store.load(cell)
    untimed = [{k: v for k, v in done.items() if k != "seconds_train"} for done in record["rounds"]]
    changed = (whole[:i] + bytes([whole[i] ^ flip]) + whole[i + 1 :]
               for i in range(len(whole)) for flip in (1, 32))  # fmt: skip
    cuts = (whole[:i] for i in range(len(whole)))
    noticed = 0
    for text in (*changed, *cuts):
        store.path(cell).write_bytes(text)
        recovered, damage = store.read(cell)
        if damage:
            assert (recovered["status"] == "finished") == (len(recovered["rounds"]) == 3)
            assert recovered["rounds"] == untimed[: len(recovered["rounds"])]
            noticed += 1
        else:  # white space, or the last line end
            assert recovered == record
    assert noticed > 2.5 * len(whole)


def test_a_cut_record_keeps_every_complete_round_before_the_cut(stored):
    """A round's picks stand with the next round's labels, but for the last one's."""
    store, cell = stored
    store.save(cell, store.load(cell) | {"rounds": picked()})
    text = store.path(cell).read_text()
    ends = [match.end() for match in re.finditer("\n  }", text[: text.index('"final"')])]
    assert len(ends) == 3
    for cut, kept in ((ends[0], 0), (ends[1] - 1, 0), (ends[1], 1), (ends[2] - 1, 1), (ends[2], 3),
                      (text.index('"checksum"'), 3), (len(text) - 3, 3), (40, 0)):  # fmt: skip
        store.path(cell).write_text(text[:cut])
        record, damage = store.read(cell)
        assert (len(record["rounds"]), damage) == (kept, "not JSON")
        assert record["status"] == ("finished" if kept == 3 else "running")


def test_another_cells_damaged_record_is_not_taken_for_the_cells_own(stored, digits_cell):
    store, cell = stored
    other_cell, text = digits_cell(seed=1), store.path(cell).read_text()
    for spoiled in (text[:-9], text.replace('"labels": 130', '"labels": 131')):
        store.path(other_cell).write_text(spoiled)
        assert store.load(other_cell)["rounds"] == []


def test_another_cells_record_is_not_taken_for_the_cells_own(stored, digits_cell, capsys):
    store, cell = stored
    other_cell = digits_cell(seed=1)
    shutil.copy(store.path(cell), store.path(other_cell))
    assert store.recover(other_cell)["rounds"] == []
    assert "it is the record of another cell" in capsys.readouterr().err


def test_a_record_of_a_folder_that_is_not_known_here_tells_no_cell(stored, monkeypatch, tmp_path):
    store, cell = stored
    monkeypatch.setenv("ALUTILS_DATA", str(tmp_path / "another cache"))
    text = store.path(cell).read_text().replace('"digits"', '"folder-pets-0123456789abcdef"')
    (store.folder / "other.json").write_text(text)
    assert store.cell("other") is None and not belongs_to(parse(text)[0], cell)
    assert store.cell(cell.name) == cell


def test_a_record_that_can_not_be_mended_is_left_as_it_was(stored, monkeypatch):
    """The disk is full when the damaged file is set aside, or when its rounds are written."""
    store, cell = stored
    changed = store.path(cell).read_text().replace('"labels": 130', '"labels": 131')
    store.path(cell).write_text(changed)
    write, full = records_store.write_atomically, CanNotWrite("full")
    for allowed in (0, 1):
        left = iter([write] * allowed)

        def until_full(path, content, left=left):
            if (next_write := next(left, None)) is None:
                raise full
            next_write(path, content)

        with monkeypatch.context() as patched:
            patched.setattr(records_store, "write_atomically", until_full)
            with pytest.raises(CanNotWrite):
                store.recover(cell)
        assert store.path(cell).read_text() == changed
    assert len(store.recover(cell)["rounds"]) == 2


def test_what_is_set_aside_is_never_overwritten(stored):
    store, cell = stored
    for _ in range(3):
        store.path(cell).write_text("{}")
        store.recover(cell)
    assert len(list(store.folder.glob("*.damaged*"))) == 3


def test_a_full_disk_is_one_error_and_leaves_the_record_that_was_there(stored, monkeypatch):
    store, cell = stored
    before = store.path(cell).read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(CanNotWrite, match="No space left on device.*make room"):
        store.save(cell, store.load(cell) | {"status": "failed"})
    assert store.path(cell).read_bytes() == before and not list(store.folder.glob("*.part"))


def test_a_mac_s_disk_is_told_to_empty_its_cache_where_that_can_be_done(tmp_path, monkeypatch):
    asked = []

    def fcntl(descriptor, what):
        asked.append(what)
        if len(asked) > 1:
            raise OSError(45, "Operation not supported")

    monkeypatch.setattr(files, "F_FULLFSYNC", 51)
    monkeypatch.setattr(files, "fcntl", fcntl, raising=False)
    monkeypatch.setattr(files.os, "fsync", asked.append)
    with (tmp_path / "a").open("wb") as file:
        files.flush_to_disk(file.fileno())
        assert asked == [51]
        files.flush_to_disk(file.fileno())
        assert asked == [51, 51, file.fileno()]


def test_only_seeds_that_have_every_cell_are_compared(stored, digits_cell):
    store, cell = stored
    cells = [cell, digits_cell(arm="margin"), digits_cell(seed=1)]
    assert tidy.complete(table(store, cells), cells).empty
    assert len(tidy.complete(table(store, [cell]), [cell])) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: {"rounds": []},
        lambda record: record | {"cell": None},
        lambda record: {key: value for key, value in record.items() if key != "status"},
        lambda record: record | {"status": "finished", "rounds": []},
        lambda record: record | {"rounds": [{"labels": 128}]},
        lambda record: record | {"provenance": None},
    ],
)
def test_a_record_with_the_right_checksum_of_unsound_content_is_damaged(
    digits_cell, outputs, spoil
):
    cell, store = digits_cell(), Store("test")
    store.prepare()
    store.save(cell, store.load(cell))
    wrong = spoil(store.load(cell))
    store.save(cell, wrong)
    record, damage = store.read(cell)
    assert damage and record["rounds"] == [] and record["status"] == "running"
    assert not store.is_complete(cell)


def test_a_record_that_is_not_json_or_a_folder_is_damaged(digits_cell, outputs):
    cell, store = digits_cell(), Store("test")
    store.prepare()
    store.path(cell).write_text("[" * 200_000)
    assert store.read(cell)[1] == "not JSON"
    store.path(cell).unlink()
    store.path(cell).mkdir()
    assert store.read(cell)[1] == "Is a directory"
    store.recover(cell)
    assert not store.path(cell).exists()


def test_a_record_that_can_not_be_read_is_left_as_it_is(stored, monkeypatch):
    store, cell = stored
    before = store.path(cell).read_bytes()

    def broken(*_, **__):
        raise OSError(EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", broken)
        with pytest.raises(CanNotRead, match=r"Input/output error.*left as it is"):
            store.recover(cell)
    assert store.path(cell).read_bytes() == before


@pytest.fixture
def read_files(monkeypatch) -> list[str]:
    """The names of the record files that are read, one a reading."""
    names, read_text = [], Path.read_text

    def noted(self, *args, **options):
        names.extend([self.stem] if self.suffix == ".json" else [])
        return read_text(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", noted)
    return names


def settle(path: Path, seconds: float) -> None:
    """Let a file be as old as a record that was written some time ago."""
    now = time.time() - seconds
    os.utime(path, (now, now))


def test_a_record_is_read_once_while_its_file_stays(stored, read_files):
    store, cell = stored
    settle(store.path(cell), 60)
    facts = store.facts(cell)
    assert (facts.status, facts.rounds, facts.damage) == ("finished", 3, "")
    assert facts.checksum == store.load(cell)["checksum"]
    read_files.clear()
    assert Store("test").finished(cell) and store.is_complete(cell) and store.facts(cell) is facts
    facts.record["provenance"].clear()
    assert "dataset_checksum" in facts.record["provenance"], "nobody else has what one changed"
    assert read_files == []
    store.save(cell, store.load(cell) | {"status": "running", "rounds": rounds(2)})
    assert not store.finished(cell) and store.facts(cell).rounds == 2


def test_a_record_that_was_written_just_now_is_read_each_time(stored, monkeypatch):
    """Files of one moment and size could not be told from each other."""
    monkeypatch.setattr(records_store, "SETTLED_S", 3600)  # however slow this is
    store, cell = stored
    assert store.is_complete(cell)
    text, written = store.path(cell).read_text(), store.path(cell).stat()
    store.path(cell).write_text(text.replace('"labels": 129', '"labels": 130'))
    os.utime(store.path(cell), ns=(written.st_atime_ns, written.st_mtime_ns))
    assert not store.is_complete(cell) and store.facts(cell).checksum == ""


def test_a_state_that_gets_lost_is_noticed_beside_an_unchanged_record(outputs, digits_cell):
    store, cell = Store("test"), digits_cell(adam_state="rounds")
    store.prepare()
    go_on(store, cell, store.load(cell), 1)
    settle(store.path(cell), 60)
    assert store.facts(cell).rounds == 1
    next(store.folder.glob("*.state")).unlink()
    assert store.facts(cell).rounds == 0 and store.facts(cell).damage.endswith("state is lost")


def test_what_reports_say_of_a_study_s_records_reads_them_once(outputs, read_files):
    study, store = profiles.load_study("smoke", "03-mnist-active-learning"), Store("smoke")
    store.prepare()
    for cell in study.cells()[1:]:
        save_finished(store, cell, lambda _, n: {"test_accuracy": 0.5})
        settle(store.path(cell), 60)
    read_files.clear()
    assert "rests on these, and comparisons" in record_facts.run_status(study).data
    assert "Interim" in record_facts.interim(study)
    assert f"{len(study.cells()) - 1} finished runs" in record_facts.provenance(study).data
    assert f"{len(study.cells()) - 1} finished" in record_facts.effort("smoke", study.cells())
    names = [name for name in read_files if name != study.cells()[0].name]
    assert sorted(names) == sorted(cell.name for cell in study.cells()[1:])


def test_a_run_hands_on_the_table_of_settings_that_its_notebook_takes(outputs, read_files):
    study, store = profiles.load_study("smoke", "06-sensitivity"), Store("smoke")
    study = study.model_copy(update={"train": False})
    with pytest.raises(StudyError, match="nothing can be shown yet"):
        run.run(study)
    store.prepare()
    for cell in study.cells():
        save_finished(store, cell, lambda _, n: {"test_accuracy": 0.5})
    read_files.clear()
    results = run.run(study)
    assert sorted(read_files) == sorted(cell.name for cell in study.cells())
    pd.testing.assert_frame_equal(results, tidy.read_settings(study))


@pytest.mark.parametrize("error", [ParameterError, CanNotLock])
def test_on_a_full_disk_room_is_what_helps(outputs, monkeypatch, error):
    def full(*_, **__):
        raise OSError(ENOSPC, "No space left on device")

    patched = (Path, "touch") if error is ParameterError else (FileLock, "acquire")
    monkeypatch.setattr(*patched, full)
    with pytest.raises(error, match="No space left on device.*make room") as raised:
        Store("test").prepare()
    assert "permissions" not in str(raised.value) and "no locks" not in str(raised.value)


def test_what_killed_writers_left_is_removed_and_what_is_written_now_is_not(outputs):
    store = Store("test")
    store.prepare()
    old, new = store.folder / "a.json.1.part", store.folder / "b.json.2.part"
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    store.prepare()
    assert not old.exists() and new.exists()


def test_a_record_has_one_holder_who_is_named(digits_cell, outputs):
    store, cell = Store("test"), digits_cell()
    store.prepare()
    assert list((store.folder / ".locks").iterdir()) == []
    lock = store.hold(cell)
    assert store.hold(cell) is None
    assert re.fullmatch(
        rf"process {os.getpid()} on {platform.node()}, since 20..-..-.. ..:..", store.holder(cell)
    )
    lock.release()
    store.hold(cell).release()


@pytest.fixture(scope="module")
def committed() -> dict[str, list[Path]]:
    """The committed records by profile."""
    git = ["git", "-C", ROOT, "ls-files", "outputs/*/runs/*.json"]
    listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    paths = sorted(ROOT / name for name in listed)
    return {name: list(group) for name, group in groupby(paths, lambda file: file.parts[-3])}


def test_the_kept_profiles_have_records(committed):
    profiles = {"ablation", "desktop", "fidelity", "precision", "recipe", "sensitivity"}
    assert profiles <= committed.keys() <= set(WITH_RECORDS)


WITH_RECORDS = sorted(folder.parent.name for folder in ROOT.glob("outputs/*/runs"))


@pytest.mark.parametrize("profile", WITH_RECORDS)
def test_every_committed_record_is_sound_and_of_a_cell_of_its_profile(profile, committed):
    """Under today's names. A record may be unfinished (a long run goes on from it), or diverged."""
    if not (paths := committed.get(profile)):
        pytest.skip("all its records are of this clone alone")
    cells = {cell.name: cell for study in verify.studies_of(profile) for cell in study.cells()}
    store = Store(profile)
    assert {path.stem for path in paths} <= cells.keys()
    for file in paths:
        record, damage = store.read(cells[file.stem])
        kept = record["status"] in ("running", "finished") or diverged(record)
        assert (damage, kept) == ("", True), file.name


def go_on(store: Store, cell: Cell, record: dict, number: int) -> None:
    """Write a round and the state that it hands on, as a run does before it drops older states."""
    before = record["rounds"][-1]["digest"] if record["rounds"] else ""
    done = rounds(number)[-1] | {"state_digest": state_digest(b"state %d" % number)}
    del done["digest"]
    record["rounds"].append(done | {"digest": chained_digest(done, before)})
    store.save_state(cell, record, b"state %d" % number)
    store.save(cell, record)


def test_states_of_finished_cells_are_removed_and_no_others(outputs, digits_cell):
    """A run that was killed between a cell's last record and the end of its states left them."""
    store = Store("test")
    store.prepare()
    cells = [digits_cell(adam_state="rounds", seed=seed, rounds=2) for seed in range(4)]
    for cell, status in zip(cells, ["finished", "running", "finished", "finished"], strict=True):
        record = store.load(cell)
        go_on(store, cell, record, 1)
        go_on(store, cell, record | {"status": status}, 2)
    lock = store.hold(cells[2])
    store.path(cells[3]).write_text(store.path(cells[3]).read_text() + "}")
    (store.folder / "no-record.0123.state").write_bytes(b"state")
    Store("test").prepare()
    left = [len(list(store.folder.glob(f"{cell.name}.*.state"))) for cell in cells]
    assert left == [0, 2, 2, 2] and (store.folder / "no-record.0123.state").exists()
    lock.release()
    Store("test").prepare()
    assert not list(store.folder.glob(f"{cells[2].name}.*.state"))
    assert store.finished(cells[0]) and len(store.load(cells[1])["rounds"]) == 2


def test_a_reader_beside_a_run_that_hands_on_state_takes_the_newer_record(outputs, digits_cell):
    """The run removes a round's state between a reader's look at the record and at the state."""
    store, cell = Store("test"), digits_cell(adam_state="rounds")
    store.prepare()
    record = store.load(cell)

    def write(number: int) -> None:
        go_on(store, cell, record, number)
        store.drop_states(cell, record)

    write(1)
    assert store.read(cell)[1] == ""
    first, lacks = store.path(cell).read_text(), store._lacks_state
    store._lacks_state = lambda *args: (write(2), setattr(store, "_lacks_state", lacks), True)[-1]
    newer, damage = store.read(cell)
    assert damage == "" and len(newer["rounds"]) == 2
    store.path(cell).write_text(first)
    older, damage = store.read(cell)
    assert (older["rounds"], damage) == ([], "its optimiser's state is lost")
