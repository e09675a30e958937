"""The parameter that names a user's own folder."""

from typing import Annotated

from pydantic import AfterValidator, Field

from alutils.folders.example import example_folder
from alutils.protocol.datasets import resolve_dataset

NameOrExample = Annotated[
    str,
    AfterValidator(lambda value: value or str(example_folder())),
    AfterValidator(resolve_dataset),
    Field(validate_default=True),
]
"""A dataset's name or path; if empty, a small example folder is made."""
