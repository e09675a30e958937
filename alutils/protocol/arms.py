"""The arms: the random baseline and the ways to choose what to label, one row each.

Everything else reads an arm's properties here: its title and colour in figures, what a check may
require of it, and where its function is.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Arm:
    """What the study knows of an arm before it runs."""

    function: str
    """Its strategy in ``alutils.strategies``, as ``module.name``; imported by ``own`` there."""
    colour: str
    marker: str
    title: str = ""
    """The name to show, if it is not the arm's name."""
    group: Literal["poster", "control", "further", "oracle"] = "further"
    """One of the poster's five, a control that shows the effect of a part of one, or a further arm.

    Only an oracle sees the labels of the candidates: it is not a strategy, but shows how much can
    be gained by choosing.
    """
    control: str = ""
    """Name of the arm that lacks only the one thing that this arm adds."""
    needs_mc_passes: bool = False
    """Whether it compares MC passes, and so needs several passes and dropout above 0."""
    clusters: bool = False
    """Whether it forms ``clusters`` clusters, and so needs at least as many candidates."""
    ranks_by_score: bool = False
    """Whether its picks have the highest scores, and so rank high on any other processor.

    ``verify`` requires this of a record from another processor. Variation ratios are left out,
    though they are scores: they take few values, on which trainings agree less (CIFAR-10, second
    round, 3 seeds: the recorded picks lie at 44 to 46 % of another processor's ranking on average,
    and for one seed no nearer its front than ``verify`` allows for chance; margin's and BALD's lie
    at 42 %). The K-means arms are left out too, as their scores depend on clusters that start at
    random.
    """
    scales_to_million: bool = True
    """Whether it chooses among a million candidates in minutes."""


ARMS = {
    "random": Arm("simple.random", "#555555", "o", group="poster"),
    "uncertainty": Arm("simple.uncertainty", "#0173B2", "s", group="poster", ranks_by_score=True),
    "margin": Arm("simple.margin", "#DE8F05", "^", group="poster", ranks_by_score=True),
    "kmeans": Arm(
        "kmeans.kmeans", "#029E73", "D", "K-means", "poster", "kmeans-centre", clusters=True,
        scales_to_million=False,
    ),
    "bayesian": Arm(
        "simple.bayesian", "#CC78BC", "v", "Bayesian", "poster", "entropy", ranks_by_score=True
    ),
    "entropy": Arm("simple.entropy", "#CA9161", "P", group="control", ranks_by_score=True),
    "bald": Arm("bald.bald", "#FBAFE4", "<", "BALD", needs_mc_passes=True, ranks_by_score=True),
    "power-bald": Arm("bald.power_bald", "#949494", ">", "power-BALD", needs_mc_passes=True),
    "batchbald": Arm(
        "batchbald.batchbald", "#ECE133", "d", "BatchBALD",
        needs_mc_passes=True, scales_to_million=False,
    ),
    "variation-ratios": Arm(
        "bald.variation_ratios", "#56B4E9", "p", "variation ratios", needs_mc_passes=True
    ),
    "coreset": Arm("coreset.coreset", "#D55E00", "h", "CoreSet"),
    "badge": Arm("badge.badge", "#000000", "H", "BADGE"),
    "probcover": Arm("probcover.probcover", "#001C7F", "X", "ProbCover", scales_to_million=False),
    "typiclust": Arm("typiclust.typiclust", "#B1400D", "*", "TypiClust", scales_to_million=False),
    "cluster-margin": Arm("cluster_margin.cluster_margin", "#12711C", "8", "Cluster-Margin"),
    "kmeans-centre": Arm(
        "kmeans.kmeans_centre", "#591E71", "s", "K-means centres",
        clusters=True, scales_to_million=False,
    ),
    "epig": Arm("epig.epig", "#A23582", "h", "EPIG", needs_mc_passes=True, ranks_by_score=True),
    "dropquery": Arm("dropquery.dropquery", "#8FB800", "p", "DropQuery", needs_mc_passes=True),
    "max-herding": Arm("herding.max_herding", "#006374", "<", "MaxHerding"),
    "uherding": Arm("herding.uherding", "#592F0D", "d", "UHerding"),
    "oracle": Arm("oracle.oracle", "#7A7A00", "X", "oracle (sees labels)", "oracle"),
}  # fmt: skip
BASELINE = "baseline"
"""Name of the single run at the last label count with which the authors compare their arms."""
COPIED = "copied"
"""Used in place of an arm's name if a cell's labels are those of another record."""
LARGEST_BATCHBALD = 100
"""Most labels per round for which BatchBALD is defined: it can't tell larger batches apart."""


def _of(group: str) -> tuple[str, ...]:
    """Names of a group's arms."""
    return tuple(name for name, arm in ARMS.items() if arm.group == group)


POSTER_ARMS, CONTROLS, FURTHER = _of("poster"), _of("control"), _of("further")
ORACLES = _of("oracle")
BUILT_IN = tuple(ARMS)
ARM_TITLE = {name: arm.title or name for name, arm in ARMS.items()} | {
    BASELINE: "baseline run",
    COPIED: "copied labels",
}
CUSTOM_ARMS: dict[str, str] = {}
"""Name to source hash of the strategies that a user registered (see ``strategies.own``)."""


def arm_title(arm: str) -> str:
    """An arm's name as it is shown."""
    return ARM_TITLE.get(arm, arm)
