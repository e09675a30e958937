"""Labelled images in a folder a class, as links or copies."""

import hashlib
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal

from alutils.labelling.entries import Answers
from alutils.labelling.export import whole_folder
from alutils.protocol.parameters import ParameterError

GONE, CHANGED = "no file is there", "the file is another one by now"
"""Why an image can't be linked."""
FORBIDDEN = r'[/\\:*?"<>|%\x00-\x1f\x7f]'
"""What some file system has in no name, and what stands for it here."""
LONGEST = 255
"""Bytes of a folder's name at most, as most file systems have it."""


def without_file(
    images: Iterable[str], root: Path, digests: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Images that have no file below ``root`` to link, and why: ``GONE`` or ``CHANGED``.

    Gone are absolute paths too. ``digests`` has the SHA-256 of what was labelled, by image; without
    it contents are not read, and none counts as changed.
    """
    problems = ((image, _problem(image, Path(root), digests)) for image in images)
    return {image: problem for image, problem in problems if problem}


def write_folders(
    folder: Path,
    answers: Answers,
    root: Path,
    how: Literal["links", "copies"] = "links",
    without: Collection[str] | None = None,
) -> list[str]:
    """A folder a class, with links to the images that have its label, or copies of them.

    Parameters
    ----------
    folder : is made, whole or not at all
    root : the folder that the images' names are relative to; below the class's folder they keep
        their paths, with ``..`` quoted as in an address
    without : labelled images that are left out; None for those of ``without_file``

    Returns the images that are left out. Raises ``ParameterError`` where the folder is there, and,
    unless ``without`` is given, where no image has a file; ``CanNotWrite``.
    """
    root, labels = Path(root).resolve(), answers.labels
    gone = _gone(labels, root) if without is None else [i for i in labels if i in without]
    with whole_folder(folder) as part:
        for name in answers.classes:
            (part / folder_name(name)).mkdir()
        for image in labels.keys() - set(gone):
            inside = ("%2E%2E" if name == ".." else name for name in Path(image).parts)
            target = part.joinpath(folder_name(labels[image]), *inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            if how == "links":
                target.symlink_to(root / image)
            else:
                shutil.copy2(root / image, target)
    return gone


def folder_name(label: str) -> str:
    """A class's name as that of a folder: its own, as far as file systems allow.

    Characters that some of them forbid, and a point at its beginning, are quoted as in an address
    (``%2F``). A name that would be longer than ``LONGEST`` bytes is cut, with a digest at its end.
    """
    name = re.sub(FORBIDDEN, lambda found: f"%{ord(found[0]):02X}", label)
    name = "%2E" + name[1:] if name.startswith(".") else name
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{content[: LONGEST - len(digest) - 1].decode(errors='ignore')}~{digest}"


def _gone(labels: Mapping[str, str], root: Path) -> list[str]:
    """The images without a file; refuses where that is so of all."""
    gone = list(without_file(labels, root))
    if gone and len(gone) == len(labels):
        raise ParameterError(
            f"image {gone[0]!r} is no file below {root}, nor is any other: give the path of the "
            "folder as it is now"
        )
    return gone


def _problem(image: str, root: Path, digests: Mapping[str, str] | None) -> str:
    """Why an image has no file to link; empty where it has one."""
    file = root / image
    if Path(image).is_absolute() or not file.is_file():
        return GONE
    if digests is None or image not in digests:
        return ""
    try:
        with file.open("rb") as opened:
            same = hashlib.file_digest(opened, "sha256").hexdigest() == digests[image]
    except OSError:
        return GONE
    return "" if same else CHANGED
