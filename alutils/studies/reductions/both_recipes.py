"""Does a verdict depend on the recipe? Figures 3 and 4 under the poster's and the reduced one.

Both have the same arms, label counts and seeds. What is concluded is fixed in ``docs/plan.md``.
"""

import pandas as pd
from IPython.display import HTML, Markdown

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import prose, record_facts, standing, statistics
from alutils.reporting.prose import join, paired_seeds, points
from alutils.reporting.standing import Standing
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.studies.claims import rules
from alutils.studies.claims.findings import Claim
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CHOSEN_UNDER, DATASET_OF, TITLES

ON_ARMS = tuple(key for key, (figures, _) in rules.RULES.items() if "3" in figures)
"""The claims that are judged on these figures."""
NOTHING = (
    "No seed has every arm under both recipes yet: `make study PROFILE="
    f"{CHOSEN_UNDER['poster']}` trains them by the poster's."
)


def of_both(notebook: str) -> dict[str, pd.DataFrame]:
    """The rows of a figure by recipe, of the seeds that have every arm under both; or nothing."""
    rows = {name: tidy.read(load_study(p, notebook)) for name, p in CHOSEN_UNDER.items()}
    seeds = set.intersection(*(set(each["seed"]) for each in rows.values()))
    if not seeds:
        return {}
    return {name: each[each["seed"].isin(seeds)] for name, each in rows.items()}


def sentences() -> Markdown:
    """What the tests show of every arm under either recipe, and where that is not the same."""
    lines, notes = [], []
    for notebook, dataset in DATASET_OF.items():
        if rows := of_both(notebook):
            areas = _areas(rows)
            seeds, arms = areas["poster"].shape
            title = f"**{dataset_title(dataset)}**, {paired_seeds(seeds)} under both recipes"
            if text := _compared(areas, dataset):
                lines.append(f"- {title}: {text}.")
                notes.append(standing.normality(seeds, arms - 1, equivalence=True))
            else:
                lines.append(f"- {title}: nothing is tested with fewer than {FEWEST_SEEDS}.")
            notes.append(record_facts.interim(load_study(CHOSEN_UNDER["poster"], notebook)))
    return prose.paragraphs("\n".join(lines), *notes) if lines else Markdown(NOTHING)


def compared(notebook: str) -> str:
    """What is shown under both recipes, or under each, and of which arms that is not the same.

    Empty where they share too few seeds for a test.
    """
    return _compared(_areas(of_both(notebook)), DATASET_OF[notebook])


def _compared(areas: dict[str, pd.DataFrame], dataset: str) -> str:
    """What ``compared`` tells, from areas by recipe."""
    if not areas or len(areas["poster"]) < FEWEST_SEEDS:
        return ""
    by_recipe = _standings(areas, dataset)
    told = {name: standing.sentence(each, dataset) for name, each in areas.items()}
    other = [
        arm
        for arm, own in by_recipe["poster"].items()
        if shown(own) != shown(by_recipe["reduced"][arm])
    ]
    if not other:
        return f"the same is shown of every arm under both: {told['poster']}"
    each = "; ".join(f"under {TITLES[name]}, {told[name]}" for name in ("poster", "reduced"))
    return (
        f"what is shown depends on the recipe for {join([arm_title(arm) for arm in other])}: "
        f"{each}. {_apart(areas, other)}"
    )


def _apart(areas: dict[str, pd.DataFrame], arms: list[str]) -> str:
    """By how much the arms' differences to random differ between the recipes, not corrected."""
    more = _more(areas)
    by_arm = {arm: estimate(more[arm]) for arm in arms}
    text = join([f"{arm_title(arm)} {points(each)}" for arm, each in by_arm.items()])
    text = f"The difference to random under the poster's recipe minus the reduced one's: {text}"
    if alike := [arm_title(arm) for arm, each in by_arm.items() if not each.decided]:
        text += f"; this alone, not corrected, shows no difference for {join(alike)}"
    return text


def _areas(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Areas by recipe of the rows of ``of_both``."""
    return {name: statistics.areas(each) for name, each in rows.items()}


def _more(areas: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every arm's difference to random under the poster's recipe minus that under the reduced."""
    gains = {name: each.sub(each["random"], axis=0) for name, each in areas.items()}
    return gains["poster"] - gains["reduced"]


def _standings(areas: dict[str, pd.DataFrame], dataset: str) -> dict[str, dict[str, Standing]]:
    """Every arm beside random, by recipe."""
    return {name: standing.standings(each, dataset) for name, each in areas.items()}


def shown(arm: Standing) -> str:
    """What the tests show of an arm, in a word or a few."""
    if arm.equivalent:
        return f"{arm.side}, by less than the margin" if arm.side else "equivalent"
    return arm.side or "open"


def table() -> HTML | None:
    """Every arm's difference in area to random under either recipe, and the paired difference.

    None without any seed, as the sentences say.
    """
    rows = [
        row
        for notebook, dataset in DATASET_OF.items()
        if (both := of_both(notebook))
        for row in _rows(_areas(both), dataset)
    ]
    return prose.table(pd.DataFrame(rows)) if rows else None


def _rows(areas: dict[str, pd.DataFrame], dataset: str) -> list[dict[str, str]]:
    """The table's rows of one dataset, from areas by recipe."""
    by_recipe, more = _standings(areas, dataset), _more(areas)
    tested = len(areas["poster"]) >= FEWEST_SEEDS
    lines = []
    for arm in by_recipe["poster"]:
        line = {"dataset": dataset_title(dataset), "arm": arm_title(arm)}
        for name in ("poster", "reduced"):
            each = by_recipe[name][arm]
            verdict = f": {shown(each)}" if tested else ""
            line[f"minus random under {TITLES[name]} (points, simultaneous)"] = (
                f"{points(each.difference, '')}{verdict}"
            )
        line["the poster's minus the reduced (points, not corrected)"] = points(
            estimate(more[arm]), ""
        )
        lines.append(line)
    return lines


def judged() -> dict[str, list[Claim]]:
    """The claims that rest on these figures, judged under either recipe on the seeds of both.

    Nothing without any seed.
    """
    both = [rows for notebook in DATASET_OF if (rows := of_both(notebook))]
    if not both:
        return {}
    results = {name: pd.concat([rows[name] for rows in both]) for name in CHOSEN_UNDER}
    return {
        name: [rules.judge_claim(key, rows) for key in ON_ARMS] for name, rows in results.items()
    }


def enough_for_claims() -> bool:
    """Whether every figure has the seeds for a test under both recipes."""
    seeds = [rows["poster"]["seed"].nunique() if rows else 0 for rows in map(of_both, DATASET_OF)]
    return min(seeds) >= FEWEST_SEEDS


def verdict_rows(claims: dict[str, list[Claim]]) -> pd.DataFrame:
    """A row a claim of ``judged``: its verdict under either recipe, and on how many seeds."""
    lines = [{"claim": key} for key in ON_ARMS]
    for name in ("poster", "reduced"):
        for line, claim in zip(lines, claims[name], strict=True):
            lacking = f" (runs are lacking: {claim.lacking})" if claim.lacking else ""
            line[f"under {TITLES[name]}"] = f"{claim.verdict}{lacking}"
            line["seeds"] = str(claim.seeds or "none")
    return pd.DataFrame(lines)


def verdicts() -> HTML | None:
    """The claims that rest on these figures under either recipe; None without any seed."""
    claims = judged()
    return prose.table(verdict_rows(claims)) if claims else None
