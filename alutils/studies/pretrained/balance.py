"""How often the arms ask for rare classes, if the pool has some."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML, Markdown
from torch import Tensor

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.study import FactorLevel
from alutils.records.store import Store, finished_records
from alutils.reporting import prose, statistics
from alutils.reporting.prose import join, paired_seeds, percent
from alutils.reporting.statistics import FEWEST_SEEDS, LEVEL, estimate
from alutils.studies.class_balance import RAREST, ClassBalance, class_balance
from alutils.studies.pretrained.plan import PARTS, PretrainedStudy, part_title


@dataclass(frozen=True)
class Balance:
    """Share (%) of the rarest classes in what was asked for, by seed (rows) and arm (columns)."""

    part: str
    dataset: str
    imbalance: float
    shares: pd.DataFrame
    pool: float
    """The same share (%) of the pool, mean over these seeds."""

    @property
    def title(self) -> str:
        """Which part of the ranking it is."""
        return part_title(self.part, self.dataset, self.imbalance)


def heading(part: str, dataset: str, imbalance: float) -> Markdown:
    """The heading above the ranking of such a part."""
    return Markdown(f"**{part_title(part, dataset, imbalance)}**")


def balances(study: PretrainedStudy, labels: dict[str, Tensor]) -> list[Balance]:
    """Balances by part, dataset and ratio of imbalance, over the seeds with every arm.

    ``labels`` are the training labels by dataset, int64 (N,).
    """
    settings = {
        each.cell.name: each
        for each in study.settings()
        if each.factor in PARTS and each.level != 1.0
    }
    cells = [each.cell for each in settings.values()]
    rows = [
        _row(settings[cell.name], class_balance(cell, record["rounds"], labels[cell.dataset]))
        for cell, record in finished_records(Store(study.profile), cells)
    ]
    if not rows:
        return []
    groups = pd.DataFrame(rows).groupby(["part", "dataset", "ratio"], sort=False)
    every = [
        _balance(group, part, dataset, ratio, study.arms_of(part))
        for (part, dataset, ratio), group in groups
    ]
    return [balance for balance in every if len(balance.shares)]


def _row(setting: FactorLevel, balance: ClassBalance) -> dict[str, object]:
    """One arm of one seed: shares (%) of the rarest classes in its picks and in its pool."""
    cell = setting.cell
    keys = {"part": setting.factor, "dataset": cell.dataset, "ratio": setting.level}
    shares = {"picks": 100 * balance.rare_in_picks, "pool": 100 * balance.rare_in_pool}
    return keys | {"seed": cell.seed, "arm": cell.arm} | shares


def _balance(
    rows: pd.DataFrame, part: str, dataset: str, imbalance: float, arms: Iterable[str]
) -> Balance:
    shares = rows.pivot(index="seed", columns="arm", values="picks")
    shares = shares.reindex(columns=list(arms)).dropna()
    pool = rows.loc[rows["seed"].isin(shares.index), "pool"].mean()
    return Balance(part, dataset, imbalance, shares, float(pool))


def table(every: Iterable[Balance]) -> HTML | Markdown:
    """Share of the rarest classes in what each arm asked for, with its interval over seeds."""
    rows: dict[str, dict[str, str]] = {}
    for balance in every:
        rows.setdefault("the pool", {})[balance.title] = f"{balance.pool:.2f}"
        for arm in balance.shares:
            share = percent(estimate(balance.shares[arm]))
            rows.setdefault(arm_title(arm), {})[balance.title] = share
    if not rows:
        return Markdown("No seed has every arm on an imbalanced pool.")
    first = f"share of the {RAREST} rarest classes (%)"
    return prose.table(pd.DataFrame([{first: arm} | row for arm, row in rows.items()]).fillna(""))


def sentences(every: Iterable[Balance], interim: str = "") -> Markdown:
    """Which arms ask for rare classes more, or less, often than random does."""
    tested = [each for each in every if len(each.shares) >= FEWEST_SEEDS]
    lines = [f"- {each.title}, {_sentence(each.shares)}" for each in tested]
    text = "\n".join(lines) or f"A test needs {FEWEST_SEEDS} seeds with every arm."
    return prose.paragraphs(text, interim)


def _sentence(shares: pd.DataFrame) -> str:
    """The tests of one part, from its shares by seed and arm."""
    shares = shares.drop(columns=list(ORACLES), errors="ignore")
    p, means = statistics.holm_p_values(shares), shares.mean()
    which = f"images of the {RAREST} rarest classes"
    phrases = []
    for words, sign in (("more", 1), ("less", -1)):
        shown = [
            arm_title(arm)
            for arm in p
            if p[arm] < 1 - LEVEL and sign * (means[arm] - means["random"]) > 0
        ]
        if shown:
            verb, what = "selects" if len(shown) == 1 else "select", "them" if phrases else which
            phrases.append(f"{join(shown)} {verb} {what} {words} often")
    result = f"no arm is shown to select {which} more or less often than random"
    if phrases:
        result = f"{', and '.join(phrases)} than random"
    corrected = f", Holm-corrected for {len(p)} arms" if len(p) > 1 else ""
    return f"{paired_seeds(len(shares))} (paired t tests at 5 %{corrected}): {result}."
