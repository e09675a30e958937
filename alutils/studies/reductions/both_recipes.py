"""Does a verdict depend on the recipe? Figures 3 and 4 under the poster's and the reduced one.

Both have the same arms, label counts and seeds. What is concluded is fixed in ``docs/plan.md``.
"""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import seaborn as sns
from IPython.display import HTML, Markdown
from matplotlib.axes import Axes

from alutils.protocol.arms import arm_title
from alutils.protocol.datasets import dataset_title
from alutils.records import tidy
from alutils.reporting import arm_comparison, figures, prose, record_facts, statistics
from alutils.reporting.arm_comparison import ArmComparison
from alutils.reporting.prose import join, mean_over, paired_seeds, points, show
from alutils.reporting.statistics import FEWEST_SEEDS, estimate
from alutils.reporting.style import house_style
from alutils.studies.claims import page, rules
from alutils.studies.claims.findings import Claim
from alutils.studies.profiles import load_study
from alutils.studies.recipes import DATASET_OF, PROFILE_OF_RECIPE, RECIPES, TITLES
from alutils.studies.reductions import comparisons

ACTIVE_LEARNING_CLAIMS = tuple(key for key, (figures, _) in rules.RULES.items() if "3" in figures)
"""The claims that are judged on these figures."""
Rows = dict[str, dict[str, pd.DataFrame]]
"""By notebook and recipe, one row per cell and round."""


@dataclass(frozen=True)
class BothRecipes:
    """Figures 3 and 4 under both recipes.

    Attributes
    ----------
    shared : rows of the seeds that have every arm under both
    whole : rows of all seeds that have every arm under that recipe
    """

    shared: Rows
    whole: Rows

    def seeds(self, notebook: str) -> int:
        """How many seeds have every arm under both."""
        return self.shared[notebook]["poster"]["seed"].nunique()

    def areas(self, notebook: str) -> dict[str, pd.DataFrame]:
        """Areas by recipe on these seeds, of which there must be at least one."""
        return {name: statistics.areas(rows) for name, rows in self.shared[notebook].items()}

    @cached_property
    def claims(self) -> dict[str, list[Claim]]:
        """The claims that rest on these figures, by recipe, judged on the seeds of both."""
        return _judged(self.shared)

    @property
    def pairs(self) -> list[tuple[Claim, Claim]]:
        """These claims under the poster's and the reduced recipe, if both could be judged."""
        both = zip(self.claims["poster"], self.claims["reduced"], strict=True)
        return [pair for pair in both if not any(claim.missing_runs for claim in pair)]


def read() -> BothRecipes:
    """The finished runs of both."""
    whole = {
        notebook: {
            name: tidy.read(load_study(p, notebook)) for name, p in PROFILE_OF_RECIPE.items()
        }
        for notebook in DATASET_OF
    }
    shared = {}
    for notebook, by_recipe in whole.items():
        seeds = set.intersection(*(set(rows["seed"]) for rows in by_recipe.values()))
        shared[notebook] = {
            name: rows[rows["seed"].isin(seeds)] for name, rows in by_recipe.items()
        }
    return BothRecipes(shared, whole)


def parts() -> list[HTML | Markdown]:
    """The section's parts: sentences, figure, table, verdicts; empty without a shared seed."""
    both = read()
    if not any(map(both.seeds, DATASET_OF)):
        return []
    return [sentences(both), figure(both), table(both), *verdicts(both)]


def sentences(both: BothRecipes) -> Markdown:
    """What the tests show about every arm under either recipe, and where that differs."""
    lines, notes = [], []
    for notebook, dataset in DATASET_OF.items():
        if seeds := both.seeds(notebook):
            title = f"**{dataset_title(dataset)}**, {paired_seeds(seeds)} under both recipes"
            interim = record_facts.interim(load_study(PROFILE_OF_RECIPE["poster"], notebook))
            if text := compared(both, notebook):
                lines.append(f"- {title}: {text}.{interim}")
                notes.append(arm_comparison.normality(both.areas(notebook)["poster"], dataset))
            else:
                few = f"nothing is tested with fewer than {FEWEST_SEEDS}"
                lines.append(f"- {title}: {few}.{interim}")
    return prose.paragraphs("\n".join(lines), *notes)


def compared(both: BothRecipes, notebook: str) -> str:
    """What is shown under both recipes, or under each, and for which arms that differs.

    Empty if they share too few seeds for a test.
    """
    if both.seeds(notebook) < FEWEST_SEEDS:
        return ""
    areas, dataset = both.areas(notebook), DATASET_OF[notebook]
    by_recipe = _arm_comparisons(areas, dataset)
    told = {name: arm_comparison.sentence(each, dataset) for name, each in areas.items()}
    other = [
        arm
        for arm, own in by_recipe["poster"].items()
        if own.short != by_recipe["reduced"][arm].short
    ]
    if not other:
        return f"the same is shown of every arm under both: {told['poster']}"
    each = "; ".join(f"under {TITLES[name]}, {told[name]}" for name in RECIPES)
    return (
        f"the tests come out differently for {join([arm_title(arm) for arm in other])}: "
        f"{each}. {_apart(areas, other)}"
    )


def _apart(areas: dict[str, pd.DataFrame], arms: list[str]) -> str:
    """By how much the arms' differences from random change with the recipe, not corrected."""
    more = _more(areas)
    by_arm = {arm: estimate(more[arm]) for arm in arms}
    text = join([f"{arm_title(arm)} {points(each)}" for arm, each in by_arm.items()])
    text = (
        "The difference from random under the poster's recipe minus that under the reduced one, "
        f"paired and not corrected: {text}"
    )
    if alike := [arm_title(arm) for arm, each in by_arm.items() if not each.differs_from_zero]:
        text += f"; the recipes are thus not shown to differ for {join(alike)}"
    return text


def _more(areas: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Every arm's difference from random under the poster's recipe minus that under the reduced."""
    gains = {name: each.sub(each["random"], axis=0) for name, each in areas.items()}
    return gains["poster"] - gains["reduced"]


def _arm_comparisons(
    areas: dict[str, pd.DataFrame], dataset: str
) -> dict[str, dict[str, ArmComparison]]:
    """Every arm compared with random, by recipe."""
    return {name: arm_comparison.compare_with_random(areas[name], dataset) for name in RECIPES}


@house_style()
def figure(both: BothRecipes) -> HTML:
    """Every arm's difference from random in area under either recipe, with the margin."""
    areas = {dataset: both.areas(name) for name, dataset in DATASET_OF.items() if both.seeds(name)}
    drawing, axes = figures.grid(1, len(areas), (5.6 * len(areas), 3.8))
    intervals = []
    for panel, (dataset, by_recipe) in zip(axes[0], areas.items(), strict=True):
        of_recipe = _arm_comparisons(by_recipe, dataset)
        _panel(panel, dataset, of_recipe)
        intervals += [
            f"{dataset_title(dataset)}, {arm_title(arm)}, {TITLES[name]}: {points(each.difference)}"
            for name, arms in of_recipe.items()
            for arm, each in arms.items()
        ]
    figures.legend(axes[0, -1])
    seeds = [number for number in map(both.seeds, DATASET_OF) if number]
    together = ", simultaneous over a dataset's arms" if max(seeds) >= FEWEST_SEEDS else ""
    caption = (
        "Area under the budget curve of each arm minus that of random, under each recipe: "
        f"{mean_over(seeds)}{together}. Shaded: the margin within which an arm counts as equal to "
        "random."
    )
    return show(drawing, caption, f"Interval plots. {'; '.join(intervals)}.")


def _panel(panel: Axes, dataset: str, of_recipe: dict[str, dict[str, ArmComparison]]) -> None:
    """A dataset's arms from the top down, the poster's recipe above the reduced one."""
    for shift, (name, arms) in zip((-0.14, 0.14), of_recipe.items(), strict=True):
        colour, marker = style = comparisons.STYLES[name]
        for row, each in enumerate(arms.values()):
            figures.interval(panel, row + shift, each.difference, style)
        panel.plot([], [], marker, color=colour, label=TITLES[name])
    names = [arm_title(arm) for arm in of_recipe[RECIPES[0]]]
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.axvspan(
        -arm_comparison.EQUIVALENCE_MARGIN[dataset],
        arm_comparison.EQUIVALENCE_MARGIN[dataset],
        color="black",
        alpha=0.06,
    )
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set(title=dataset_title(dataset), xlabel="minus random (points of accuracy)")
    sns.despine(ax=panel)


def table(both: BothRecipes) -> HTML:
    """Every arm's difference from random in area under either recipe, and their difference."""
    rows = [
        row
        for notebook, dataset in DATASET_OF.items()
        if both.seeds(notebook)
        for row in _rows(both.areas(notebook), dataset)
    ]
    return prose.table(pd.DataFrame(rows))


def _rows(areas: dict[str, pd.DataFrame], dataset: str) -> list[dict[str, str]]:
    """The table's rows of one dataset, from areas by recipe."""
    by_recipe, more = _arm_comparisons(areas, dataset), _more(areas)
    tested = len(areas["poster"]) >= FEWEST_SEEDS
    lines = []
    for arm in by_recipe["poster"]:
        line = {"dataset": dataset_title(dataset), "arm": arm_title(arm)}
        for name in RECIPES:
            each = by_recipe[name][arm]
            verdict = f": {each.short}" if tested else ""
            line[f"minus random under {TITLES[name]} (points, simultaneous)"] = (
                f"{points(each.difference, '')}{verdict}"
            )
        line["the poster's minus the reduced (points, not corrected)"] = points(
            estimate(more[arm]), ""
        )
        lines.append(line)
    return lines


def _judged(rows: Rows) -> dict[str, list[Claim]]:
    """The claims on these figures by recipe, judged on ``shared`` or ``whole`` rows."""
    by_recipe = {name: [each[name] for each in rows.values()] for name in PROFILE_OF_RECIPE}
    results = {
        name: pd.concat([each for each in tables if len(each)] or tables[:1])
        for name, tables in by_recipe.items()
    }
    return {
        name: [rules.judge_claim(key, each) for key in ACTIVE_LEARNING_CLAIMS]
        for name, each in results.items()
    }


def enough_for_claims(both: BothRecipes) -> bool:
    """Whether every figure has enough seeds for a test under both recipes."""
    return min(map(both.seeds, DATASET_OF)) >= FEWEST_SEEDS


def missing_runs(both: BothRecipes) -> dict[str, list[str]]:
    """The claims for which runs under both recipes are missing, by what is missing."""
    by_runs: dict[str, list[str]] = {}
    for claim in both.claims["poster"]:
        if claim.missing_runs:
            by_runs.setdefault(claim.missing_runs, []).append(claim.key)
    return by_runs


def verdict_rows(both: BothRecipes) -> pd.DataFrame:
    """One row per claim: its verdict under either recipe on the shared seeds, and their number.

    With the finding nearest to its threshold, and the verdict on all seeds of a recipe if that is
    another one.
    """
    lines = [{"claim": key} for key in ACTIVE_LEARNING_CLAIMS]
    of_both, of_all = both.claims, _judged(both.whole)
    for name in RECIPES:
        for line, claim, on_all in zip(lines, of_both[name], of_all[name], strict=True):
            other = "" if on_all.verdict == claim.verdict else f" ({_on_all(on_all)})"
            nearest = page.measured(claim, claim.nearest) if claim.findings else ""
            verdict = (
                f"{claim.verdict}{other}: {nearest}" if not claim.missing_runs else "not judged"
            )
            line[f"under {TITLES[name]}"] = verdict
            line["seeds"] = claim.seeds or "none"
    return pd.DataFrame(lines)


def agreement(both: BothRecipes) -> str:
    """Which claims have different verdicts under the two recipes on the shared seeds, in words."""
    same, parts = [], []
    for poster, reduced in both.pairs:
        if poster.verdict == reduced.verdict:
            same.append(f"{poster.key} ({poster.verdict})")
        else:
            parts.append(
                f"{poster.key} is {poster.verdict} under {TITLES['poster']} and {reduced.verdict} "
                f"under {TITLES['reduced']}"
            )
    if same:
        parts.append(f"{join(same)} {'is' if len(same) == 1 else 'are'} the same under both")
    return "; ".join(parts)


def _on_all(claim: Claim) -> str:
    return f"{claim.verdict} on all its seeds, {claim.seeds}"


def verdicts(both: BothRecipes) -> list[HTML | Markdown]:
    """The claims that rest on these figures under either recipe, and those with missing runs.

    Empty if no figure has enough seeds for a test under both.
    """
    if max(map(both.seeds, DATASET_OF)) < FEWEST_SEEDS:
        return []
    missing = [f"{runs} ({join(keys)})" for runs, keys in missing_runs(both).items()]
    line = [Markdown(f"Missing under both: {'; '.join(missing)}.")] if missing else []
    text = agreement(both)
    told = [Markdown(f"On the seeds of both, {text}.")] if text else []
    return [*told, prose.table(verdict_rows(both)), *line]
