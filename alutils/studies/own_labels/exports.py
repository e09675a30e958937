"""What is exported, as a report shows it."""

from html import escape

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.labelling.bundle import FILES, write_all
from alutils.reporting.prose import count, table
from alutils.studies.own_labels.by_hand import NOTHING, Labelling, undisturbed, without_links
from alutils.studies.own_labels.plan import PERSON


@undisturbed
def overview(labelling: Labelling) -> HTML | Markdown:
    """What an export has; in batch it is written, a person asks for it."""
    study, labels = labelling.study, labelling.session.answers.labels
    if not labels:
        return Markdown(NOTHING)
    if study.answers == PERSON:
        files = "; ".join(f"`{name}`: {what}" for name, what in FILES.items())
        return Markdown(
            f"To have all of it in a new folder beside the ledger, press *Export* under the images "
            f"({files})."
        )
    export = write_all(study.folder, labelling.session, labelling.images)
    folder = export.folder
    rows = [{"file": name, "what": FILES[name]} for name in FILES if (folder / name).exists()]
    text = f"{count(len(labels), 'label')}, in the folder <code>{folder.name}</code>"
    text += f" beside the ledger{escape(without_links(export))}:"
    return HTML(f"<p>{text}</p>{table(pd.DataFrame(rows)).data}")
