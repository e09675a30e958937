"""What a folder or table of images holds: every file looked at once, and an index of the good ones.

A database in the data cache remembers of every file its content's SHA-256 and what is wrong with
it, until its size or time changes: so an interrupted scan goes on, and only what is new is opened.
From it the index is made: which images are left, in which order, in which part.

Files of equal content are one image. Where their labels differ, none is used; where the same image
is in both parts, that of the test set is. A dataset that is not split gets its test set here: of
every class a fifth, those whose SHA-256 comes first, so that all seeds share it and few images
change sides when others are added. Rows are in the order of the SHA-256 too.
"""

import csv
import hashlib
import os
import sqlite3
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from alutils.folders import index, listing, pictures
from alutils.folders.csv_rows import csv_writer
from alutils.folders.index import LEFT_OUT
from alutils.paths import data_cache
from alutils.threads import ordered
from alutils.waiting import alone, bar

TEST_SHARE = 0.2
"""Of every class, where a dataset is not split; one image at least."""
BATCH = 64
"""Files that a thread looks at in one go."""
Looked = tuple[bytes, int, int, str, str]
"""File, size, time, SHA-256, and what is wrong with it (nothing: an empty string)."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS looked (
    file BLOB PRIMARY KEY, size INT, mtime INT, sha256 TEXT, problem TEXT) WITHOUT ROWID;
CREATE TEMP TABLE listed (
    file BLOB, part TEXT, label TEXT, size INT, mtime INT, problem TEXT);
"""
BEGUN = "SELECT 1 FROM sqlite_master WHERE name = 'looked'"
"""Finds a row where a file has the schema, which one lacks that was cut off at its beginning."""
IMAGES = """
CREATE TEMP TABLE images AS
SELECT file, part, label, sha256,
    ROW_NUMBER() OVER same AS copy, FIRST_VALUE(file) OVER same AS first,
    MIN(label) OVER (PARTITION BY sha256) <> MAX(label) OVER (PARTITION BY sha256) AS disputed
FROM listed JOIN looked USING (file, size, mtime)
WHERE listed.problem = '' AND looked.problem = ''
WINDOW same AS (PARTITION BY sha256 ORDER BY part, file);
"""
"""The readable files; ``test`` comes before ``train``, so that a test image is the first copy."""
SPLIT = f"""
CREATE TEMP TABLE split AS
SELECT file, label, sha256, CASE
    WHEN part <> '' THEN part
    WHEN label = '' OR place > MAX(1, CAST(ROUND({TEST_SHARE} * number) AS INT)) THEN 'train'
    ELSE 'test' END AS part
FROM (SELECT *,
        ROW_NUMBER() OVER (PARTITION BY label ORDER BY sha256) AS place,
        COUNT(*) OVER (PARTITION BY label) AS number
      FROM images WHERE copy = 1 AND NOT disputed);
"""
PROBLEMS = """
SELECT file, problem FROM listed WHERE problem <> ''
UNION ALL SELECT file, looked.problem FROM listed JOIN looked USING (file, size, mtime)
    WHERE listed.problem = '' AND looked.problem <> ''
UNION ALL SELECT file, CASE WHEN disputed THEN 'same content as a file with another label'
    ELSE 'same content as ' || CAST(first AS TEXT) END FROM images WHERE copy > 1 OR disputed
ORDER BY file
"""


def scan(path: Path) -> str:
    """Look at a folder or table of images, and return the name of the dataset that it holds.

    How many files are left out, and where their list is, is said. Raises ``ValueError``, in a
    line, where it holds no dataset, and where the cache can't be written.
    """
    if (place := listing.existing(path)) is None:
        raise ValueError("there is no such folder, CSV or Parquet file")
    path = Path(os.path.abspath(place))
    database = data_cache() / f"scan-{_key(path)}.sqlite"
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"{path.name}: waiting for another process to look at its images"
        with alone(database.with_suffix(".lock"), waiting):
            return _scanned(path, database)
    except csv.Error as error:
        raise ValueError(f"the table can't be read ({error})") from error
    except (OSError, sqlite3.Error) as error:
        raise ValueError(
            f"its images can't be looked at ({error}): check its rights, and the rights and room "
            f"of {database.parent}, where what is known of them is kept"
        ) from error


def forget(file: str) -> None:
    """Have the next scan open a file again, in whichever folders it is.

    ``file`` is relative to the folder. For one that is not as it was looked at, though its size and
    time are. Where that can't be written, as while another process writes there, it is said.
    """
    row = (os.fsencode(file),)
    for database in data_cache().glob("scan-*.sqlite"):
        try:
            with closing(sqlite3.connect(database)) as known, known:
                begun = known.execute(BEGUN).fetchone()
                if begun and known.execute("SELECT 1 FROM looked WHERE file = ?", row).fetchone():
                    known.execute("DELETE FROM looked WHERE file = ?", row)
        except sqlite3.OperationalError as error:
            told = f"{file!r} counts as before, as {database} can't be changed ({error})"
            print(f"{told}: remove that file first", file=sys.stderr)
        except sqlite3.DatabaseError:  # spoiled: the next scan begins it anew
            continue


def _key(path: Path) -> str:
    """Of the path, and of what says which files can be read."""
    from PIL import __version__

    facts = f"{pictures.PREPARATION} {__version__} ".encode() + os.fsencode(path)
    return hashlib.sha256(facts).hexdigest()[:16]


def _scanned(path: Path, database: Path) -> str:
    """The name of the dataset; a database that is spoiled is begun anew."""
    try:
        return _scan(path, database)
    except sqlite3.OperationalError:  # of the disk or the folder, not of what is in the file
        raise
    except sqlite3.DatabaseError:
        database.unlink(missing_ok=True)
        return _scan(path, database)


def _scan(path: Path, database: Path) -> str:
    with closing(sqlite3.connect(database)) as known:
        known.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
        known.executescript(SCHEMA)
        entries = (
            (os.fsencode(e.file), e.part, e.label, e.size, e.mtime, e.problem)
            for e in listing.entries(path)
        )
        known.executemany("INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?)", entries)
        known.execute("DELETE FROM looked WHERE sha256 = ''")
        known.commit()
        _look(known, path)
        known.executescript(IMAGES)
        known.executescript(SPLIT)
        try:
            classes = _classes(known, path)
        except ValueError as error:
            said = _report(known, database.with_suffix(LEFT_OUT))
            raise ValueError(f"{error}; {said}" if said else str(error)) from None
        name = index.write(path, classes, _rows(known, classes))
        if said := _report(known, index.left_out_file(name)):
            print(f"{name}: {said}", file=sys.stderr)
        known.execute("DELETE FROM looked WHERE file NOT IN (SELECT file FROM listed)")
        known.commit()
    return name


def _look(known: sqlite3.Connection, path: Path) -> None:
    """Open every file that is new or changed, on all cores, and keep what it is."""
    new = (
        "FROM listed WHERE problem = '' AND NOT EXISTS (SELECT 1 FROM looked WHERE "
        "(looked.file, looked.size, looked.mtime) = (listed.file, listed.size, listed.mtime))"
    )
    known.execute(f"CREATE TEMP TABLE new AS SELECT DISTINCT file, size, mtime {new}")
    (total,) = known.execute("SELECT COUNT(*) FROM new").fetchone()
    if not total:
        return
    folder = listing.base(path)
    print(f"{path.name}: looking at {total:,} images", file=sys.stderr)
    files = known.execute("SELECT * FROM new ORDER BY file")
    batches = iter(lambda: files.fetchmany(BATCH), [])
    with warnings.catch_warnings(), bar(total, " images") as shown:
        warnings.simplefilter("ignore")  # Pillow's, of odd files
        for looked in ordered(lambda batch: [_looked(folder, *new) for new in batch], batches):
            known.executemany("INSERT OR REPLACE INTO looked VALUES (?, ?, ?, ?, ?)", looked)
            known.commit()
            shown.update(len(looked))


def _looked(folder: Path, file: bytes, size: int, mtime: int) -> Looked:
    """What a file is; that the system can't read it now is not kept beyond this scan.

    Its picture is made and dropped, as less would not do: a JPEG or WebP that is cut off, and data
    that is damaged under a right checksum, show when they are decoded to their end. It is not kept
    for the map, whose order, by SHA-256, is known when the scan is over.
    """
    try:
        with (folder / os.fsdecode(file)).open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            opened.seek(0)
            pictures.picture(opened)
    except pictures.Unusable as error:
        return file, size, mtime, digest, str(error)
    except OSError as error:
        return file, size, mtime, "", f"can't be read: {error.strerror or error}"
    return file, size, mtime, digest, ""


def _classes(known: sqlite3.Connection, path: Path) -> tuple[str, ...]:
    """Names of the classes, sorted; refuses what leaves one without images in a part."""
    if not listing.has_labels(path):
        if not known.execute("SELECT 1 FROM split").fetchone():
            raise ValueError("it has no usable image")
        return ()
    labels = "SELECT DISTINCT label FROM listed WHERE label <> '' ORDER BY label"
    classes = tuple(label for (label,) in known.execute(labels))
    if len(classes) < 2:
        found = f"one, {classes[0]!r}" if classes else "none"
        raise ValueError(
            f"two classes at least are needed, and it has {found}; for images without labels name "
            "the folder that they lie in themselves, or a table of them"
        )
    _check_forms(classes, path.name)
    _check_parts(known, classes)
    return classes


def _check_forms(classes: Iterable[str], title: str) -> None:
    """Refuse two classes whose names look the same, and tell of those that hardly differ."""
    known: dict[str, str] = {}
    for name in classes:
        if (other := known.setdefault(unicodedata.normalize("NFC", name), name)) != name:
            raise ValueError(
                f"classes {other!a} and {name!a} are one name, {name!r}, in two forms of Unicode: "
                "call one as the other"
            )
    folded: dict[str, str] = {}
    for name in classes:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            told = f"classes {other!r} and {name!r} are two, though they differ in case alone"
            print(f"{title}: {told}", file=sys.stderr)


def _check_parts(known: sqlite3.Connection, classes: Iterable[str]) -> None:
    """Refuse a class that leaves a part without an image."""
    counts = dict.fromkeys(((c, p) for c in classes for p in listing.PARTS), 0)
    counts |= {
        (label, part): count
        for label, part, count in known.execute(
            "SELECT label, part, COUNT(*) FROM split GROUP BY label, part"
        )
    }
    for (label, part), count in counts.items():
        if not count:
            other = "test" if part == "train" else "train"
            raise ValueError(
                f"class {label!r} has {counts[label, other]} usable images, none of which is for "
                f"the {part} set, and each set needs one: add images, or take the class out"
            )


def _rows(known: sqlite3.Connection, classes: tuple[str, ...]) -> Iterator[index.Row]:
    """The images, training set first, by their content."""
    numbers = {label: number for number, label in enumerate(classes)}
    images = known.execute("SELECT file, part, label, sha256 FROM split ORDER BY part DESC, sha256")
    for file, part, label, sha256 in images:
        yield index.Row(os.fsdecode(file), part, numbers.get(label, -1), sha256)


def _report(known: sqlite3.Connection, file: Path) -> str:
    """Write the table of the files that are left out, and say how many where there are some."""
    number, part = 0, file.with_name(f".{file.name}-{os.getpid()}")
    try:
        with part.open("w", newline="", encoding="utf-8") as lines:
            table = csv_writer(lines)
            table.writerow(["file", "problem"])
            for path, problem in known.execute(PROBLEMS):
                table.writerow([path.decode("utf-8", "backslashreplace"), problem])
                number += 1
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return f"{number:,} files are left out, listed in {file}" if number else ""
