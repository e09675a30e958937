"""What the folder holds: its classes with their images, and the files that were left out."""

import csv
import re
from collections import Counter
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.folders.index import PREFIX, left_out_file
from alutils.protocol.datasets import dataset_title
from alutils.reporting import prose
from alutils.reporting.prose import count, escape_markdown

LISTED = 10
"""Maximum number of classes at either end, and of kinds of left-out files, in a table."""
COPY, COPIES = "same content as ", "same content as another file"
DISPUTED = f"{COPY}a file with another label"
"""What ``folders.scan`` says about copies."""


def sizes(dataset: Any) -> pd.DataFrame:
    """Numbers of training and test images by class (index), the most frequent class first.

    For a loaded dataset; equally frequent classes are in its order.
    """
    names = list(dataset.classes)
    counts = {
        part: getattr(dataset, f"{part}_labels").bincount(minlength=len(names)).tolist()
        for part in ("train", "test")
    }
    return pd.DataFrame(counts, index=names).sort_values("train", ascending=False, kind="stable")


def sentence(dataset: Any) -> Markdown:
    """How many images and classes there are, and how unequal the classes."""
    each = sizes(dataset)
    train, test = int(each["train"].sum()), int(each["test"].sum())
    text = (
        f"**{escape_markdown(dataset_title(dataset.name))}** has "
        f"{count(train + test, 'usable image')} in {len(each)} classes: {train:,} for training and "
        f"{test:,} for the test set. "
    )
    if len(set(each["train"])) == 1:
        text += f"Every class has {count(int(each['train'].iloc[0]), 'training image')}. "
    else:
        most, least = each.iloc[0], each.iloc[-1]
        first, last = escape_markdown(most.name), escape_markdown(least.name)
        text += (
            f"The most frequent class, {first}, has {count(int(most['train']), 'training image')}, "
            f"and the rarest, {last}, has {least['train']:,}. "
        )
    return Markdown(
        f"{text}The class with the fewest test images has {each['test'].min():,}: statements below "
        "about a single class may rest on no more than that."
    )


def classes(dataset: Any) -> HTML | Markdown:
    """Numbers of images by class; of many classes, only the most frequent and the rarest."""
    each = sizes(dataset)
    if len(each.drop_duplicates()) == 1:
        return Markdown("All classes have the same number of images.")
    each = each.map("{:,}".format)
    each = each.rename(columns={"train": "training images", "test": "test images"})
    note = ""
    if len(each) > 2 * LISTED:
        note = f"<p>The {LISTED} most frequent and the {LISTED} rarest of {len(each)} classes:</p>"
        each = pd.concat([each.head(LISTED), each.tail(LISTED)])
    return HTML(note + prose.table(each.rename_axis("class").reset_index()).data)


def left_out(name: str) -> HTML | Markdown:
    """How many of the folder's files are not used, by what is wrong with them."""
    if not name.startswith(PREFIX):
        return Markdown(f"{dataset_title(name)} is not a folder: no file is left out.")
    try:
        with left_out_file(name).open(newline="", encoding="utf-8") as lines:
            rows = [(_kind(row["problem"]), row["file"]) for row in csv.DictReader(lines)]
    except FileNotFoundError:
        return Markdown("Which files were left out is not known on this machine.")
    if not rows:
        return Markdown("Every file of the folder is used.")
    kinds = Counter(kind for kind, _ in rows)
    examples = dict(reversed(rows))
    listed = [
        {"left out because": kind, "files": f"{number:,}", "such as": examples[kind]}
        for kind, number in kinds.most_common(LISTED)
    ]
    among = f" The {LISTED} most frequent of {len(kinds)} reasons:" if len(kinds) > LISTED else ""
    told = (
        f"<p>{count(len(rows), 'file')} of the folder {'is' if len(rows) == 1 else 'are'} not "
        f"used. All of them are listed in <code>{left_out_file(name).name}</code> in the data "
        f"cache.{among}</p>"
    )
    return HTML(told + prose.table(pd.DataFrame(listed)).data)


def _kind(problem: str) -> str:
    """A problem without what differs from file to file: its size, and what it is a copy of."""
    if problem.startswith(COPY) and problem != DISPUTED:
        return COPIES
    return re.sub(r"^\d+ × \d+ pixels: ", "", problem)
