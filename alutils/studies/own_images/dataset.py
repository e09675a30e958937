"""The parameter that names a folder of one's own."""

from typing import Annotated

from pydantic import AfterValidator, Field

from alutils.folders.example import example_folder
from alutils.protocol.datasets import named

NameOrExample = Annotated[
    str,
    AfterValidator(lambda value: value or str(example_folder())),
    AfterValidator(named),
    Field(validate_default=True),
]
"""A dataset's name or path; an empty one means the small folder that is made as an example."""
