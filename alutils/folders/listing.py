"""The files of a user's own dataset, a folder or a table of files, with their labels.

Only the table is opened here.
"""

import csv
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

PARTS = ("train", "test")
LIKE_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Lower-case folder names that are common for parts of a dataset, and unlikely for a class."""
IGNORED = {
    "thumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found",
}  # fmt: skip
"""Lower-case names of what systems and network drives leave behind in folders; names that begin
with a dot are ignored too."""
NO_IMAGES = ".no-images"
"""A file that marks a folder, such as an export, as not part of the dataset around it."""
TABLES = (".csv", ".parquet")
TIMES = 2**63 - 1
"""The latest time (ns) that the database can hold; some file systems report later ones."""


@dataclass(frozen=True)
class Entry:
    """A file that may be an image of the dataset, or the reason why it isn't one.

    Attributes
    ----------
    file : its path, relative to the folder or to the table's
    part : ``train``, ``test``, or empty where the dataset is not split yet
    label : empty where there are no labels
    size, mtime : in bytes and in nanoseconds
    problem : why it is left out without being opened; empty for all others
    """

    file: str
    part: str = ""
    label: str = ""
    size: int = 0
    mtime: int = 0
    problem: str = ""


def existing(path: str | Path) -> Path | None:
    """Return a path with ``~`` expanded, or None if nothing is there.

    Raises a one-line ``ValueError`` if that can't be determined.
    """
    try:
        place = Path(path).expanduser()
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise ValueError(
            f"it can't be read ({reason}): check the path and its permissions"
        ) from error
    return place


def entries(path: Path) -> Iterator[Entry]:
    """Return the files of a folder or table, in arbitrary order.

    A folder holds class folders, or ``train`` and ``test`` with class folders in each, or only
    images, which then have no labels. A table is a CSV or Parquet file with the columns ``file``
    (relative to the table) and ``label``, whose case and surrounding blanks don't matter; without
    ``label``, images have no labels. A ``train`` or ``test`` that holds no folder is an ordinary
    class. Raises ``ValueError`` for anything else.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_table(path)
    raise ValueError("it is neither a folder nor a CSV or Parquet file")


def has_labels(path: Path) -> bool:
    """Whether the dataset has labels."""
    if path.is_dir():
        return any(map(_is_folder, _visible(path)))
    return _column(_columns(path), "label") is not None


def labels(path: Path) -> Iterator[tuple[str, str]]:
    """Return file and label of every labelled row of a table, files as they are written there.

    The table's columns are ``file`` (or ``image``) and ``label``. Raises ``ValueError`` if one is
    missing, and ``OSError`` if the table can't be read.
    """
    columns = _columns(path)
    file, label = _column(columns, "file") or _column(columns, "image"), _column(columns, "label")
    if file is None or label is None:
        raise ValueError(
            "it lacks one of the columns image (or file) and label: it has "
            f"{', '.join(columns) or 'none'}"
        )
    return ((name, label) for name, label in _rows(path, file, label) if label)


def base(path: Path) -> Path:
    """The folder that the entries' files are relative to."""
    return path if path.is_dir() else path.parent


def _of_folder(path: Path) -> Iterator[Entry]:
    folders = {entry.name for entry in _visible(path) if _is_folder(entry)}
    given = [p for p in PARTS if p in folders and any(map(_is_folder, _visible(path / p)))]
    if len(given) == 1:
        (other,) = set(PARTS) - set(given)
        raise ValueError(
            f"it has {given[0]}/ but no {other}/ with class folders: add it, or give the folder "
            f"that holds the class folders, which is then split automatically; if {given[0]} is a "
            "class, rename it"
        )
    like_parts = len(folders) > 1 and {name.lower() for name in folders} <= LIKE_PARTS
    if not given and (like_parts or set(PARTS) <= folders):
        raise ValueError(
            f"its folders {', '.join(sorted(folders))} would be its classes: if they are parts, "
            "name them train and test, with class folders in each; to use the images of one part, "
            "give that folder"
        )
    if given:
        for part in PARTS:
            yield from _of_classes(path, path / part, part)
        others = (entry.name for entry in _visible(path) if entry.name not in PARTS)
        yield from (Entry(name, problem="neither in train/ nor in test/") for name in others)
    elif folders:
        yield from _of_classes(path, path, "")
    else:
        yield from (_entry(path, entry.path) for entry in _visible(path))


def _of_classes(root: Path, folder: Path, part: str) -> Iterator[Entry]:
    for entry in _visible(folder):
        if _is_folder(entry):
            yield from _of_class(root, entry, part)
        else:
            yield _entry(root, entry.path, part, problem="in no class folder")


def _of_class(root: Path, folder: os.DirEntry, part: str) -> Iterator[Entry]:
    """Yield the files of a class; a class folder that can't be read makes no class."""
    if folder.name != folder.name.encode(errors="replace").decode():
        raise ValueError(f"the name of its class folder {folder.name!r} is not UTF-8: rename it")
    name, empty = os.path.relpath(folder.path, root), True
    try:
        for file in files_below(folder.path):
            empty = False
            yield _entry(root, file, part, folder.name)
    except OSError as error:
        yield Entry(name, part, problem=_unreadable(error))
        return
    if empty:
        yield Entry(name, part, folder.name, problem="an empty class folder")


def files_below(folder: str | Path, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of all files under a folder; links are followed, but never in a cycle.

    A subfolder that can't be read is yielded like a file. ``above`` are the real paths of the
    folders that lead to this one. Raises ``OSError`` if the folder itself can't be read.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _visible(Path(folder)):
        if not _is_folder(entry):
            yield entry.path
            continue
        try:
            yield from files_below(entry.path, (*above, real))
        except OSError:
            yield entry.path


def _visible(folder: Path) -> Iterator[os.DirEntry]:
    with os.scandir(folder) as inside:
        for entry in inside:
            if entry.name.startswith(".") or entry.name.lower() in IGNORED:
                continue
            if not (_is_folder(entry) and os.path.lexists(os.path.join(entry.path, NO_IMAGES))):
                yield entry


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a cyclic link, which is reported when its file is looked up
        return False


def _entry(root: Path, file: str, part: str = "", label: str = "", problem: str = "") -> Entry:
    name = os.path.relpath(file, root)
    try:
        facts = os.stat(file)
    except (OSError, ValueError) as error:
        return Entry(name, part, label, problem=_unreadable(error))
    if not stat.S_ISREG(facts.st_mode):
        problem = problem or _no_file(file)
    time = max(-TIMES, min(facts.st_mtime_ns, TIMES))
    return Entry(name, part, label, facts.st_size, time, problem)


def _no_file(path: str) -> str:
    """What is wrong with a path that leads to no regular file."""
    try:
        os.scandir(path).close()
    except NotADirectoryError:
        pass
    except OSError as error:
        return _unreadable(error)
    return "not a file"


def _unreadable(error: Exception) -> str:
    return f"can't be read: {getattr(error, 'strerror', None) or error}"


def _of_table(path: Path) -> Iterator[Entry]:
    columns = _columns(path)
    files, labels = (_column(columns, kind) for kind in ("file", "label"))
    if files is None:
        raise ValueError(f"it lacks the column file: it has {', '.join(columns) or 'none'}")
    for file, label in _rows(path, files, labels):
        problem = "no label" if labels is not None and not label else ""
        yield _entry(path.parent, str(path.parent / _spelt(file, path.parent)), "", label, problem)


def _spelt(file: str, folder: Path) -> str:
    """A table's file name as the folder spells it: as is, stripped, or in another Unicode form.

    If no such file exists, the stripped name is returned.
    """
    bare = file.strip()
    for name in dict.fromkeys((file, bare, normalize("NFC", bare), normalize("NFD", bare))):
        if os.path.lexists(folder / name):
            return name
    return utf_8(bare)


def utf_8(text: str) -> str:
    """Return a table's text; raises ``ValueError`` if it is not encoded in UTF-8."""
    if text != text.encode(errors="replace").decode():
        raise ValueError("the table is not in UTF-8: save it as CSV UTF-8")
    return text


def _column(columns: Sequence[str], kind: str) -> str | None:
    """Find a table's name for the column ``kind``, ignoring case and surrounding blanks.

    None if there is none; raises ``ValueError`` if several may be meant.
    """
    if columns.count(kind) == 1:
        return kind
    alike = [name for name in columns if name.strip().casefold() == kind]
    if len(alike) > 1:
        raise ValueError(
            f"its columns {', '.join(alike)} may all be {kind}: give only one of them that name"
        )
    return alike[0] if alike else None


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        return _parquet(path).schema_arrow.names
    return [utf_8(name) for name in next(_csv(path), [])]


def _csv(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, header included; bytes that aren't UTF-8 become surrogates.

    Columns are separated by commas or, if the header has none, by semicolons or tabs, as
    spreadsheets write them in countries with a decimal comma.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        header = lines.readline()
        delimiter = next((mark for mark in ",;\t" if mark in header), ",")
        lines.seek(0)
        yield from csv.reader(lines, delimiter=delimiter, skipinitialspace=True)


def _rows(path: Path, files: str, labels: str | None) -> Iterator[tuple[str, str]]:
    """Yield file and label of every row, given the column names; a missing label is empty.

    Surrounding blanks are kept in file names and stripped from labels.
    """
    if path.suffix.lower() == ".parquet":
        columns = [files] if labels is None else [files, labels]
        for batch in _parquet(path).iter_batches(columns=columns):
            for row in batch.to_pylist():
                yield _text(row[files]), _text(labels and row[labels]).strip()
        return
    rows = _csv(path)
    header = next(rows)
    for row in filter(None, rows):
        cells = dict(zip(header, row, strict=False))
        yield cells.get(files, ""), utf_8(cells.get(labels, "")).strip()


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _parquet(path: Path):
    try:
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise ValueError(
            "Parquet files need the package pyarrow: install it, or save the table as CSV"
        ) from error
    return ParquetFile(path)
