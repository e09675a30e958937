"""Verdicts on Figure 2 before seeds were added to it, compared with those now."""

import pandas as pd
from IPython.display import Markdown

from alutils.reporting.prose import capital, join, seeds_of
from alutils.studies.claims import page, rules
from alutils.studies.claims.findings import Claim

SEEN = {"desktop": (0, 1, 2), "poster-recipe": (0, 1, 2)}
"""By profile, the seeds of Figure 2 that were judged before others were run: ``docs/plan.md``."""
KEYS = tuple(key for key, (figures, _) in rules.RULES.items() if figures == ("2",))
"""The claims that are judged on that figure."""


def verdict_changes(results: pd.DataFrame, profile: str) -> Markdown:
    """Verdicts and intervals on the seeds that were seen first, and which verdicts changed since.

    Empty if the profile has no such seeds, or none beyond them.
    """
    sizes = results[results["figure"].astype(str) == "2"]
    first = sizes[sizes["seed"].isin(SEEN.get(profile, ()))]
    if first.empty or len(first) == len(sizes):
        return Markdown("")
    seen = sorted(set(first["seed"]))
    added = sorted(set(sizes["seed"]) - set(seen))
    before = [rules.judge_claim(key, first) for key in KEYS]
    now = [rules.judge_claim(key, sizes) for key in KEYS]
    on_first = join([f"{claim.key} was {_verdict(claim)}" for claim in before])
    changed = [
        f"{claim.key} is {_verdict(claim)}"
        for first, claim in zip(before, now, strict=True)
        if first.verdict != claim.verdict
    ]
    outcome = join(changed) if changed else "both verdicts stay the same"
    return Markdown(
        f"On {seeds_of(seen)}, {on_first}. {capital(seeds_of(added))} of Figure 2 came after this "
        "was known, so that the intervals over all seeds cover somewhat less than 95 %. With all "
        f"of them, {outcome}."
    )


def _verdict(claim: Claim) -> str:
    """A verdict with the finding nearest to its threshold."""
    return f"{claim.verdict} ({page.measured(claim, claim.nearest)})"
