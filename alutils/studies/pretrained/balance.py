"""How often the arms ask for rare classes, where the pool has some."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML, Markdown
from torch import Tensor

from alutils.protocol.arms import ORACLES, arm_title
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import dataset_title
from alutils.protocol.study import Setting
from alutils.records.store import Store, finished
from alutils.reporting import prose
from alutils.reporting.prose import count, join, paired_seeds
from alutils.reporting.statistics import FEWEST_SEEDS, estimate, holm, p_value
from alutils.studies.active_learning.class_balance import RAREST, class_balance
from alutils.studies.pretrained.plan import PARTS, PretrainedStudy

TESTED = 0.05
"""Family-wise error of the tests against random, one family a part, dataset and ratio."""


@dataclass(frozen=True)
class Balance:
    """Share (%) of the rarest classes in what was asked for, by seed (rows) and arm (columns)."""

    part: str
    dataset: str
    imbalance: float
    shares: pd.DataFrame
    pool: float
    """The same share (%) of the pool."""


def balances(study: PretrainedStudy, labels: dict[str, Tensor]) -> list[Balance]:
    """Of every part, dataset and ratio, over the seeds that have every arm.

    ``labels`` are the training labels by dataset, int64 (N,).
    """
    rows = []
    settings = {
        each.cell.name: each
        for each in study.settings()
        if each.factor in PARTS and each.level != 1.0
    }
    cells = [each.cell for each in settings.values()]
    for cell, record in finished(Store(study.profile), cells):
        of_cell = class_balance(cell, record["rounds"], labels[cell.dataset])
        rows.append(_row(settings[cell.name], cell, of_cell.rare_in_picks, of_cell.rare_in_pool))
    if not rows:
        return []
    table = pd.DataFrame(rows)
    found = []
    for (part, dataset, ratio), group in table.groupby(["part", "dataset", "ratio"], sort=False):
        shares = group.pivot(index="seed", columns="arm", values="picks")
        shares = shares.reindex(columns=list(study.arms_of(part))).dropna()
        if len(shares):
            found.append(Balance(part, dataset, ratio, shares, group["pool"].mean()))
    return found


def _row(setting: Setting, cell: Cell, picks: float, pool: float) -> dict[str, object]:
    keys = {"part": setting.factor, "dataset": cell.dataset, "ratio": float(setting.level)}
    return keys | {"seed": cell.seed, "arm": cell.arm, "picks": 100 * picks, "pool": 100 * pool}


def table(balances: Iterable[Balance]) -> HTML | Markdown:
    """Share of the rarest classes in what each arm asked for, with its interval over seeds."""
    rows: dict[str, dict[str, str]] = {}
    for balance in balances:
        title = (
            f"{dataset_title(balance.dataset)}, {balance.part} labels, 1 : {balance.imbalance:g}"
        )
        rows.setdefault("the pool", {})[title] = f"{balance.pool:.1f}"
        for arm in balance.shares:
            share = estimate(balance.shares[arm])
            half = f" ± {share.high - share.mean:.1f}" if share.seeds > 1 else ""
            rows.setdefault(arm_title(arm), {})[title] = f"{share.mean:.1f}{half}"
    if not rows:
        return Markdown("No seed has every arm on an imbalanced pool yet.")
    first = f"share of the {RAREST} rarest classes (%)"
    return prose.table(pd.DataFrame([{first: arm} | row for arm, row in rows.items()]).fillna(""))


def sentences(balances: Iterable[Balance]) -> Markdown:
    """Which arms ask for rare classes more, or less, often than random does."""
    lines = []
    for balance in balances:
        arms = balance.shares.columns.drop([*ORACLES, "random"], errors="ignore")
        seeds = len(balance.shares)
        if seeds < FEWEST_SEEDS or arms.empty:
            continue
        excess = {arm: balance.shares[arm] - balance.shares["random"] for arm in arms}
        p = dict(zip(arms, holm([p_value(excess[arm]) for arm in arms]), strict=True))
        said = []
        for words, sign in (("more often than by random", 1), ("less often", -1)):
            shown = [arm_title(a) for a in arms if p[a] < TESTED and sign * excess[a].mean() > 0]
            said += [f"{words} by {join(shown)}"] if shown else []
        asked = "; ".join(said) or "as often as by random: no difference is shown"
        lines.append(
            f"- {dataset_title(balance.dataset)}, {balance.part} labels, 1 : "
            f"{balance.imbalance:g}, {paired_seeds(seeds)} (paired t tests, Holm-corrected for "
            f"{count(len(arms), 'arm')}): rare classes are asked for {asked}."
        )
    return Markdown("\n".join(lines) or f"A test needs {FEWEST_SEEDS} seeds with every arm.")
