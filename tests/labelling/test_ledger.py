import errno
import hashlib
import json
import os
from datetime import datetime

import pytest
from filelock import FileLock

from alutils.labelling import ledger as ledger_module
from alutils.labelling.answers import recorded
from alutils.labelling.entries import Answers
from alutils.labelling.hash_chain import LedgerDamaged, read
from alutils.labelling.ledger import Ledger, LedgerLocked
from alutils.labelling.repair import repair
from alutils.labelling.settings import Settings
from alutils.protocol.parameters import ParameterError
from alutils.records.files import CanNotWrite
from alutils.records.locks import CanNotLock

CLASSES = ["ant", "bee"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def written(path):
    """A ledger of eight lines, closed."""
    with Ledger(path, CLASSES) as ledger:
        ledger.append("label", image="a.png", label="ant", asked="first batch")
        ledger.append("skip", image="b.png", asked="first batch")
        ledger.append("label", image="c.png", label="bee", asked="margin", guess="ant", model=1)
        ledger.undo()
        ledger.add_class("çat")
        ledger.append("label", image="c.png", label="çat", shown=True)
        ledger.append("none-of-these", image="d.png")
    return path


def test_every_line_is_chained_to_the_one_before_by_the_stated_digest(written):
    before = ""
    for number, line in enumerate(written.read_bytes().splitlines(), 1):
        content = json.loads(line)
        check = content.pop("check")
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
        assert check == hashlib.sha256((before + plain).encode()).hexdigest()[:16]
        assert content["number"] == number
        assert datetime.fromisoformat(content["time"]).utcoffset().total_seconds() == 0
        before = check


def test_a_ledger_goes_on_where_it_stood_under_another_session_name(written):
    entries = read(written)
    with Ledger(written, CLASSES) as ledger:
        assert ledger.entries == entries and len(entries) == 8
        assert ledger.facts == {"version": 1, "classes": CLASSES}
        ledger.append("label", image="e.png", label="çat")
    first, second = {entry.session for entry in entries}, read(written)[-1].session
    assert len(first) == 1 and second not in first
    assert read(written)[:8] == entries


def test_answers_are_a_fold_that_keeps_the_history(path):
    with Ledger(path, CLASSES) as ledger:
        for image, label in (("a", "ant"), ("b", "bee"), ("a", "bee"), ("c", "ant")):
            ledger.append("label", image=image, label=label)
        ledger.append("skip", image="d")
        answers = ledger.answers
        assert answers.labels == {"a": "bee", "b": "bee", "c": "ant"} and answers.skipped == ["d"]
        assert answers.counts == [1, 2, 2, 3, 3] and answers.last == "d"
        for last in ("c", "a", "b"):
            ledger.undo()
            assert answers.last == last
        assert answers.labels == {"a": "ant", "b": "bee"}
        assert answers.undone == ["c", "d"] and answers.first["a"].label == "ant"
        assert answers.counts[5:] == [3, 2, 2]
        ledger.append("label", image="c", label="bee")
        assert answers.undone == ["d"] and answers.first["c"].label == "ant"
        assert [entry.label for entry in answers.given["c"]] == ["bee"]
        ledger.undo(), ledger.undo(), ledger.undo()
        with pytest.raises(ParameterError, match="no answer left to undo"):
            ledger.undo()
    again = Answers(read(path))
    assert vars(again) == vars(answers) and again.labels == {}
    assert again.counts == [1, 2, 2, 3, 3, 3, 2, 2, 3, 2, 1, 0]


def test_what_can_not_be_is_refused_and_leaves_no_line(written):
    before = written.read_bytes()
    with Ledger(written, CLASSES) as ledger:
        for action, fields, reason in (
            ("label", {"image": "x", "label": "dog"}, "label = 'dog' is not a class .ant, bee"),
            ("label", {"label": "ant"}, "names no image"),
            ("start", {}, "action = 'start' is unknown"),
            ("lable", {"image": "x", "label": "ant"}, "action = 'lable' is unknown"),
            ("undo", {"image": "a.png"}, "no answer left to undo"),
            ("add-class", {"label": "ANT"}, "class 'ANT' already exists as 'ant'"),
            ("add-class", {"label": " dog"}, "class ' dog' is not a name"),
            ("add-class", {"label": "do\ng"}, "is not a name"),
            ("add-class", {"label": ""}, "is not a name"),
        ):
            with pytest.raises(ParameterError, match=reason):
                ledger.append(action, **fields)
    assert written.read_bytes() == before


def test_a_ledger_of_other_classes_or_facts_is_refused(path):
    with pytest.raises(ParameterError, match="class 'Ant' already exists as 'ant'"):
        Ledger(path, ["ant", "Ant"])
    assert not path.exists()
    Ledger(path, CLASSES, {"seed": 1}).close()
    with pytest.raises(ParameterError, match=r"seed = 2, but ledger.jsonl was started with 1: set"):
        Ledger(path, CLASSES, {"seed": 2})
    with pytest.raises(ParameterError, match="classes = .* was started with"):
        Ledger(path, ["bee", "ant"], {"seed": 1})
    Ledger(path, CLASSES, {"seed": 1}).close()


def test_a_setting_that_came_after_a_ledger_was_begun_is_neutral_there(path):
    later = Settings(seed=3).facts
    begun = {key: value for key, value in later.items() if key != "clusters"}
    Ledger(path, CLASSES, begun).close()
    Ledger(path, CLASSES, later).close()
    classes, settings = recorded(read(path))
    assert (classes, settings) == (CLASSES, Settings(seed=3))
    with pytest.raises(ParameterError, match="clusters = 5, but .* was started with 12: set that"):
        Ledger(path, CLASSES, later | {"clusters": 5})


def test_a_second_writer_is_refused_with_who_holds_it_and_reading_goes_on(written):
    with Ledger(written, CLASSES) as ledger:
        with pytest.raises(
            LedgerLocked, match=f"being written by process {os.getpid()} on .*since"
        ):
            Ledger(written, CLASSES)
        with pytest.raises(LedgerLocked):
            repair(written)
        ledger.append("skip", image="e.png")
        assert read(written) == ledger.entries
    Ledger(written, CLASSES).close()


def test_a_class_is_taken_back_right_after_it_was_added_and_never_later(path):
    with Ledger(path, CLASSES) as ledger:
        ledger.append("label", image="a.png", label="ant")
        ledger.add_class("dgo")
        assert ledger.answers.added == "dgo"
        assert (ledger.undo().action, ledger.answers.classes) == ("remove-class", CLASSES)
        ledger.add_class("dog")
        ledger.append("label", image="b.png", label="dog")
        for label in ("dog", "dgo", "ant", ""):
            with pytest.raises(ParameterError, match=f"'{label}' was not added just now, so"):
                ledger.append("remove-class", label=label)
        assert [ledger.undo().image for _ in range(2)] == ["b.png", "a.png"]
        with pytest.raises(ParameterError, match="there is no answer left to undo"):
            ledger.undo()
        assert ledger.answers.classes == [*CLASSES, "dog"]
    assert read(path) == ledger.entries


def test_a_class_in_another_form_of_unicode_is_the_same_and_older_ledgers_still_open(
    path, monkeypatch
):
    composed, decomposed = "K\xe4fer", "Ka\u0308fer"
    with pytest.raises(ParameterError, match="already exists as 'Käfer'"):
        Ledger(path, [composed, decomposed])
    with Ledger(path, [composed]) as ledger:
        with pytest.raises(ParameterError, match="already exists as 'Käfer'"):
            ledger.add_class(decomposed.upper())
        with monkeypatch.context() as earlier:
            earlier.setattr(ledger_module, "class_refusal", lambda *_: "")
            ledger.add_class(decomposed)
        ledger.append("label", image="a.png", label=decomposed)
    with Ledger(path, [composed]) as ledger:
        assert ledger.answers.classes == [composed, decomposed]
        ledger.take_over([("b.png", ledger.entries[-1])])
        assert ledger.entries[-1].label == decomposed
    assert read(path) == ledger.entries


def test_a_ledger_that_can_not_be_locked_is_one_error(path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(
        CanNotLock, match=r"^ledger.jsonl can't be locked in .*\(No locks avai"
    ) as e:
        Ledger(path, CLASSES)
    assert str(e.value).endswith(
        "): create that folder, change its permissions, or keep the ledger elsewhere"
    )
    assert not path.exists()


def test_wherever_the_file_is_cut_whole_lines_stay_and_the_rest_is_set_aside(written):
    """The line whose line feed alone is cut is whole."""
    whole = written.read_bytes()
    entries = read(written)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(1, len(whole)):
        kept = [end for end in ends if end <= cut + 1]
        written.write_bytes(whole[:cut])
        assert read(written) == entries[: len(kept)]
        if cut % 61 and cut + 1 not in ends:
            continue  # opening takes its time
        lines: list[str] = []
        with Ledger(written, CLASSES, say=lines.append) as ledger:
            assert ledger.entries[: len(kept)] == entries[: len(kept)]
            assert len(ledger.entries) == max(1, len(kept))
            ledger.append("skip", image="new.png")
        assert read(written)[-1].image == "new.png"
        aside, end = written.with_name("ledger.jsonl.torn"), kept[-1] if kept else 0
        if end >= cut:
            assert not aside.exists() and not lines
        else:
            assert aside.read_bytes() == whole[end:cut] and len(lines) == 1
            assert f"set aside as {aside.name}, and the {len(kept)} lines before" in lines[0]
            aside.unlink()


def test_zeros_that_a_power_cut_leaves_are_set_aside_beside_what_was_before(written):
    whole = written.read_bytes()
    for name, tail in (("torn", b"\0" * 40), ("torn-2", b"\0" * 30 + b'el":1}\n')):
        written.write_bytes(whole + tail)
        with Ledger(written, CLASSES, say=lambda line: None) as ledger:
            assert len(ledger.entries) == 8
        assert written.with_name(f"ledger.jsonl.{name}").read_bytes() == tail
        assert written.read_bytes() == whole


def test_no_changed_byte_goes_unnoticed_and_nothing_is_written(written):
    whole = written.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for i in range(len(whole)):
        changed = whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]
        written.write_bytes(changed)
        if i == len(whole) - 1:
            assert len(read(written)) == 7  # as if the line were never ended
            continue
        line = whole[:i].count(b"\n") + 1
        where = f"in line {line} of" if line > 1 else "is not a ledger"
        with pytest.raises(LedgerDamaged, match=where):
            read(written)
        if i % 97 == 0 or i == last:
            with pytest.raises(LedgerDamaged, match=where):
                Ledger(written, CLASSES)
            assert written.read_bytes() == changed


def test_damage_is_one_line_with_what_is_whole_and_the_remedy(written):
    lines = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join([*lines[:3], lines[3].replace(b"bee", b"ant"), *lines[4:]]))
    with pytest.raises(LedgerDamaged) as error:
        read(written)
    assert str(error.value) == (
        "ledger.jsonl is damaged in line 4 of 8 (its check does not hold); lines 1 to 3 are "
        "intact, and 4 of the 4 after it. Nothing was changed: put a copy of the file in its "
        "place, or call alutils.labelling.repair.repair on it, which sets it aside and continues "
        "with the intact lines"
    )
    for changed in ([*lines[:3], *lines[4:]], [*lines[:3], lines[4], lines[3], *lines[5:]]):
        written.write_bytes(b"".join(changed))  # a line that is gone, two in another order
        with pytest.raises(LedgerDamaged, match="in line 4 of"):
            read(written)


def test_a_repair_keeps_every_whole_line_and_the_file_that_was(written):
    entries = read(written)
    lines = written.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], lines[3].replace(b"bee", b"ant"), *lines[4:]])
    written.write_bytes(damaged)
    assert repair(written) == (6, 2)  # the undo was about the answer that is lost
    assert written.with_name("ledger.jsonl.damaged").read_bytes() == damaged
    kept = read(written)
    assert [e.number for e in kept] == [1, 2, 3, 4, 5, 6]
    assert [(e.action, e.image) for e in kept[3:]] == [
        (e.action, e.image) for e in (entries[5], entries[6], entries[7])
    ]
    with Ledger(written, CLASSES) as ledger:
        assert ledger.answers.labels == {"a.png": "ant", "c.png": "çat"}
    written.write_bytes(b"".join(lines[1:]))
    with pytest.raises(ParameterError, match="has lost its first line"):
        repair(written)


def test_a_repair_keeps_the_labels_of_a_class_whose_line_is_lost(path):
    """Guards: fifty labels thrown away for one bad byte, as none of them had a class then."""
    with Ledger(path, ["cat"]) as ledger:
        ledger.append("label", image="0.png", label="cat")
        ledger.add_class("horse")
        for i in range(1, 4):
            ledger.append("label", image=f"{i}.png", label="horse")
        for _ in range(4):
            ledger.undo()  # the last of them is of the cat, and no line before is in doubt
        ledger.append("label", image="4.png", label="horse")
    path.write_bytes(path.read_bytes().replace(b'"label":"horse"', b'"label":"Horse"', 1))
    assert repair(path) == (10, 1)
    given = Answers(read(path))
    assert given.classes == ["cat", "horse"] and given.labels == {"4.png": "horse"}


def test_a_repair_knows_a_lost_class_by_the_line_that_took_it_back(path):
    with Ledger(path, CLASSES) as ledger:
        ledger.append("label", image="a.png", label="ant")
        ledger.add_class("dgo")  # line 3
        ledger.undo(), ledger.undo()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"dgo", b"dog"), *lines[3:]]))
    assert repair(path) == (3, 2)
    assert [entry.action for entry in read(path)] == ["start", "label", "undo"]


@pytest.mark.parametrize("lost", [[3], [3, 4], [2, 3], [3, 4, 5]])
def test_a_repair_takes_back_nothing_that_nobody_took_back(path, lost):
    """Of ``a`` an answer and a change, of ``c`` two answers, of which undos take back three."""
    with Ledger(path, CLASSES) as ledger:
        ledger.append("label", image="a", label="ant")  # line 2
        ledger.append("label", image="a", label="bee")
        ledger.append("label", image="c", label="bee")
        ledger.append("label", image="c", label="ant")
        ledger.undo(), ledger.undo(), ledger.undo()
        assert ledger.answers.labels == {"a": "ant"}
        ledger.append("label", image="b", label="bee")
        ledger.append("label", image="d", label="bee")
        ledger.undo()
    lines = path.read_bytes().splitlines(keepends=True)
    first, last = lost[0] - 1, lost[-1]
    damaged = b"x" * len(b"".join(lines[first:last])) + b"\n"  # line feeds are gone too
    path.write_bytes(b"".join([*lines[:first], damaged, *lines[last:]]))
    repair(path)
    with Ledger(path, CLASSES) as ledger:
        kept = {"a": "ant"} if 2 not in lost else {}
        assert ledger.answers.labels == kept | {"b": "bee"}
        for image in ("b", *kept):
            assert ledger.undo().image == image


def test_a_file_of_something_else_is_left_alone(path):
    for content in (b"file,label\n", b"file", b'{"a": 1}\n', b"[1]\n", b"\x89PNG\r\n\x1a\n\0\0\0"):
        path.write_bytes(content)
        with pytest.raises(LedgerDamaged, match="is not a ledger"):
            Ledger(path, CLASSES)
        assert path.read_bytes() == content


def test_an_answer_that_the_disk_does_not_take_leaves_nothing(written, monkeypatch):
    whole, write = written.read_bytes(), os.write
    with Ledger(written, CLASSES) as ledger:
        with monkeypatch.context() as full:
            full.setattr(ledger_module.os, "write", lambda file, line: write(file, line[:20]))
            with pytest.raises(CanNotWrite, match="No space left.*make room"):
                ledger.append("skip", image="e.png")
        assert written.read_bytes() == whole and len(ledger.entries) == 8
        ledger.append("skip", image="f.png")
    assert [entry.image for entry in read(written)][-1] == "f.png" and len(read(written)) == 9


def test_an_answer_is_one_write_that_the_disk_has_before_it_is_acknowledged(written, monkeypatch):
    calls = []
    with Ledger(written, CLASSES) as ledger:
        for name in ("write", "fsync"):
            real = getattr(os, name)
            monkeypatch.setattr(
                ledger_module.os, name, lambda *a, n=name, f=real: (calls.append(n), f(*a))[1]
            )
        ledger.append("skip", image="e.png")
        assert calls == ["write", "fsync"]


@pytest.mark.parametrize("where", ["write", "fsync"])
def test_an_interrupt_amid_a_line_leaves_a_ledger_that_goes_on(written, monkeypatch, where):
    """The line is there whole or set aside; the answer was never acknowledged."""
    done = getattr(os, where)

    def interrupted(file, *line):
        done(file, *(part[:30] for part in line))
        raise KeyboardInterrupt

    lines: list[str] = []
    with Ledger(written, CLASSES, say=lines.append) as ledger:
        with monkeypatch.context() as amid:
            amid.setattr(ledger_module.os, where, interrupted)
            with pytest.raises(KeyboardInterrupt):
                ledger.append("skip", image="e.png")
        ledger.append("skip", image="f.png")
        kept = ["e.png", "f.png"] if where == "fsync" else ["f.png"]
        assert [entry.image for entry in ledger.entries[8:]] == kept
        assert len(lines) == (where == "write")
    assert read(written) == ledger.entries


def test_a_file_that_another_program_changes_takes_no_more_answers(written, tmp_path):
    whole = written.read_bytes()
    with Ledger(written, CLASSES) as ledger:
        for change in (
            lambda: written.write_bytes(whole + b"{}\n"),
            lambda: os.truncate(written, whole.rindex(b"\n", 0, -1) + 1),  # the last line is gone
            lambda: written.unlink(),
            lambda: written.write_bytes(whole),  # a file of the same bytes, which is another
        ):
            change()
            for _ in range(2):  # it stays refused
                with pytest.raises(LedgerDamaged, match="changed, moved or removed while it was"):
                    ledger.append("skip", image="e.png")
        assert len(ledger.entries) == 8
    with pytest.raises(LedgerDamaged, match="is closed: open it again"):
        ledger.append("skip", image="e.png")
    ledger.close()
    assert len(read(written)) == 8
