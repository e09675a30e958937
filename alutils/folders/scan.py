"""Scan a folder or table of images: open every file once, and index the usable ones.

For every file, a database in the data cache stores its content's SHA-256 and what is wrong with it,
until its size or time changes: so an interrupted scan resumes, and only new and changed files are
opened. The index is made from it: which images are kept, in which order, and in which part.

Files of equal content are one image. If their labels differ, none is used; if the same image is in
both parts, the test image is used. A dataset without a split gets its test set here: a fifth of
every class, the images whose SHA-256 comes first, so that all seeds share it and few images change
sides when others are added. Rows are in order of their SHA-256, too.
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
from alutils.threads import parallel_map
from alutils.waiting import bar, exclusive_lock

TEST_SHARE = 0.2
"""Share of every class used for testing if a dataset has no split; at least one image."""
BATCH = 64
"""Number of files that a thread opens per batch."""
Looked = tuple[bytes, int, int, str, str]
"""File, size, time, SHA-256, and what is wrong with it (an empty string if nothing)."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS looked (
    file BLOB PRIMARY KEY, size INT, mtime INT, sha256 TEXT, problem TEXT) WITHOUT ROWID;
CREATE TEMP TABLE listed (
    file BLOB, part TEXT, label TEXT, size INT, mtime INT, problem TEXT);
"""
BEGUN = "SELECT 1 FROM sqlite_master WHERE name = 'looked'"
"""Finds a row if a database has the schema, which it lacks if its creation was interrupted."""
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
    """Scan a folder or table of images, and return the name of the dataset that it holds.

    Prints how many files are left out, and where they are listed. Raises a one-line ``ValueError``
    if it holds no dataset, or if the cache can't be written.
    """
    if (place := listing.existing(path)) is None:
        raise ValueError("there is no such folder, CSV or Parquet file")
    path = Path(os.path.abspath(place))
    database = data_cache() / f"scan-{_key(path)}.sqlite"
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        waiting = f"{path.name}: waiting for another process to scan its images"
        with exclusive_lock(database.with_suffix(".lock"), waiting):
            return _scanned(path, database)
    except csv.Error as error:
        raise ValueError(f"the table can't be read ({error})") from error
    except (OSError, sqlite3.Error) as error:
        raise ValueError(
            f"its images can't be scanned ({error}): check its permissions, and the permissions "
            f"and free space of {database.parent}, where the results are kept"
        ) from error


def invalidate(file: str) -> None:
    """Make the next scan open a file again, in every folder that has it.

    Meant for a file whose content changed since it was scanned, though its size and time did not.
    ``file`` is relative to the folder. Prints a message if a database can't be changed, for example
    while another process writes to it.
    """
    row = (os.fsencode(file),)
    for database in data_cache().glob("scan-*.sqlite"):
        try:
            with closing(sqlite3.connect(database)) as known, known:
                begun = known.execute(BEGUN).fetchone()
                if begun and known.execute("SELECT 1 FROM looked WHERE file = ?", row).fetchone():
                    known.execute("DELETE FROM looked WHERE file = ?", row)
        except sqlite3.OperationalError as error:
            told = f"{file!r} will not be opened again, as {database} can't be changed ({error})"
            print(f"{told}: remove that database first", file=sys.stderr)
        except sqlite3.DatabaseError:  # corrupt: the next scan rebuilds it
            continue


def _key(path: Path) -> str:
    """A hash of the path, and of what determines which files can be read."""
    from PIL import __version__

    facts = f"{pictures.PREPARATION} {__version__} ".encode() + os.fsencode(path)
    return hashlib.sha256(facts).hexdigest()[:16]


def _scanned(path: Path, database: Path) -> str:
    """Return the name of the dataset; a corrupt database is rebuilt."""
    try:
        return _scan(path, database)
    except sqlite3.OperationalError:  # caused by the disk or the folder, not by the file's content
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
    """Open every new or changed file, on all cores, and store what was found."""
    new = (
        "FROM listed WHERE problem = '' AND NOT EXISTS (SELECT 1 FROM looked WHERE "
        "(looked.file, looked.size, looked.mtime) = (listed.file, listed.size, listed.mtime))"
    )
    known.execute(f"CREATE TEMP TABLE new AS SELECT DISTINCT file, size, mtime {new}")
    (total,) = known.execute("SELECT COUNT(*) FROM new").fetchone()
    if not total:
        return
    folder = listing.base(path)
    print(f"{path.name}: scanning {total:,} images", file=sys.stderr)
    files = known.execute("SELECT * FROM new ORDER BY file")
    batches = iter(lambda: files.fetchmany(BATCH), [])
    with warnings.catch_warnings(), bar(total, " images") as shown:
        warnings.simplefilter("ignore")  # Pillow's warnings about odd files
        for looked in parallel_map(lambda batch: [_looked(folder, *new) for new in batch], batches):
            known.executemany("INSERT OR REPLACE INTO looked VALUES (?, ?, ?, ?, ?)", looked)
            known.commit()
            shown.update(len(looked))


def _looked(folder: Path, file: bytes, size: int, mtime: int) -> Looked:
    """Examine a file; a failure of the system to read it is not kept beyond this scan.

    The image is decoded and then dropped, since nothing less is enough: a truncated JPEG or WebP,
    and corrupt data with a valid checksum, only show when they are decoded to the end. It is not
    kept for the memory map, whose order (by SHA-256) is known only after the scan.
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
    """Return the sorted class names; refuses a dataset in which a class has no image in a part."""
    if not listing.has_labels(path):
        if not known.execute("SELECT 1 FROM split").fetchone():
            raise ValueError("it has no usable image")
        return ()
    labels = "SELECT DISTINCT label FROM listed WHERE label <> '' ORDER BY label"
    classes = tuple(label for (label,) in known.execute(labels))
    if len(classes) < 2:
        found = f"one, {classes[0]!r}" if classes else "none"
        raise ValueError(
            f"at least two classes are needed, and it has {found}; for images without labels, give "
            "the folder that directly contains them, or a table of them"
        )
    _check_forms(classes, path.name)
    _check_parts(known, classes)
    return classes


def _check_forms(classes: Iterable[str], title: str) -> None:
    """Refuse classes whose names look the same, and report those whose names hardly differ."""
    known: dict[str, str] = {}
    for name in classes:
        if (other := known.setdefault(unicodedata.normalize("NFC", name), name)) != name:
            raise ValueError(
                f"classes {other!a} and {name!a} are one name, {name!r}, in two forms of Unicode: "
                "rename one to match the other"
            )
    folded: dict[str, str] = {}
    for name in classes:
        if (other := folded.setdefault(name.casefold(), name)) != name:
            told = f"classes {other!r} and {name!r} are two classes, though only their case differs"
            print(f"{title}: {told}", file=sys.stderr)


def _check_parts(known: sqlite3.Connection, classes: Iterable[str]) -> None:
    """Refuse a class that has no image in one of the parts."""
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
                f"the {part} set, and each set needs one: add images, or remove the class"
            )


def _rows(known: sqlite3.Connection, classes: tuple[str, ...]) -> Iterator[index.Row]:
    """Yield the images, training set first, in order of their SHA-256."""
    numbers = {label: number for number, label in enumerate(classes)}
    images = known.execute("SELECT file, part, label, sha256 FROM split ORDER BY part DESC, sha256")
    for file, part, label, sha256 in images:
        yield index.Row(os.fsdecode(file), part, numbers.get(label, -1), sha256)


def _report(known: sqlite3.Connection, file: Path) -> str:
    """Write the table of left-out files; return a message with their number if there are any."""
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
