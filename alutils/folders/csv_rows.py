"""Rows of a CSV file with line feeds, which read back as they were."""

import csv
from typing import Any, TextIO


def csv_writer(file: TextIO) -> Any:
    """A ``csv.writer`` that ends rows by a line feed and quotes every field with a line break.

    Python 3.11's own leaves a carriage return bare where rows end by a line feed alone, and a
    reader takes it for the end of a row. ``file`` is opened with ``newline=""``.
    """
    return csv.writer(_LineFeeds(file), lineterminator="\r\n")


class _LineFeeds:
    """Takes rows that end by ``\\r\\n`` one by one, and writes them with a line feed there."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, row: str) -> int:
        return self.file.write(row.removesuffix("\r\n") + "\n")
