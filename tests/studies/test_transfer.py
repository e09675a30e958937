import hashlib
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from alutils.commands import verify
from alutils.commands.studies import studies_of
from alutils.commands.verify import NotVerified
from alutils.learning import data
from alutils.protocol.arms import COPIED
from alutils.protocol.parameters import ParameterError
from alutils.protocol.validation import check_cell
from alutils.records.copied import SourceNotFinished, copied_labels
from alutils.records.record import chained_digest
from alutils.records.store import Store
from alutils.running import cluster, run
from alutils.running.checks import SelfCheckFailed
from alutils.running.round import new_pool, run_round
from alutils.studies.beyond.plan import LADDER
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CIFAR10, MNIST
from alutils.studies.transfer import plan
from alutils.studies.transfer.plan import TransferStudy

SOURCE = "digits-margin-seed0-0123456789ab"


def of_smoke(**changes) -> TransferStudy:
    """Label sets of the smoke profile's notebook 02 (digits, 128 and 186 labels)."""
    fields = dict(
        source="smoke", arms=("random", "margin"), seeds=(0,), label_counts=(128, 186),
        epochs=3, learning_rate=2e-3, schedule="one-cycle", workers=1,
    )  # fmt: skip
    return TransferStudy(**fields | changes)


@pytest.fixture(scope="module")
def trained(one_worker, tmp_path_factory) -> tuple[Path, list]:
    """An outputs folder with the finished cells of the smoke profile whose labels are copied."""
    folder = tmp_path_factory.mktemp("sources")
    study = load_study("smoke", CIFAR10).model_copy(
        update={"arms": ("random", "margin"), "seeds": (0,), "workers": 1}
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALUTILS_OUTPUTS", str(folder))
        patched.setenv(cluster.SHARED, one_worker)
        run.run(study, print)
    return folder, study.cells()


@pytest.fixture
def sources(trained, outputs, shared_worker) -> list:
    """Those cells, in the test's own outputs folder."""
    folder, cells = trained
    shutil.copytree(folder, outputs)
    return cells


def edit(profile: str, cell, change) -> None:
    """Change a record, with class counts, digests and checksum made anew."""
    store = Store(profile)
    record = store.load(cell)
    change(record)
    before, labels = "", []
    for done in record["rounds"]:
        labels += done["labelled"]
        counts = data.load("digits").train_labels[labels].bincount(minlength=10)
        done["class_counts"] = counts.tolist()
        done["digest"] = before = chained_digest(done, before)
    store.save(cell, record)


def another_image(cell, record) -> int:
    used = {index for done in record["rounds"] for index in done["labelled"]}
    return min(set(new_pool(cell).unlabelled.tolist()) - used)


def test_another_recipe_trains_on_exactly_the_labels_that_the_source_held(
    sources, monkeypatch, capsys
):
    """Through the engine and a worker; then what verify finds in such records, and misses."""
    study = of_smoke()
    results = run.run(study, print)
    assert results["labels"].tolist() == [128, 186, 128, 186]
    assert set(results["epochs"]) == {3} and set(results["arm"]) == {COPIED}
    for source, cell in zip(sources, study.cells(), strict=True):
        theirs, ours = (
            [set(done["labelled"]) for done in Store(profile).load(c)["rounds"]]
            for profile, c in (("smoke", source), ("transfer", cell))
        )
        assert ours == theirs and sum(map(len, ours)) == 186
    random, margin = study.cells()
    assert copied_labels(random) != copied_labels(margin)

    monkeypatch.setattr(verify, "studies_of", lambda profile: [study])
    verify.verify("transfer")
    told = capsys.readouterr().out
    assert "2 of 2 records, 4 rounds: 0 problems" in told
    assert told.count("58 of 58 picks equal on the same processor type and versions") == 2

    def other_first_label(record):
        record["rounds"][0]["labelled"][0] = another_image(margin, record)

    def other_pick(record):
        new = another_image(margin, record)
        record["rounds"][0]["picks"][0] = record["rounds"][1]["labelled"][0] = new

    kept = Store("transfer").load(margin)
    for fault, told in (
        (other_first_label, "its first labels are not those of smoke/digits-margin"),
        (other_pick, "round 1 asked for other labels than those of smoke/digits-margin"),
    ):
        edit("transfer", margin, fault)
        with pytest.raises(NotVerified, match=f"{margin.name}: {told}"):
            verify.verify("transfer")
        Store("transfer").save(margin, kept | {"rounds": [dict(d) for d in kept["rounds"]]})
        kept = Store("transfer").load(margin)
    edit("smoke", sources[1], other_pick)  # the source was made anew, with other picks
    with pytest.raises(NotVerified, match=f"{margin.name}: round 1 asked for other labels"):
        verify.verify("transfer")
    Store("smoke").path(sources[1]).unlink()
    with pytest.raises(NotVerified, match=f"{margin.name}: labels_of = .* is not there"):
        verify.verify("transfer")


def test_the_last_set_alone_is_all_that_the_source_labelled(sources):
    cell = of_smoke(label_counts=(186,), arms=("margin",)).cells()[0]
    labels = copied_labels(cell)
    (done,), facts, _ = run_round([cell], [], None, "cpu", {}, {cell.labels_of: labels})
    assert done["labelled"] == sorted(labels) and done["picks"] == []
    assert labels[:128] == Store("smoke").load(sources[1])["rounds"][0]["labelled"]


def test_a_source_that_changed_between_two_rounds_ends_the_cell(sources):
    cell = of_smoke(arms=("margin",)).cells()[0]
    labels = copied_labels(cell)
    (first,), _, _ = run_round([cell], [], None, "cpu", {}, {cell.labels_of: labels})
    changed = [*labels[:-1], another_image(cell, {"rounds": [{"labelled": labels}]})]
    with pytest.raises(SelfCheckFailed, match="the 186 labels are not the first of smoke/digits-"):
        run_round([cell], [first], None, "cpu", {}, {cell.labels_of: changed})


def test_nothing_starts_before_the_source_is_finished(outputs):
    study = of_smoke()
    with pytest.raises(SourceNotFinished, match="labels_of = 'smoke/digits-random-.* is not there"):
        run.run(study, print)
    source, store = load_study("smoke", CIFAR10).cells()[0], Store("smoke")
    store.prepare()
    store.save(source, store.load(source))
    with pytest.raises(SourceNotFinished, match="has 0 of 2 rounds: .* a run of the profile 'smo"):
        run.run(study, print)
    store.path(source).write_text(store.path(source).read_text().replace("running", "finished"))
    with pytest.raises(SourceNotFinished, match="is damaged .its checksum does not match"):
        run.run(study, print)
    assert not list(Store("transfer").folder.glob("*.json"))


def test_seeds_whose_sources_are_not_finished_are_left_out_and_told(sources):
    lines: list[str] = []
    ready = plan.with_finished_sources(of_smoke(seeds=(0, 1)), lines.append)
    assert ready is not None and ready.seeds == (0,)
    (line,) = lines
    assert line.startswith("seed 1 is left out for now: labels_of = 'smoke/digits-random-seed1-")
    assert plan.with_finished_sources(of_smoke(seeds=(1,)), lines.append) is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"heldout_fraction": 0.2}, "has heldout_fraction = 0.1, and this cell 0.2"),
        ({"imbalance": 2.0}, "has imbalance = 1.0, and this cell 2.0"),
        ({"label_counts": (128, 150)}, r"has 150, which is not a label count of .*\[128, 186\]"),
    ],
)
def test_a_source_of_another_pool_or_other_label_counts_is_refused(sources, changes, told):
    with pytest.raises(ParameterError, match=told):
        run.run(of_smoke(**changes), print)


def test_a_source_of_several_arms_is_refused(outputs, digits_cell):
    source = digits_cell(arm="sequence", sequence=("margin", "entropy"), rounds=1)
    done = {"labelled": list(range(128)), "labels": 128, "heldout_accuracy": []}
    first = done | {"digest": chained_digest(done, "")}
    store = Store("test")
    store.prepare()
    rounds = [first, done | {"digest": chained_digest(done, first["digest"])}]
    store.save(source, store.load(source) | {"rounds": rounds, "status": "finished"})
    cell = digits_cell(arm=COPIED, labels_of=f"test/{source.name}", label_counts=(128,), rounds=1)
    with pytest.raises(ParameterError, match="several arms, one after another"):
        copied_labels(cell)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"arm": "margin"}, "arm = 'margin' would choose them: set arm to 'copied'"),
        ({"sequence": ("margin", "random")}, "arm = 'margin' would choose them"),
        ({"labels_of": ""}, "arm = 'copied' needs labels_of"),
        ({"label_counts": ()}, "needs label_counts"),
        ({"seed": 1}, "is no record of digits with seed 1"),
        ({"labels_of": f"x/{SOURCE}".replace("digits", "mnist")}, "is no record of digits with"),
        ({"labels_of": SOURCE}, "give PROFILE/NAME"),
        ({"labels_of": f"../{SOURCE}"}, "give PROFILE/NAME"),
    ],
)
def test_a_cell_that_can_not_copy_what_it_names_is_refused(digits_cell, changes, told):
    copying = {"arm": COPIED, "labels_of": f"x/{SOURCE}", "label_counts": (128,), "rounds": 1}
    check_cell(digits_cell(**copying))
    with pytest.raises(ValueError, match=told):
        check_cell(digits_cell(**copying | changes))


def test_what_the_source_study_does_not_run_is_refused():
    with pytest.raises(ValidationError, match="has no badge with seed 0 in 02-cifar10"):
        of_smoke(arms=("badge",))


def test_every_copy_is_of_a_label_count_that_its_source_has():
    for study in plan.studies():
        sources = {c.name: c for c in load_study(study.source, study.notebook).cells()}
        for cell in study.cells():
            source = sources[cell.labels_of.partition("/")[2]]
            counts = source.schedule_of_labels()
            assert cell.schedule_of_labels() == [counts[5], counts[10], counts[15]]
            assert (cell.dataset, cell.seed) == (source.dataset, source.seed)


def test_the_recipes_are_those_of_the_profiles():
    strong, rung = plan.recipe("strong", CIFAR10), LADDER["augmentation"]
    reduced, poster = plan.recipe("reduced", MNIST), plan.recipe("poster", MNIST)
    beyond = load_study("desktop", "07-beyond-the-poster")
    assert strong == reduced | rung | {"epochs": beyond.recipe_epochs}
    assert poster == reduced | {"epochs": 100, "learning_rate": 5e-4, "schedule": "constant"}
    head = load_study("desktop", "09-pretrained-features").cells()[-1]
    assert {k: v for k, v in plan.recipe("head", CIFAR10).items() if v != getattr(head, k)} == {
        "stop_set": 0, "candidates": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("profile", "pinned"),
    [("transfer", (156, "31d7f493399c")), ("ceiling", (4, "71a3575f0a82"))],
)
def test_the_cells_of_studies_without_a_notebook_are_pinned(profile, pinned):
    names = sorted(cell.name for study in studies_of(profile) for cell in study.cells())
    assert (len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]) == pinned
