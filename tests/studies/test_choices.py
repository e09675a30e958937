"""The guides that tell of a choice say what the committed records say."""

import pandas as pd
import pytest

from alutils.paths import ROOT
from alutils.protocol.study import Study
from alutils.running import run
from alutils.studies.choices import head, precision, recipe

CHOICES = {"recipe": recipe, "precision": precision, "head": head}


@pytest.mark.parametrize("name", CHOICES)
def test_the_guide_is_what_its_command_makes_of_the_committed_records(
    name, keep_committed, monkeypatch
):
    """Nothing is trained, so that a record that is not there is noticed."""
    keep_committed([name])
    with_training, written = run.run, {}

    def without_training(study: Study) -> pd.DataFrame:
        return with_training(study.model_copy(update={"train": False}))

    monkeypatch.setattr(run, "run", without_training)
    monkeypatch.setattr(CHOICES[name], "write", written.__setitem__)
    CHOICES[name].main()
    assert written == {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")}
