"""Labelled images as links, in one folder per class."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from alutils.folders.listing import IGNORED, PARTS
from alutils.labelling.entries import Answers
from alutils.labelling.export import atomic_folder

GONE, CHANGED = "the file is gone", "the file has changed"
"""Why an image can't be linked."""
FORBIDDEN = (
    r'[/\\:*?"<>|%\x00-\x1f\x7f]|^\.|[. ]\Z'
    r"|^(?=(?i:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z))."
)
"""What some system does not allow in a name: some characters, a dot at the beginning, a dot or
space at the end, and Windows device names, of which the first letter is matched."""
LONGEST = 255
"""Maximum number of bytes in a folder's name on most file systems."""


def without_file(images: Iterable[str], root: Path, digests: Mapping[str, str]) -> dict[str, str]:
    """Images that have no file below ``root`` to link, and why: ``GONE`` or ``CHANGED``.

    Absolute paths count as gone, too. ``digests`` has the SHA-256 of what was labelled, by image;
    an image that it lacks is not read, and doesn't count as changed.
    """
    problems = ((image, _problem(image, Path(root), digests)) for image in images)
    return {image: problem for image, problem in problems if problem}


def write_folders(folder: Path, answers: Answers, root: Path, without: Collection[str]) -> None:
    """Write one folder per class with links to its images; none for a class without images.

    Parameters
    ----------
    folder : created, completely or not at all
    root : the folder that the images' names are relative to; below the class's folder they keep
        their paths, with ``..`` percent-encoded
    without : images that are left out

    Raises ``ParameterError`` if the folder already exists, and ``CanNotWrite``, for example on a
    file system without links.
    """
    root = Path(root).resolve()
    with atomic_folder(folder) as part:
        for image, label in answers.labels.items():
            if image not in without:
                inside = ("%2E%2E" if name == ".." else name for name in Path(image).parts)
                target = part.joinpath(folder_name(label), *inside)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(root / image)


def folder_name(label: str) -> str:
    """The folder name of a class: the class's own name, as far as file systems allow.

    What is ``FORBIDDEN`` is percent-encoded (``%2F``), and so is the first letter of a name that
    means something else than a class in a folder of images. A name longer than ``LONGEST`` bytes is
    cut, with a digest at its end.
    """
    name = re.sub(FORBIDDEN, lambda found: _quoted(found[0]), label)
    if name.lower() in IGNORED or name in PARTS:
        name = _quoted(name[0]) + name[1:]
    content = name.encode("utf-8", "surrogateescape")
    if len(content) <= LONGEST:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    return f"{content[: LONGEST - len(digest) - 1].decode(errors='ignore')}~{digest}"


def _quoted(character: str) -> str:
    return f"%{ord(character):02X}"


def _problem(image: str, root: Path, digests: Mapping[str, str]) -> str:
    """Why an image has no file to link; empty if it has one."""
    file = root / image
    try:
        if Path(image).is_absolute() or not file.is_file():
            return GONE
        if image not in digests:
            return ""
        with file.open("rb") as opened:
            same = hashlib.file_digest(opened, "sha256").hexdigest() == digests[image]
    except OSError:
        return GONE
    return "" if same else CHANGED
