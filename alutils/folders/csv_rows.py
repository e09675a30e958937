"""Write CSV rows that end with a line feed and read back unchanged."""

import csv
from typing import Any, TextIO


def csv_writer(file: TextIO) -> Any:
    """Return a ``csv.writer`` that ends rows with a line feed and quotes fields with line breaks.

    If rows end with a line feed alone, Python 3.11's ``csv.writer`` doesn't quote a carriage
    return, and a reader takes it for the end of a row. ``file`` must be opened with ``newline=""``.
    """
    return csv.writer(_LineFeeds(file), lineterminator="\r\n")


class _LineFeeds:
    """Takes rows that end with ``\\r\\n`` one by one, and writes them with a line feed instead."""

    def __init__(self, file: TextIO):
        self.file = file

    def write(self, row: str) -> int:
        return self.file.write(row.removesuffix("\r\n") + "\n")
