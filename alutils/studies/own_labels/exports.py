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
    """What an export contains; in batch it is written here, a person has to ask for it."""
    study, labels = labelling.study, labelling.session.answers.labels
    if not labels:
        return Markdown(NOTHING)
    if study.answers == PERSON:
        files = "; ".join(f"`{name}`: {what}" for name, what in FILES.items())
        return Markdown(
            "To write all of it to a new folder next to the ledger, press *Export* under the "
            f"images ({files})."
        )
    export = write_all(study.folder, labelling.session, labelling.images)
    folder = export.folder
    rows = [{"file": name, "what": FILES[name]} for name in FILES if (folder / name).exists()]
    text = f"{count(len(labels), 'label')}, in the folder <code>{folder.name}</code>"
    text += f" next to the ledger{escape(without_links(export))}:"
    return HTML(f"<p>{text}</p>{table(pd.DataFrame(rows)).data}")
