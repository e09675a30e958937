"""Which reports and profiles have runs that are still to come."""

from alutils.records.store import Store
from alutils.reporting.prose import join
from alutils.reporting.record_facts import has_pending_runs
from alutils.studies import profiles

ALSO = ("sensitivity",)
"""Profiles whose reports README lists beside those of the profile that it is made from."""
UNREPORTED_PROFILES = ("quick", "smoke")
"""Profiles for anyone to run, on whose runs nothing is reported."""


def interim_reports(profile: str) -> str:
    """Which reports lack runs, their own or another profile's that they cover, in a sentence."""
    lacking = sorted(
        notebook[:2]
        for name in (profile, *ALSO)
        for notebook, study in profiles.studies(name).items()
        if has_pending_runs(study, *study.related())
    )
    if not lacking:
        return ""
    are, their = ("is", "its") if len(lacking) == 1 else ("are", "their")
    return f"{join(lacking)} {are} interim: some of {their} runs are still to come."


def states() -> str:
    """Which profiles have no run yet, and which lack some, in a sentence or two."""
    none, some = [], []
    for name in profiles.profiles():
        if name not in UNREPORTED_PROFILES:
            studies = profiles.studies(name).values()
            if not any(Store(name).path(c).exists() for each in studies for c in each.cells()):
                none.append(f"`{name}`")
            elif has_pending_runs(*studies):
                some.append(f"`{name}`")
    parts = [f"Some runs of {join(some)} are still to come."] if some else []
    return " ".join([*parts, *([f"No run of {join(none)} is committed yet."] if none else [])])
