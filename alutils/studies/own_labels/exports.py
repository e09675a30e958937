"""What is exported, as a report shows it."""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.labelling.bundle import FILES, write_all
from alutils.reporting.prose import count, table
from alutils.studies.own_labels.by_hand import Labelling
from alutils.studies.own_labels.plan import PERSON


def overview(labelling: Labelling) -> HTML | Markdown:
    """What an export has; in batch it is written, a person asks for it."""
    study, labels = labelling.study, labelling.session.answers.labels
    if not labels:
        return Markdown("Nothing is labelled yet: once it is, run this cell again.")
    if study.answers == PERSON:
        files = "; ".join(f"`{name}`: {what}" for name, what in FILES.items())
        return Markdown(
            f"To have all of it in a new folder beside the ledger, press *Export* under the images "
            f"({files})."
        )
    folder, _ = write_all(study.folder, labelling.session, labelling.images)
    rows = [{"file": name, "what": FILES[name]} for name in FILES if (folder / name).exists()]
    text = f"{count(len(labels), 'label')}, in the folder <code>{folder.name}</code>"
    return HTML(f"<p>{text} beside the ledger:</p>{table(pd.DataFrame(rows)).data}")
