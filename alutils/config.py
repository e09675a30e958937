"""What a study is: validated parameters, and the cells they unfold into.

Nothing here imports torch, so that a wrong parameter is refused within a second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import Field, model_validator

from alutils import paths
from alutils.parameters import ParameterError, Parameters, known, no_duplicates
from alutils.protocol import (
    ARMS,
    BASELINE,
    CONTROLS,
    DATASETS,
    FURTHER,
    Cell,
    Count,
    Protocol,
    Rounds,
    Share,
)
from alutils.validation import check

CUSTOM_ARMS: dict[str, str] = {}
"""Name to source hash of the strategies that a user registered (see ``strategies.register``)."""

Level = TypeVar("Level")
Levels = Annotated[tuple[Level, ...], Field(min_length=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Study(Protocol, Parameters):
    """The parameters that every notebook of runs has."""

    seeds: Seeds = (0, 1, 2)
    reported: Literal["test", "heldout-best", "heldout-last"] = "test"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    workers: Annotated[int, Field(ge=0, le=1_024)] = 0
    cells_per_gpu: Annotated[int, Field(ge=1, le=100)] = 1
    scheduler: str = ""
    train: bool = True

    @model_validator(mode="after")
    def _sound(self) -> Self:
        no_duplicates("seeds", self.seeds)
        _check_judging(self)
        for cell in self.cells():
            check(cell)
        return self

    def _protocol(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in Protocol.model_fields}


class TrainingSizeStudy(Study):
    """Figure 2: accuracy against training-set size, on nested random labels."""

    datasets: Annotated[tuple[str, ...], Field(min_length=1)] = ("mnist", "cifar10")
    label_counts: Annotated[tuple[Count, ...], Field(min_length=1)] = (
        540, 590, 690, 840, 990, 1240, 1490, 1990, 2490, 2990, 3490, 3990, 4490, 4990, 5490,
    )  # fmt: skip

    def cells(self) -> list[Cell]:
        """One cell a seed and dataset; its rounds are the sizes."""
        no_duplicates("datasets", self.datasets)
        for dataset in self.datasets:
            known("datasets", dataset, DATASETS)
        if list(self.label_counts) != sorted(set(self.label_counts)):
            raise ValueError(f"label_counts = {list(self.label_counts)} must increase")
        return [
            Cell(
                figure=2,
                dataset=dataset,
                arm="random",
                seed=seed,
                first_labels=self.label_counts[0],
                label_counts=self.label_counts,
                rounds=len(self.label_counts),
                **self._protocol(),
            )
            for seed in self.seeds
            for dataset in self.datasets
        ]


class ActiveLearningStudy(Study):
    """Figures 3 and 4: every arm on one dataset, paired by seed."""

    dataset: str = "cifar10"
    arms: Annotated[tuple[str, ...], Field(min_length=1)] = ARMS
    single_baseline: bool = False
    first_labels: Share | Count = 0.01
    acquisition_fraction: Share = 0.001
    rounds: Rounds = 150

    @property
    def first_count(self) -> int:
        """First labels as a count: a float is a share of the pool, an integer counts."""
        if isinstance(self.first_labels, int):
            return self.first_labels
        return int(self.first_labels * DATASETS[self.dataset].pool(self.heldout_fraction))

    def cells(self) -> list[Cell]:
        """One cell a seed and arm.

        With ``adam_state = "arms"`` all arms but random are one cell, in their order. The single
        baseline is one training at the last label count, with a fresh Adam.
        """
        self._check_arms()
        cells: list[Cell] = []
        for seed in self.seeds:
            arms = [self._cell(arm, seed) for arm in self.arms]
            if self.adam_state == "arms":
                others = tuple(arm for arm in self.arms if arm != "random")
                sequence = self._cell("sequence", seed).model_copy(update={"sequence": others})
                random = self._cell("random", seed).model_copy(update={"adam_state": "rounds"})
                arms = [random, sequence]
            if self.single_baseline:
                last = arms[0].schedule_of_labels()[-1]
                fresh = {"adam_state": "fresh", "start": "cold"}
                once = {"first_labels": last, "rounds": 1} | fresh
                arms.append(self._cell(BASELINE, seed).model_copy(update=once))
            cells += arms
        return cells

    def _cell(self, arm: str, seed: int) -> Cell:
        return Cell(
            figure={"cifar10": 3, "mnist": 4}.get(self.dataset, self.dataset),
            dataset=self.dataset,
            arm=arm,
            seed=seed,
            first_labels=self.first_count,
            acquisition_fraction=self.acquisition_fraction,
            rounds=self.rounds,
            strategy_source=CUSTOM_ARMS.get(arm, ""),
            **self._protocol(),
        )

    def _check_arms(self) -> None:
        known("dataset", self.dataset, DATASETS)
        no_duplicates("arms", self.arms)
        for arm in self.arms:
            known("arms", arm, [*ARMS, *CONTROLS, *FURTHER, *CUSTOM_ARMS])
        if "random" not in self.arms:
            raise ValueError(f"arms = {list(self.arms)} lacks random, the baseline: add it")
        if self.adam_state == "arms" and (len(self.arms) < 2 or set(self.arms) & set(CUSTOM_ARMS)):
            raise ValueError(
                f"adam_state = 'arms' goes through the study's own arms one after another, but "
                f"arms = {list(self.arms)}: name some beside random, or use rounds"
            )
        if self.first_count < 1:
            raise ValueError(f"first_labels = {self.first_labels} gives no label: raise it")


@dataclass(frozen=True)
class Setting:
    """A cell under the name of what is varied, and its level there."""

    factor: str
    level: float | str
    cell: Cell


class SensitivityStudy(Study):
    """What the arms' own settings are worth: one varied at a time, to about ``last_labels``."""

    datasets: Annotated[tuple[str, ...], Field(min_length=1)] = ("mnist", "cifar10")
    dropouts: Levels[Annotated[float, Field(gt=0, lt=1)]] = (0.1, 0.25, 0.5, 0.75)
    passes: Levels[Count] = (1, 5, 20, 50)
    cluster_counts: Levels[Annotated[int, Field(ge=2, le=10_000)]] = (6, 12, 24, 48)
    acquisition_fractions: Levels[Share] = (0.02, 0.01, 0.005, 0.001)
    acquisition_fraction: Share = 0.01
    first_labels: Count = 540
    last_labels: Rounds = 2700

    def settings(self) -> list[Setting]:
        """Every cell with what is varied in it; a cell may serve several settings.

        The acquisition size comes last, from the coarsest to the finest, as that costs the most.
        """
        self._check_lists()
        step = self.acquisition_fraction
        varied: list[tuple[str, float | str, str, float, dict[str, Any]]] = []
        for rate in self.dropouts:
            for arm in ("random", "bayesian"):
                varied.append(("dropout", rate, arm, step, {"dropout": rate}))
        for count in self.passes:
            varied.append(("passes", count, "bayesian", step, {"mc_passes": count}))
        varied += [("passes", "no dropout when scoring", "entropy", step, {})]
        varied += [("passes", "", "random", step, {}), ("clusters", "", "random", step, {})]
        for count in self.cluster_counts:
            varied.append(("clusters", count, "kmeans", step, {"clusters": count}))
        for share in sorted(self.acquisition_fractions, reverse=True):
            for arm in ("random", "margin"):
                varied.append(("acquisition", share, arm, share, {}))
        return [
            Setting(factor, level, self._cell(dataset, seed, arm, share, changes))
            for factor, level, arm, share, changes in varied
            for seed in self.seeds
            for dataset in self.datasets
        ]

    def cells(self) -> list[Cell]:
        """The cells of all settings, each once, seed by seed."""
        cells = {one.cell.name: one.cell for one in self.settings()}.values()
        return sorted(cells, key=lambda cell: cell.seed)

    def _cell(
        self, dataset: str, seed: int, arm: str, share: float, changes: dict[str, Any]
    ) -> Cell:
        fields = self._protocol() | changes
        cell = Cell(
            figure="sensitivity",
            dataset=dataset,
            arm=arm,
            seed=seed,
            first_labels=self.first_labels,
            acquisition_fraction=share,
            rounds=self.last_labels,
            **fields,
        )
        counts = list(dict.fromkeys(cell.schedule_of_labels()))
        nearest = min(counts, key=lambda count: abs(count - self.last_labels))
        if nearest == self.first_labels:
            raise ValueError(
                f"acquisition_fraction = {share} leads nowhere between {self.first_labels} and "
                f"{self.last_labels} labels of {dataset}: take another one, or raise last_labels"
            )
        return cell.model_copy(update={"rounds": counts.index(nearest) + 1})

    def _check_lists(self) -> None:
        for key in ("datasets", "dropouts", "passes", "cluster_counts", "acquisition_fractions"):
            no_duplicates(key, getattr(self, key))
        for dataset in self.datasets:
            known("datasets", dataset, DATASETS)
        if self.last_labels <= self.first_labels:
            raise ValueError(
                f"last_labels = {self.last_labels} is not above first_labels = "
                f"{self.first_labels}: raise it"
            )


class ClaimsStudy(Parameters):
    """The audit of the poster's claims: reads what a profile's other notebooks ran."""

    def cells(self) -> list[Cell]:
        """All cells of the profile, each once."""
        return list(
            {cell.name: cell for study in self._studies() for cell in study.cells()}.values()
        )

    @property
    def reported(self) -> str:
        """The accuracy that the profile's notebooks report; raises where they differ in that."""
        found = {study.reported for study in self._studies()}
        if len(found) > 1:
            raise ParameterError(
                f"reported = {' and '.join(sorted(found))} in the notebooks of {self.profile!r}: "
                "claims are judged on one kind of accuracy, so set the same in all"
            )
        return found.pop() if found else "test"

    def _studies(self) -> list[Study]:
        figures = (TrainingSizeStudy, ActiveLearningStudy)
        names = [n for n in notebooks(self.profile) if issubclass(STUDIES[n], figures)]
        return [load_study(self.profile, name) for name in names]


STUDIES: dict[str, type[Parameters]] = {
    "01-training-size": TrainingSizeStudy,
    "02-cifar10-active-learning": ActiveLearningStudy,
    "03-mnist-active-learning": ActiveLearningStudy,
    "04-claims": ClaimsStudy,
    "05-your-own-strategy": ActiveLearningStudy,
    "06-sensitivity": SensitivityStudy,
}


def profiles() -> list[str]:
    """Names of the profiles there are."""
    return sorted(folder.name for folder in paths.PARAMS.iterdir() if folder.is_dir())


def notebooks(profile: str) -> list[str]:
    """Names of the notebooks of a profile, in their order."""
    known("PROFILE", profile, profiles(), ParameterError)
    return sorted(file.stem for file in (paths.PARAMS / profile).glob("*.yaml"))


def params_file(profile: str, notebook: str) -> Path:
    """Parameter file of one notebook in one profile."""
    known("NOTEBOOK", notebook, notebooks(profile), ParameterError)
    return paths.PARAMS / profile / f"{notebook}.yaml"


def load_study(profile: str, notebook: str) -> Parameters:
    """Read and validate one parameter file."""
    file = params_file(profile, notebook)
    source = f"params/{profile}/{file.name}"
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{source} can't be read as YAML: {reason}") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ParameterError(f"{source}: expected 'key: value' lines, got {str(values)[:100]}")
    plan = STUDIES[notebook].parse(values, source)
    if plan.profile != profile:
        raise ParameterError(
            f"{source}: profile = {plan.profile!r} is not allowed in the folder {profile!r}, whose "
            "reports go to another place: give both the same name"
        )
    return plan


def _check_judging(study: Study) -> None:
    if study.heldout_every > study.epochs:
        raise ValueError(
            f"heldout_every = {study.heldout_every} is more than epochs = {study.epochs}, so the "
            "held-out set would never be judged: lower it, or set 0"
        )
    if study.adam_state == "arms" and not isinstance(study, ActiveLearningStudy):
        raise ValueError("adam_state = 'arms' needs arms to go through: use rounds or fresh")
    if study.reported == "test" and not study.test:
        raise ValueError("reported = 'test' needs test = true, or report heldout-best")
    if study.reported != "test" and not study.heldout_every:
        raise ValueError(f"reported = {study.reported!r} needs heldout_every above 0")
