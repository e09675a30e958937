"""The arms: the baseline, the ways to choose what to label, and their names."""

POSTER_ARMS = ("random", "uncertainty", "margin", "kmeans", "bayesian")
"""The poster's four ways of choosing, and the baseline."""
CONTROLS = ("entropy",)
"""Further arms, to hold the poster's against."""
FURTHER = (
    "bald", "power-bald", "batchbald", "variation-ratios", "coreset", "badge", "probcover",
    "typiclust", "cluster-margin", "kmeans-centre",
)  # fmt: skip
"""Arms from the literature, and the centres beside K-means' boundary points."""
BUILT_IN = (*POSTER_ARMS, *CONTROLS, *FURTHER)
FROM_PASSES = ("bald", "power-bald", "batchbald", "variation-ratios")
"""Arms that compare MC passes."""
LARGEST_BATCHBALD = 100
"""Labels a round up to which BatchBALD is defined: its passes tell no more batches apart."""
BASELINE = "baseline"
"""Name of the one run at the last label count that the authors hold their arms against."""
ARM_TITLE = {
    "kmeans": "K-means", "bayesian": "Bayesian", "bald": "BALD", "power-bald": "power-BALD",
    "batchbald": "BatchBALD", "variation-ratios": "variation ratios", "coreset": "CoreSet",
    "badge": "BADGE", "probcover": "ProbCover", "typiclust": "TypiClust",
    "cluster-margin": "Cluster-Margin", "kmeans-centre": "K-means centres",
    BASELINE: "baseline run",
}  # fmt: skip


def arm_title(arm: str) -> str:
    """An arm's name as it is shown."""
    return ARM_TITLE.get(arm, arm)


CUSTOM_ARMS: dict[str, str] = {}
"""Name to source hash of the strategies that a user registered (see ``strategies.register``)."""
