import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from alutils.learning.training import learning_rate
from alutils.paths import NOTEBOOKS, PARAMS, ROOT
from alutils.protocol.arms import CONTROLS, FURTHER, POSTER_ARMS
from alutils.protocol.cell import Cell, Protocol
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import ParameterError, Parameters
from alutils.protocol.study import Study
from alutils.protocol.validation import check_cell
from alutils.studies import parameter_files, profiles
from alutils.studies.active_learning.plan import ActiveLearningStudy
from alutils.studies.beyond.plan import BeyondStudy
from alutils.studies.claims.plan import ClaimsStudy
from alutils.studies.own_labels.plan import OwnLabelsStudy
from alutils.studies.sensitivity.plan import SensitivityStudy
from alutils.studies.training_size.plan import TrainingSizeStudy
from tests.processes import ARMS_NOTEBOOK

FILES = sorted(PARAMS.glob("*/*.yaml"))
YOURS = {"dataset", "classes", "ledger", "older_ledger"}
"""What a user sets in the first cells of 10 and 11; ``quick`` and ``smoke`` have their own."""


def test_the_poster_protocol_has_the_published_label_counts():
    cifar10, mnist = (Cell(dataset=name, arm="margin", seed=0, first_labels=first)
                      for name, first in (("cifar10", 450), ("mnist", 540)))  # fmt: skip
    counts = cifar10.schedule_of_labels(), mnist.schedule_of_labels()
    assert counts[0][:2] == [450, 494] and counts[0][-1] == 6549
    assert counts[1][:2] == [540, 593] and counts[1][-1] == 7875
    assert sum(cifar10.steps()) == 830_800
    assert sum(mnist.steps()) == 999_700


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_a_parameter_file_holds_what_differs_from_the_notebook_and_no_more(file):
    values, defaults = parameter_files.read_file(file, ""), parameter_files.defaults(file.stem)
    assert profiles.load_study(file.parent.name, file.stem).profile == file.parent.name
    assert values.keys() <= defaults.keys()
    pinned = YOURS & defaults.keys() if file.stem[:2] in ("10", "11") else set()
    assert {key for key, value in values.items() if value == defaults[key]} == pinned


def edited(notebook: str, values: dict, folder: Path, monkeypatch) -> None:
    """A copy of a notebook, in the stead of all, whose first cell has other values."""
    whole = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    (first,) = (c for c in whole["cells"] if "parameters" in c["metadata"].get("tags", []))
    cell = parameter_files.defaults(notebook)
    cell |= {key: value for key, value in values.items() if key in cell}
    first["source"] = [f"{key} = {value!r}\n" for key, value in cell.items()]
    (folder / f"{notebook}.ipynb").write_text(json.dumps(whole), encoding="utf-8")
    monkeypatch.setattr(parameter_files.paths, "NOTEBOOKS", folder)


@pytest.mark.parametrize("profile", ["quick", "smoke"])
@pytest.mark.parametrize("notebook", ["10-your-own-images", "11-label-your-own"])
def test_a_folder_that_a_first_cell_names_is_no_profile_s(profile, notebook, tmp_path, monkeypatch):
    before = profiles.load_study(profile, notebook)
    yours = {"dataset": "/photos", "classes": ["cat"], "ledger": "a.jsonl", "older_ledger": "b"}
    edited(notebook, yours, tmp_path, monkeypatch)
    assert parameter_files.defaults(notebook)["dataset"] == "/photos"
    assert profiles.load_study(profile, notebook) == before


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("profile", "mine")])
def test_what_a_first_cell_may_not_hold_names_the_notebook_too(key, value, tmp_path, monkeypatch):
    edited(ARMS_NOTEBOOK, {key: value}, tmp_path, monkeypatch)
    expected = f"{ARMS_NOTEBOOK}.yaml and the first cell of notebooks/{ARMS_NOTEBOOK}.ipynb: {key}"
    with pytest.raises(ParameterError, match=f"^params/quick/{expected} = {value!r}"):
        profiles.load_study("quick", ARMS_NOTEBOOK)


CELLS = {
    "desktop": (5507, "3165c1b5edf3"),
    "fidelity": (6, "bfe52e75c8fe"),
    "poster": (60, "69ed71bee173"),
    "poster-recipe": (50, "4f45e4751d61"),
    "poster-rounds": (10, "c5aed2b96843"),
    "quick": (141, "faad1e021004"),
    "replica": (8, "8c2ead433ac0"),
    "sensitivity": (138, "2a6af63f7df6"),
    "smoke": (99, "9363d5d24ea4"),
    "strong-recipe": (9, "36ccc3173393"),
}
"""How many cells a profile has, and a hash of their names."""


@pytest.mark.parametrize("profile", profiles.profiles())
def test_the_cells_of_every_profile_are_pinned(profile):
    """So that a notebook's changed default, or a moved field, moves no other profile's records."""
    studies = [profiles.load_study(profile, name) for name in profiles.notebooks(profile)]
    names = sorted({cell.name for study in studies for cell in study.cells()})
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
    assert (len(names), digest) == CELLS[profile]


@pytest.mark.parametrize("notebook", profiles.notebooks("poster"))
def test_the_poster_profile_is_the_defaults(notebook):
    study = profiles.load_study("poster", notebook)
    free = {"profile", "seeds", "dataset", "heldout_every", "diagnostics"}
    defaults = {key: field.default for key, field in type(study).model_fields.items()}
    assert {k: v for k, v in study.model_dump().items() if k not in free} == {
        k: v for k, v in defaults.items() if k not in free
    }


def test_the_name_of_a_record_is_pinned():
    cell = Cell(dataset="cifar10", arm="margin", seed=0, first_labels=450)
    assert cell.name == "cifar10-margin-seed0-79b39230988d"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("03-mnist-active-learning.yml", "params/mine/03-mnist-active-learning.yml would not be"),
        ("", "PROFILE = 'mine' has no notebook: params/mine needs a parameter file such as 01-"),
    ],
)
def test_a_profile_without_a_parameter_file_is_named(file, expected, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    if file:
        (tmp_path / "mine" / file).write_text("profile: mine")
    monkeypatch.setattr(parameter_files.paths, "PARAMS", tmp_path)
    with pytest.raises(ParameterError, match=expected):
        profiles.notebooks("mine")


def test_a_new_option_with_a_neutral_default_keeps_names_and_a_changed_value_does_not():
    class Extended(Cell):
        novelty: int = 0

    fields = dict(dataset="mnist", arm="random", seed=1, first_labels=540)
    assert Extended(**fields).name == Cell(**fields).name
    assert Extended(**fields, novelty=1).name != Cell(**fields).name
    assert Cell(**fields, epochs=99).name != Cell(**fields).name


def test_cells_that_differ_in_their_arm_alone_are_twins():
    cells = ActiveLearningStudy(seeds=(0, 1)).cells()
    assert len({cell.name for cell in cells}) == 2 * len(POSTER_ARMS)
    assert len({cell.without_arm.name for cell in cells}) == 2


BAD = [
    ({"epochz": 3}, "epochs"),
    ({"dataset": "cifar11"}, "cifar10"),
    ({"arms": ["random", "margins"]}, "margin"),
    ({"epochs": "ten"}, "epochs = 'ten'"),
    ({"epochs": 2.5}, "epochs = 2.5"),
    ({"epochs": 0}, "epochs = 0"),
    ({"epochs": -1}, "epochs = -1"),
    ({"rounds": 0}, "rounds = 0"),
    ({"batch_size": 0}, "batch_size = 0"),
    ({"batch_size": 512}, "batch_size = 512"),
    (
        {"schedule": "one-cycle", "dataset": "digits", "first_labels": 64, "batch_size": 64}
        | {"epochs": 1, "rounds": 2, "acquisition_fraction": 0.05},
        "batch_size = 64 and epochs = 1 give a single step on the first 64 labels of digits, and "
        "schedule = 'one-cycle' begins at learning rate 0, so nothing would be trained: raise ep",
    ),
    ({"rounds": 9000}, "lower rounds"),
    (
        {"first_labels": 46_000},
        "first_labels = 46000 is more than the pool of cifar10 holds, 45000: lower it",
    ),
    (
        {"first_labels": 1.0},
        "first_labels = 45000 labels the whole pool of cifar10, so nothing is left to choose: "
        "lower it",
    ),
    ({"first_labels": 0}, "first_labels"),
    ({"first_labels": 1.5}, "first_labels = 1.5"),
    ({"first_labels": 1e-6}, "first_labels"),
    ({"acquisition_fraction": 0.0}, "acquisition_fraction = 0.0"),
    ({"acquisition_fraction": 1.01}, "acquisition_fraction = 1.01"),
    ({"acquisition_fraction": 1e-6}, "acquisition_fraction"),
    ({"heldout_fraction": 1.0}, "heldout_fraction = 1.0"),
    ({"seeds": [0, 0]}, "seeds = [0, 0]"),
    ({"seeds": []}, "seeds"),
    ({"seeds": [-1]}, "seeds"),
    ({"seeds": 3}, "seeds = 3 is not allowed: it should be a list, as in [0, 1]"),
    ({"first_labels": 540.0}, "less than or equal to 1, or input should be a valid integer"),
    ({"arms": ["margin", "margin"]}, "duplicates"),
    ({"arms": ["margin"]}, "random"),
    ({"dataset": "MNIST"}, "dataset = 'MNIST' is unknown: did you mean 'mnist'?"),
    ({"arms": ["random", "BALD"]}, "arms = 'BALD' is unknown: did you mean 'bald'?"),
    ({"EPOCHS": 3}, "unknown parameter 'EPOCHS' = 3: did you mean 'epochs'?"),
    ({"candidates": 10, "acquisition_fraction": 0.01}, "candidates = 10"),
    (
        {"candidates": 3000, "clusters": 9000},
        "clusters = 9000 is more than the 3000 candidates of cifar10 that the kmeans arm clusters: "
        "lower it, or raise candidates",
    ),
    (
        {"arms": ["random", "kmeans-centre"], "dataset": "digits", "first_labels": 64}
        | {"acquisition_fraction": 0.1, "rounds": 2, "clusters": 1300},
        "clusters = 1300 is more than the 1230 candidates of digits that the kmeans-centre arm "
        "clusters: lower it",
    ),
    ({"dropout": 1.0}, "dropout = 1.0"),
    ({"learning_rate": "5e-4"}, "valid number, not text: YAML reads 5.0e-4, with a decimal"),
    ({"schedule": "linear"}, "schedule = 'linear'"),
    ({"optimiser": "adamw"}, "optimiser = 'adamw'"),
    ({"weight_decay": -1e-4}, "weight_decay = -0.0001"),
    ({"weight_decay": float("inf")}, "weight_decay = inf"),
    ({"augmentation": "flip"}, "augmentation = 'flip'"),
    ({"augmentation": "crop-flip", "dataset": "mnist"}, "is not for mnist, whose images may"),
    ({"start": "hot"}, "start = 'hot'"),
    ({"start": "warm", "adam_state": "arms"}, "start = 'warm'"),
    ({"optimiser": "sgd", "adam_state": "rounds"}, "use adam_state fresh, or optimiser adam"),
    ({"precision": "fp16"}, "precision = 'fp16'"),
    ({"device": "tpu"}, "device = 'tpu'"),
    (
        {"profile": "../escape"},
        "profile = '../escape' is not allowed: it should be lower-case letters",
    ),
    ({"profile": "-mine"}, "digits and hyphens, and not begin with a hyphen"),
    (
        {"profile": 2026},
        "profile = 2026 is not allowed: it should be text, in quotes; papermill's -p "
        "turned it into a number: use -r profile",
    ),
    ({"workers": -2}, "workers = -2"),
    ({"live_taps": "yes"}, "live_taps = 'yes'"),
    ({"dropout": 0.0}, "dropout = 0.0"),
    ({"mc_score": "mutual-information", "mc_passes": 1}, "mc_passes of 2"),
    ({"arms": ["random", "bald"], "dropout": 0.0}, "so the bald arm would choose at random"),
    ({"arms": ["random", "variation-ratios"], "mc_passes": 1}, "mc_passes = 1"),
    ({"arms": ["random", "batchbald"], "acquisition_fraction": 0.01}, "batchbald arm chooses"),
    ({"test": False}, "reported = 'test'"),
    ({"reported": "heldout-best"}, "heldout_every"),
    ({"reported": "best"}, "reported = 'best'"),
    ({"heldout_every": 101}, "heldout_every = 101"),
    (
        {"heldout_every": 10, "heldout_fraction": 1e-6},
        "heldout_fraction = 1e-06 holds out no image",
    ),
    (
        {"imbalance": 0.5},
        "imbalance = 0.5 is not allowed: input should be greater than or equal to 1",
    ),
    ({"imbalance": float("nan")}, "imbalance = nan"),
    (
        {"imbalance": float("inf")},
        "imbalance = inf is not allowed: input should be less than or equal to 60000",
    ),
    (
        {"imbalance": 5001},
        "imbalance = 5001.0 leaves the rarest class of cifar10 without an image, as the most "
        "frequent one has 5000: lower it to at most that",
    ),
    (
        {"imbalance": 100, "first_labels": 12_000},
        "first_labels = 12000 is more than the pool of cifar10 holds, 11166: lower it, or "
        "imbalance = 100.0",
    ),
    (
        {"imbalance": 10, "diagnostics": True, "test": False, "reported": "heldout-last"}
        | {"heldout_every": 10},
        "imbalance = 10.0 may leave a class without a held-out image",
    ),
    ({"arms": ["random"]}, "leaves no strategy to hold against random"),
    ({"arms": ["random", "oracle"]}, "leaves no strategy to hold against random"),
    ({"adam_state": "carried"}, "adam_state = 'carried'"),
]


@pytest.mark.parametrize(("values", "expected"), BAD, ids=lambda v: str(v))
def test_bad_parameters_are_refused_with_one_line_that_names_them(values, expected):
    with pytest.raises(ParameterError) as refused:
        ActiveLearningStudy.parse(values, "params/x.yaml")
    message = str(refused.value)
    assert expected in message and message.startswith("params/x.yaml: ") and "\n" not in message


@pytest.mark.parametrize("change", [{"schedule": "cosine"}, {"epochs": 2}, {"batch_size": 32}])
def test_one_step_is_refused_where_its_rate_is_zero_alone(change):
    fields = {"dataset": "digits", "arm": "random", "seed": 0, "first_labels": 64, "rounds": 2}
    fields |= {"schedule": "one-cycle", "batch_size": 64, "epochs": 1, "acquisition_fraction": 0.05}
    cell = Cell(**fields | change)
    check_cell(cell)
    steps = cell.steps()[0]
    assert max(learning_rate(cell, step, steps) for step in range(steps)) > 0


def test_the_largest_imbalance_leaves_one_image_of_the_rarest_class():
    plan = ActiveLearningStudy(dataset="digits", imbalance=141, first_labels=64, rounds=1)
    assert DATASETS["digits"].long_tail(plan.imbalance)[-1] == 1


def test_first_labels_as_a_share_are_of_what_an_imbalance_leaves():
    plan = ActiveLearningStudy(imbalance=100, first_labels=0.01, rounds=2, seeds=(0,))
    assert plan.cells()[0].schedule_of_labels() == [111, 111 + (11_166 - 111) // 1000]


def test_every_arm_from_the_literature_may_be_asked_for():
    study = ActiveLearningStudy(arms=(*POSTER_ARMS, *CONTROLS, *FURTHER), seeds=(0,))
    assert len({cell.name for cell in study.cells()}) == len(POSTER_ARMS) + len(CONTROLS) + len(
        FURTHER
    )


def test_the_replica_is_one_sequence_of_the_authors_arms_and_their_single_baseline():
    study = profiles.load_study("replica", "03-mnist-active-learning")
    random, sequence, baseline = study.cells()
    assert sequence.arms == ("uncertainty", "margin", "bayesian", "kmeans")
    assert (sequence.length, random.length, baseline.length) == (600, 150, 1)
    assert (sequence.adam_state, random.adam_state, baseline.adam_state) == (
        "arms", "rounds", "fresh",
    )  # fmt: skip
    assert baseline.schedule_of_labels() == [7875] and sum(sequence.steps()) == 4 * 999_700
    assert sequence.position(149) == ("uncertainty", 149) and sequence.position(150) == (
        "margin",
        0,
    )
    assert (study.reported, study.test, study.dropout) == ("heldout-best", False, 0.0)


def test_a_sequence_needs_arms_to_go_through():
    with pytest.raises(ParameterError, match="adam_state = 'arms' needs arms"):
        TrainingSizeStudy.parse({"adam_state": "arms"})


def test_the_single_baseline_has_nothing_to_start_from():
    study = ActiveLearningStudy(single_baseline=True, seeds=(0,), start="warm")
    *arms, baseline = study.cells()
    assert baseline.start == "cold" and {cell.start for cell in arms} == {"warm"}


def test_crops_are_refused_where_another_dataset_is_studied():
    values = {"augmentation": "crop-flip", "datasets": ["cifar10", "digits"]}
    with pytest.raises(
        ParameterError, match="augmentation = 'crop-flip'.*not for digits.*set none"
    ):
        TrainingSizeStudy.parse(values)
    assert TrainingSizeStudy.parse(values | {"datasets": ["cifar10"]})


def test_all_arms_have_one_protocol():
    """Guards: different dropout rates for different arms (realistic-al)."""
    fields = set(Protocol.model_fields)
    cells = ActiveLearningStudy(seeds=(0,)).cells()
    assert len({cell.model_copy(update={"arm": "random"}).name for cell in cells}) == 1
    assert len({str(cell.model_dump(include=fields)) for cell in cells}) == 1


def test_claims_are_judged_on_the_accuracy_that_the_profile_reports():
    assert profiles.load_study("replica", "04-claims").reported == "heldout-best"
    assert profiles.load_study("quick", "04-claims").reported == "test"


def test_a_sensitivity_study_varies_one_setting_at_a_time():
    study = SensitivityStudy(datasets=("mnist",), seeds=(0,))
    settings = study.settings()
    assert {s.factor for s in settings} == {"dropout", "passes", "clusters", "acquisition"}
    base = study._cell("mnist", 0, "random", 0.01, {})
    for setting in settings:
        changed = {k for k, v in setting.cell.model_dump().items() if v != getattr(base, k)}
        assert len(changed - {"arm", "rounds"}) <= 1
        assert abs(setting.cell.schedule_of_labels()[-1] - 2700) <= 550
    assert len(study.cells()) < len(settings)


def test_a_sensitivity_study_must_go_up():
    with pytest.raises(ParameterError, match="last_labels = 500"):
        SensitivityStudy.parse({"last_labels": 500})


def test_label_counts_may_lie_beyond_the_limit_of_rounds(monkeypatch):
    """As a folder of a million images has them; the schedule ends at the last labels."""
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], train=1_000_000))
    wide = {"datasets": ("mnist",), "seeds": (0,), "last_labels": 800_000}
    counts = {cell.schedule_of_labels()[-1] for cell in SensitivityStudy(**wide).cells()}
    assert min(counts) > 700_000
    monkeypatch.setattr("alutils.protocol.study.MOST_ROUNDS", 100)
    expected = "acquisition_fraction = 0.01 takes more than 100 rounds from 540 to 800000 labels"
    with pytest.raises(
        ParameterError, match=f"{expected} of mnist: raise it, or lower last_labels"
    ):
        SensitivityStudy.parse(wide)


def test_label_counts_must_increase():
    with pytest.raises(ParameterError, match="must increase"):
        TrainingSizeStudy.parse({"label_counts": [900, 540]})


@pytest.mark.parametrize(
    ("study", "values", "expected"),
    [
        (
            TrainingSizeStudy,
            {"label_counts": [540.0]},
            "label_counts = 540.0 is not allowed: input should be a valid integer",
        ),
        (
            ActiveLearningStudy,
            {"seeds": [-1]},
            "seeds = -1 is not allowed: input should be greater than or equal to 0",
        ),
        (
            SensitivityStudy,
            {"dropouts": [1.5]},
            "dropouts = 1.5 is not allowed: input should be less than 1",
        ),
        (
            ActiveLearningStudy,
            {"arms": ["random", 1]},
            "arms = 1 is not allowed: it should be text, in quotes",
        ),
        (
            TrainingSizeStudy,
            {"label_counts": [540, 60_000]},
            "60000, the largest of the label counts, is more than the pool of mnist holds, 54000: "
            "lower it",
        ),
        (
            BeyondStudy,
            {"own_counts": [540, 990, 2490, 4990, 46_000]},
            "46000, the largest of the label counts, is more than the pool of cifar10 holds, "
            "45000: lower it",
        ),
        (
            SensitivityStudy,
            {"first_labels": 46_000, "last_labels": 50_000, "datasets": ["cifar10"]},
            "first_labels = 46000 is more than the pool of cifar10 holds, 45000: lower it",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_refusal_gives_one_reason_and_no_other(study, values, expected):
    with pytest.raises(ParameterError) as refused:
        study.parse(values)
    assert str(refused.value) == f"parameters: {expected}"


def test_an_injected_parameter_that_no_one_reads_is_refused():
    namespace = {"epochs": 1, "eppochs": 2, "In": ["epochs = 1", "# Parameters\neppochs = 2\n"]}
    with pytest.raises(ParameterError, match="unknown parameter 'eppochs'.*did you mean 'epochs'"):
        ActiveLearningStudy.from_notebook(namespace)


def test_notebook_globals_give_the_study():
    whole = ActiveLearningStudy().model_dump() | {"epochs": 7, "seeds": [4]}
    namespace = whole | {"In": ["# Parameters\nepochs = 7\n"], "other": object()}
    study = ActiveLearningStudy.from_notebook(namespace)
    assert (study.epochs, study.seeds) == (7, (4,))
    namespace["cluster"] = namespace.pop("clusters")
    with pytest.raises(ParameterError, match="'clusters' is missing: is it 'cluster' = 12?"):
        ActiveLearningStudy.from_notebook(namespace)
    del namespace["cluster"]
    with pytest.raises(ParameterError, match="'clusters' is missing: give it a value"):
        ActiveLearningStudy.from_notebook(namespace)


FIRST = "".join(
    f"{key} = {value!r}\n" for key, value in parameter_files.defaults(ARMS_NOTEBOOK).items()
)
"""The parameters cell of a notebook, as it is run."""


class Kernel:
    """Globals and input history of a notebook that cells are run in, one after another."""

    def __init__(self):
        self.namespace: dict[str, object] = {"In": [""]}

    def study(self, *cells: str) -> ActiveLearningStudy:
        for text in cells:
            self.namespace["In"].append(text)
            exec(text, self.namespace)
        self.namespace["In"].append("study = ActiveLearningStudy.from_notebook(globals())")
        return ActiveLearningStudy.from_notebook(self.namespace)


def test_a_name_misspelt_after_a_good_run_is_named_and_once_mended_taken():
    kernel = Kernel()
    assert kernel.study(FIRST).epochs == 10
    misspelt = FIRST.replace("epochs = 10", "epoch = 3")
    with pytest.raises(ParameterError, match="'epochs' is missing: is it 'epoch' = 3?"):
        kernel.study(misspelt)
    assert kernel.study(FIRST.replace("epochs = 10", "epochs = 3")).epochs == 3
    assert kernel.study("epochs = 4", "arms = [*arms]", "1 +\\\n 1").epochs == 4


def test_a_misspelt_name_of_a_study_with_one_parameter_is_named():
    namespace = {"profile": "smoke", "profil": "quick"}
    namespace["In"] = ["profile = 'smoke'", "x = 1", "profil = 'quick'", "y = 2"]
    with pytest.raises(ParameterError, match="'profile' is missing: is it 'profil' = 'quick'?"):
        ClaimsStudy.from_notebook(namespace)


def test_an_injected_name_is_mended_without_a_new_kernel():
    kernel = Kernel()
    with pytest.raises(ParameterError, match="unknown parameter 'clustres' = 5"):
        kernel.study(FIRST, "# Parameters\nclustres = 5\n")
    assert kernel.study("# Parameters\nclusters = 5\n").clusters == 5
    with pytest.raises(ParameterError, match="clusters' = 5 is left over.*run the first cell"):
        kernel.study("# Parameters\nepochs = 5\n")
    study = kernel.study(FIRST, "# Parameters\nepochs = 5\n")
    assert (study.clusters, study.epochs) == (12, 5)


def test_a_list_that_arrives_as_text_names_the_option_that_takes_lists():
    with pytest.raises(ParameterError, match=r"seeds = '\[0, 1\]' .*use -y 'seeds: \[0, 1\]'"):
        ActiveLearningStudy.parse({"seeds": "[0, 1]"})
    assert papermill("smoke", ARMS_NOTEBOOK, yaml.safe_load("seeds: [0, 1]")).seeds == (0, 1)


def test_a_list_of_names_is_shown_as_one():
    example = '["random", "uncertainty"]'
    with pytest.raises(ParameterError) as refused:
        ActiveLearningStudy.parse({"arms": "margin"})
    assert str(refused.value) == (
        f"parameters: arms = 'margin' is not allowed: it should be a list, as in {example}; "
        f"papermill's -p passes text, so use -y 'arms: {example}'"
    )
    assert papermill("smoke", ARMS_NOTEBOOK, yaml.safe_load(f"arms: {example}")).arms == (
        "random", "uncertainty",
    )  # fmt: skip
    with pytest.raises(ParameterError, match=r"classes = 'cat' .*-y 'classes: \[\"a\", \"b\"\]'"):
        OwnLabelsStudy.parse({"classes": "cat"})


def papermill(profile: str, name: str, values: dict) -> Parameters:
    """The study that a notebook makes of its parameters cell and papermill's injected one."""
    notebook = parameterize_notebook(load_notebook_node(str(NOTEBOOKS / f"{name}.ipynb")), values)
    tags = ("parameters", "injected-parameters")
    cells = [c.source for c in notebook.cells if any(t in tags for t in c.metadata.get("tags", []))]
    namespace: dict[str, object] = {"In": cells}
    for text in cells:
        exec(text, namespace)
    return profiles.study_class(name).from_notebook(namespace)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_papermill_and_make_study_read_a_file_alike(file, tmp_path, monkeypatch):
    """The file as it is, and one with other keys."""
    profile, name = file.parent.name, file.stem
    values = parameter_files.read_file(file, "")
    assert papermill(profile, name, values) == profiles.load_study(profile, name)
    defaults = parameter_files.defaults(name)
    changes = {"dropout": 0.25, "seeds": [5]}
    changed = {key: value for key, value in changes.items() if key in defaults}
    changed |= {"profile": profile}
    (tmp_path / profile).mkdir()
    (tmp_path / profile / file.name).write_text(yaml.safe_dump(changed))
    monkeypatch.setattr(parameter_files.paths, "PARAMS", tmp_path)
    assert papermill(profile, name, changed) == profiles.load_study(profile, name)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("seeds = list(range(3))", r"seeds = list\(range\(3\)\) is not a plain value"),
        ("epochs = 1\nepochs = 2", "'epochs = 2' is not allowed there: give each name one"),
        ("import os", "'import os' is not allowed there"),
        ("epochs = ", "invalid syntax"),
        (None, "0 cells have the tag parameters"),
    ],
)
def test_a_parameters_cell_that_is_not_plain_is_refused(tmp_path, monkeypatch, first, expected):
    cells = [] if first is None else [{"metadata": {"tags": ["parameters"]}, "source": [first]}]
    (tmp_path / f"{ARMS_NOTEBOOK}.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(parameter_files.paths, "NOTEBOOKS", tmp_path)
    with pytest.raises(ParameterError, match=f"notebooks/{ARMS_NOTEBOOK}.ipynb: .*{expected}"):
        profiles.load_study("smoke", ARMS_NOTEBOOK)


def test_a_changed_parameters_cell_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(parameter_files.paths, "NOTEBOOKS", tmp_path)
    for value in (1, 2):
        cell = {"metadata": {"tags": ["parameters"]}, "source": [f"epochs = {value}"]}
        file = tmp_path / "mine.ipynb"
        file.write_text(json.dumps({"cells": [cell]}))
        os.utime(file, (value, value))
        assert parameter_files.defaults("mine") == {"epochs": value}


def test_unknown_profile_and_notebook_name_the_nearest():
    with pytest.raises(ParameterError, match="did you mean 'quick'"):
        profiles.notebooks("quik")
    with pytest.raises(ParameterError, match="NOTEBOOK = '03'"):
        profiles.params_file("quick", "03")


def test_validation_needs_no_torch():
    code = "import sys, alutils.studies.profiles as c; c.load_study('quick', '01-training-size'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_study_is_abstract():
    with pytest.raises(NotImplementedError):
        Study()


def test_the_audit_reads_what_the_other_notebooks_ran():
    audit = profiles.load_study("smoke", "04-claims")
    notebooks = ("01-training-size", "02-cifar10-active-learning", "03-mnist-active-learning")
    studies = [profiles.load_study("smoke", notebook) for notebook in notebooks]
    expected = {cell.name for study in studies for cell in study.cells()}
    assert {cell.name for cell in audit.cells()} == expected
    with pytest.raises(ParameterError, match="unknown parameter 'seeds'"):
        ClaimsStudy.parse({"profile": "quick", "seeds": [0]})


def copied(profile: str, folder: Path, monkeypatch) -> Path:
    """A copy of a profile's parameter files that a test may spoil."""
    shutil.copytree(PARAMS / profile, folder / profile)
    monkeypatch.setattr(parameter_files.paths, "PARAMS", folder)
    return folder / profile


def test_the_audit_takes_no_two_protocols_for_one(tmp_path, monkeypatch):
    folder = copied("smoke", tmp_path, monkeypatch)
    text = (folder / "03-mnist-active-learning.yaml").read_text()
    changed = text.replace("epochs: ", "epochs: 1")
    (folder / "05-your-own-strategy.yaml").write_text(changed)
    profiles.load_study("smoke", "04-claims").cells()
    (folder / "02-cifar10-active-learning.yaml").write_text(changed)
    with pytest.raises(ParameterError, match="on digits for figure .* in two ways"):
        profiles.load_study("smoke", "04-claims").cells()


def test_a_parameter_file_of_no_notebook_is_refused_in_a_line(tmp_path, monkeypatch):
    folder = copied("smoke", tmp_path, monkeypatch)
    (folder / "09-mine.yaml").write_text("profile: smoke\n")
    with pytest.raises(ParameterError, match="params/smoke/09-mine.yaml: notebook = '09-mine' is"):
        profiles.load_study("smoke", "09-mine")


def spoiled() -> list[tuple[type, str, object]]:
    """Every key of every study with a wrong type, out of range or misspelt."""
    cases = []
    studies = set(map(profiles.study_class, profiles.STUDIES))
    for study in sorted(studies, key=lambda study_class: study_class.__name__):
        for key, field in study.model_fields.items():
            default = field.default
            wrong: list[object] = [None, {"a": 1}]
            if isinstance(default, bool):
                wrong += [1, "true"]
            elif isinstance(default, int | float):
                wrong += [-1, "7", float("nan"), [1], 10**26]
            elif isinstance(default, tuple):
                wrong += [3, [-1], [None]]
            else:
                wrong += [5, "no such thing/.."]
            if key == "scheduler":
                wrong.remove("no such thing/..")
            cases += [(study, key, value) for value in wrong]
            cases.append((study, key + "z", default))
    return cases


def test_every_key_spoiled_in_every_way_is_refused_in_a_line_that_names_it():
    cases = spoiled()
    assert len(cases) > 300
    for study, key, value in cases:
        try:
            study.parse({key: value}, "params/x.yaml")
            pytest.fail(f"{study.__name__} takes {key} = {value!r}")
        except ParameterError as error:
            refused = error
        message = str(refused)
        assert message.startswith("params/x.yaml: ") and key in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('!!python/object/apply:os.system ["touch ran"]', "can't be read as YAML"),
        ("epochs: [1, 2", "can't be read as YAML"),
        ("epochs: \xff".encode("latin-1"), "can't be read as YAML"),
        ("epochs: 1\nrounds: 2\nepochs: 3", "'epochs' stands twice, again in line 3: keep one"),
        ("3: epochs", "expected 'key: value' lines"),
        ("[1, 2]", "expected 'key: value' lines"),
        ("", "profile = 'quick' is not allowed in the folder 'mine'"),
        ('profile: "quick"', "profile = 'quick' is not allowed in the folder 'mine'"),
        ('profile: "mine"\nrounds: 1000000000', "rounds = 1000000000"),
    ],
)
def test_a_parameter_file_that_can_not_be_used_is_refused_in_a_line(
    tmp_path, monkeypatch, text, expected
):
    monkeypatch.setattr(parameter_files.paths, "PARAMS", tmp_path)
    (tmp_path / "mine").mkdir()
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "mine" / "03-mnist-active-learning.yaml").write_bytes(content)
    with pytest.raises(ParameterError) as refused:
        profiles.load_study("mine", "03-mnist-active-learning")
    message = str(refused.value)
    assert expected in message and "params/mine/03-mnist-active-learning.yaml" in message
    assert "\n" not in message and not (ROOT / "ran").exists()
