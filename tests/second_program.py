"""The results of Figures 2 to 4 and the six claims once more, by a second program.

It was written from ``docs/plan.md`` and the rules that 04 shows, without a look at the package, and
imports nothing of it: what both get wrong alike is a misreading of the rules, not a slip in code.
"""

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

Curve = tuple[np.ndarray, np.ndarray]  # label counts, test accuracy in %
Curves = dict[tuple[int, str, str, int], Curve]  # by figure, dataset, arm, seed
Row = dict[str, Any]

ARMS = ("uncertainty", "margin", "kmeans", "bayesian")
FIGURE = {"cifar10": 3, "mnist": 4}  # where the five arms are compared
MARGIN = {"cifar10": 1.0, "mnist": 0.3}  # points of area, of C4
SPAN = {
    (2, "cifar10"): (540, 5490),
    (2, "mnist"): (540, 5490),
    (3, "cifar10"): (450, 6549),
    (4, "mnist"): (540, 7875),
}  # the poster's label ranges
ALPHA, SLACK, MINIMUM_SEEDS = 0.05, 0.05, 3


def read_curves(folder: Path) -> Curves:
    """Test accuracy over labels, of the finished cells of Figures 2, 3 and 4.

    Of Figures 3 and 4 a seed counts once all five arms are finished.
    """
    curves: Curves = {}
    for path in sorted((folder / "runs" if (folder / "runs").is_dir() else folder).glob("*.json")):
        record = json.loads(path.read_text())
        cell = record["cell"]
        if cell.get("figure") not in (2, 3, 4) or record["status"] != "finished":
            continue
        key = (cell["figure"], cell["dataset"], cell["arm"], cell["seed"])
        if key in curves:
            raise ValueError(f"two finished records of {key}, by different settings")
        points = np.array(sorted((r["labels"], 100 * r["test_accuracy"]) for r in record["rounds"]))
        curves[key] = (points[:, 0], points[:, 1])
    return {
        key: curve
        for key, curve in curves.items()
        if key[0] == 2 or all((*key[:2], arm, key[3]) in curves for arm in ("random", *ARMS))
    }


def curves_of(curves: Curves, figure: int, dataset: str, arm: str) -> list[Curve]:
    """The curves of one arm, in order of seed."""
    return [curves[key] for key in sorted(curves) if key[:3] == (figure, dataset, arm)]


def t_interval(values: Sequence[float], level: float = 1 - ALPHA) -> tuple[float, float]:
    """Student's t interval of a mean over seeds."""
    if len(values) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t test (Student 1908)."""
    return float(stats.ttest_1samp(differences, 0).pvalue) if len(differences) > 1 else np.nan


def equivalence_test(differences: Sequence[float], margin: float) -> float:
    """The larger p of two one-sided t tests within a margin (Schuirmann 1987)."""
    if len(differences) < 2:
        return np.nan
    return float(
        max(
            stats.ttest_1samp(differences, -margin, alternative="greater").pvalue,
            stats.ttest_1samp(differences, margin, alternative="less").pvalue,
        )
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p (Holm 1979); a test that couldn't be made keeps its place, and stays NaN."""
    corrected, largest = [np.nan] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values)):  # NaN comes last
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = np.nan if np.isnan(p_values[index]) else largest
    return corrected


def area(curve: Curve) -> float:
    """Area under a curve by trapezoids, over its width."""
    labels, accuracy = curve
    trapezoids = np.diff(labels) * (accuracy[1:] + accuracy[:-1]) / 2
    return float(trapezoids.sum() / (labels[-1] - labels[0]))


def isotonic(values: Sequence[float]) -> np.ndarray:
    """Nearest non-decreasing sequence, by pooling adjacent violators (Ayer et al. 1955)."""
    blocks: list[tuple[float, int]] = []  # sum and number of the values that are pooled
    for value in values:
        total, count = float(value), 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            earlier = blocks.pop()
            total, count = total + earlier[0], count + earlier[1]
        blocks.append((total, count))
    return np.concatenate([np.full(count, total / count) for total, count in blocks])


def labels_to_reach(curve: Curve, target: float) -> float:
    """Labels at which the monotone fit, linear between counts, first has a target; or NaN."""
    labels, fit = curve[0], isotonic(curve[1])
    reached = np.flatnonzero(fit >= target - 1e-9)
    if len(reached) == 0:
        return np.nan
    at = reached[0]
    if at == 0:
        return float(labels[0])
    share = min(1.0, (target - fit[at - 1]) / (fit[at] - fit[at - 1]))
    return float(labels[at - 1] + share * (labels[at] - labels[at - 1]))


def summary(values: Sequence[float]) -> Row:
    """Mean over seeds with its 95 % t interval; NaN where a value is."""
    low, high = t_interval(values)
    mean = float(np.mean(values)) if len(values) else np.nan
    return {"mean": mean, "low": low, "high": high, "seeds": len(values)}


def compare(curves: Curves, dataset: str) -> dict[str, Row]:
    """Each arm of a dataset, and against random: area, tests, last accuracy, label saving.

    Both tests are Holm-corrected over the four arms.
    """
    random = curves_of(curves, FIGURE[dataset], dataset, "random")
    targets = [isotonic(accuracy)[-1] for _, accuracy in random]
    ends = np.array([labels[-1] for labels, _ in random])
    arms: dict[str, Row] = {}
    for arm in ("random", *ARMS):
        own = curves_of(curves, FIGURE[dataset], dataset, arm)
        areas, last = np.array([area(c) for c in own]), np.array([c[1][-1] for c in own])
        reach = np.array([labels_to_reach(c, t) for c, t in zip(own, targets, strict=True)])
        arms[arm] = row = {
            "areas": areas,
            "lasts": last,
            "last": summary(last),
            "reached": int(np.isfinite(reach).sum()),
            "at_first": any(n <= c[0][0] for n, c in zip(reach, own, strict=True)),
            "savings": ends / reach,
        }
        row["differences"] = areas - arms["random"]["areas"]
        row["last_difference"] = summary(last - arms["random"]["lasts"])
        row["simultaneous"] = t_interval(row["differences"], 1 - ALPHA / len(ARMS))
    tested = [arms[arm]["differences"] for arm in ARMS]
    different = holm([t_test(d) for d in tested])
    equivalent = holm([equivalence_test(d, MARGIN[dataset]) for d in tested])
    for arm, p, p_equivalent in zip(ARMS, different, equivalent, strict=True):
        arms[arm] |= {"p": p, "p_equivalent": p_equivalent}
    return arms


def verdict(supported: bool, opposite: bool) -> str:
    """Of a finding or a claim."""
    return "supported" if supported else "not supported" if opposite else "undecided"


def above(found: Row, line: float) -> str:
    """Supported where the 95 % interval lies above a line, opposed where below it."""
    return verdict(found["low"] > line, found["high"] < line)


def below(found: Row, line: float) -> str:
    """Supported where the 95 % interval lies below a line, opposed where above it."""
    return verdict(found["high"] < line, found["low"] > line)


def difference_rule(found: Row) -> str:
    """C3: the corrected test decides, and the sign of the mean tells the direction."""
    return verdict(found["p"] < ALPHA and found["mean"] > 0, found["p"] < ALPHA)


def equivalence_rule(found: Row, margin: float) -> str:
    """C4: two one-sided tests; opposed where the 95 % interval lies beyond the margin."""
    return verdict(found["p"] < ALPHA, found["low"] > margin or found["high"] < -margin)


def saving_rule(found: Row, arm: Row) -> str:
    """C6, with its clauses for an arm that never gets there, or is there from the first labels."""
    if arm["reached"] == 0:
        return verdict(False, arm["last_difference"]["high"] < 0)
    return "undecided" if arm["at_first"] else above(found, 2)


def gain(curve: Curve, start: float, end: float) -> float:
    """Accuracy gained between the label counts that are nearest to two sizes (C1, C2)."""
    at = [int(np.abs(curve[0] - size).argmin()) for size in (start, end)]
    return float(curve[1][at[1]] - curve[1][at[0]])


def judge(curves: Curves, arms: dict[str, dict[str, Row]]) -> dict[str, Row]:
    """The six claims: findings and verdicts."""
    claims: dict[str, list[Row]] = {f"C{number}": [] for number in range(1, 7)}

    def note(
        claim: str,
        key: str,
        figure: int,
        values: Sequence[float],
        rule: Callable[[Row], str],
        **more: Any,
    ) -> None:
        """Add a finding, undecided where seeds or the poster's label range are lacking."""
        dataset = key.split()[0]
        base, (first, last) = curves_of(curves, figure, dataset, "random"), SPAN[figure, dataset]
        whole = len(base) >= MINIMUM_SEEDS and all(
            n[0] <= first * (1 + SLACK) and n[-1] >= last * (1 - SLACK) for n, _ in base
        )
        found = {"key": key, **summary(values), **more}
        claims[claim].append(found | {"verdict": rule(found) if whole else "undecided"})

    for dataset in FIGURE:
        base = curves_of(curves, 2, dataset, "random")
        note("C1", f"{dataset} gain", 2, [gain(c, 0, 1e9) for c in base], lambda f: above(f, 0))
        note(
            "C2",
            f"{dataset} gain",
            2,
            [gain(c, 1500, 5500) for c in base],
            (lambda f: below(f, 1.5)) if dataset == "mnist" else (lambda f: above(f, 5)),
        )
    tested = {(d, arm): arms[d][arm]["differences"] for d in FIGURE for arm in ARMS}
    corrected = holm([t_test(values) for values in tested.values()])
    for ((dataset, arm), values), p in zip(tested.items(), corrected, strict=True):
        note(
            "C3",
            f"{dataset} {arm} - random",
            FIGURE[dataset],
            values,
            difference_rule,
            p=p,
            simultaneous=t_interval(values, 1 - ALPHA / len(tested)),
        )
    for dataset, margin in MARGIN.items():
        for one, other in combinations(ARMS, 2):
            values = arms[dataset][one]["areas"] - arms[dataset][other]["areas"]
            note(
                "C4",
                f"{dataset} {one} - {other}",
                FIGURE[dataset],
                values,
                lambda f, margin=margin: equivalence_rule(f, margin),
                p=equivalence_test(values, margin),
            )
    cifar, mnist = arms["cifar10"], arms["mnist"]
    best = max(ARMS, key=lambda arm: cifar[arm]["last"]["mean"])
    note(
        "C5",
        f"cifar10 {best} - random, last",
        3,
        cifar[best]["lasts"] - cifar["random"]["lasts"],
        lambda f: below(f, 4),
    )
    for arm in ARMS:
        note(
            "C6",
            f"mnist {arm} saving",
            4,
            mnist[arm]["savings"],
            lambda f, arm=arm: saving_rule(f, mnist[arm]),
        )
    return {
        claim: {
            "findings": findings,
            "verdict": verdict(
                all(found["verdict"] == "supported" for found in findings),
                any(found["verdict"] == "not supported" for found in findings),
            ),
        }
        for claim, findings in claims.items()
    }


def recalculate(folder: str | Path) -> dict[str, Any]:
    """Everything, from the records in a folder: curves, arms by dataset, claims."""
    curves = read_curves(Path(folder))
    arms = {dataset: compare(curves, dataset) for dataset in FIGURE}
    return {"curves": curves, "arms": arms, "claims": judge(curves, arms)}
