"""The arms: the random baseline and the ways to choose what to label, a row each.

Everything else that must know something of an arm reads it here: titles and colours of figures,
what a check may ask of it, and where its function lies.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Arm:
    """What the study knows of an arm before it runs."""

    function: str
    """Of its strategy, in ``alutils.strategies``: module and name, which ``own`` there imports."""
    colour: str
    marker: str
    title: str = ""
    """As it is shown, where that is not its name."""
    group: Literal["poster", "control", "further", "oracle"] = "further"
    """One of the poster's five, a control that shows what a part of one does, or a further arm.

    An oracle alone sees the labels of the candidates: it is no strategy, and shows how much there
    is to gain by choosing.
    """
    control: str = ""
    """Name of the arm that is the same but for the one thing that this arm adds."""
    from_passes: bool = False
    """Whether it compares MC passes, so that there must be several, and dropout."""
    clusters: bool = False
    """Whether it makes ``clusters`` clusters, which need at least as many candidates."""
    by_score: bool = False
    """Whether its picks have the highest score, and lie far forward in a ranking made elsewhere.

    ``verify`` holds them to that where another processor trains. Variation ratios are left out,
    though they are a score: of few values, on which trainings agree less (CIFAR-10, second round,
    3 seeds: the kept picks lie at 44 to 46 % of another processor's ranking on average, those of
    one seed no further forward than chance allows ``verify``; margin's and BALD's at 42 %). So are
    the K-means arms, whose scores are those of clusters that begin at random.
    """
    a_million: bool = True
    """Whether it chooses among a million candidates in minutes."""


ARMS = {
    "random": Arm("simple.random", "#555555", "o", group="poster"),
    "uncertainty": Arm("simple.uncertainty", "#0173B2", "s", group="poster", by_score=True),
    "margin": Arm("simple.margin", "#DE8F05", "^", group="poster", by_score=True),
    "kmeans": Arm(
        "kmeans.kmeans", "#029E73", "D", "K-means", "poster", "kmeans-centre", clusters=True,
        a_million=False,
    ),
    "bayesian": Arm(
        "simple.bayesian", "#CC78BC", "v", "Bayesian", "poster", "entropy", by_score=True
    ),
    "entropy": Arm("simple.entropy", "#CA9161", "P", group="control", by_score=True),
    "bald": Arm("bald.bald", "#FBAFE4", "<", "BALD", from_passes=True, by_score=True),
    "power-bald": Arm("bald.power_bald", "#949494", ">", "power-BALD", from_passes=True),
    "batchbald": Arm(
        "batchbald.batchbald", "#ECE133", "d", "BatchBALD", from_passes=True, a_million=False
    ),
    "variation-ratios": Arm(
        "bald.variation_ratios", "#56B4E9", "p", "variation ratios", from_passes=True
    ),
    "coreset": Arm("coreset.coreset", "#D55E00", "h", "CoreSet"),
    "badge": Arm("badge.badge", "#000000", "H", "BADGE"),
    "probcover": Arm("probcover.probcover", "#001C7F", "X", "ProbCover", a_million=False),
    "typiclust": Arm("typiclust.typiclust", "#B1400D", "*", "TypiClust", a_million=False),
    "cluster-margin": Arm("cluster_margin.cluster_margin", "#12711C", "8", "Cluster-Margin"),
    "kmeans-centre": Arm(
        "kmeans.kmeans_centre", "#591E71", "s", "K-means centres", clusters=True, a_million=False
    ),
    "epig": Arm("epig.epig", "#A23582", "h", "EPIG", from_passes=True, by_score=True),
    "dropquery": Arm("dropquery.dropquery", "#8FB800", "p", "DropQuery", from_passes=True),
    "max-herding": Arm("herding.max_herding", "#006374", "<", "MaxHerding"),
    "uherding": Arm("herding.uherding", "#592F0D", "d", "UHerding"),
    "oracle": Arm("oracle.oracle", "#7A7A00", "X", "oracle (sees labels)", "oracle"),
}  # fmt: skip
BASELINE = "baseline"
"""Name of the one run at the last label count that the authors hold their arms against."""
COPIED = "copied"
"""Name in an arm's stead where a cell's labels are those of another record."""
LARGEST_BATCHBALD = 100
"""Labels a round up to which BatchBALD is defined: its passes tell no more batches apart."""


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
