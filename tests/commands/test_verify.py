import os
import re
from statistics import variance

import pytest
import torch

from alutils.commands import verify
from alutils.commands.verify import NotVerified
from alutils.learning import data
from alutils.learning.devices import make_deterministic
from alutils.learning.features import load_features
from alutils.learning.network import Net
from alutils.learning.streams import stream
from alutils.paths import ROOT
from alutils.protocol import parameters
from alutils.records.record import chained_digest
from alutils.records.store import Store
from alutils.running import round
from alutils.running.round import CurrentRound, run_round


def computed(cell):
    """A cell, and what it came to when it really ran."""
    rounds, provenance = [], {}
    for _ in range(cell.rounds):
        (done,), provenance, _ = run_round([cell], rounds, None, "cpu", {})
        rounds.append(done)
    return cell, rounds, provenance


@pytest.fixture(scope="module")
def trained(digits_cell):
    """Two cells, and what they came to when they really ran."""
    return [computed(digits_cell(arm=arm)) for arm in ("margin", "kmeans")]


@pytest.fixture
def made(outputs, trained, monkeypatch):
    """A profile of two finished cells."""
    return saved(trained, monkeypatch)


def saved(trained, monkeypatch):
    """The store of a profile of finished cells, and these."""
    store = Store("test")
    store.prepare()
    for cell, rounds, provenance in trained:
        record = store.load(cell)
        record["provenance"] |= provenance
        store.save(cell, record | {"rounds": rounds, "status": "finished"})
    cells = [cell for cell, _, _ in trained]
    study = type("OfTheseCells", (), {"cells": lambda self: cells})()
    monkeypatch.setattr(verify, "studies_of", lambda profile: [study])
    return store, cells


def change(store, cell, edit) -> None:
    record = store.load(cell)
    edit(record)
    before = ""
    for done in record["rounds"]:
        done["digest"] = before = chained_digest(done, before)
    store.save(cell, record)


@pytest.mark.parametrize("profile", ["ablation", "precision", "recipe"])
def test_records_that_no_notebook_makes_are_verified_too(profile):
    """Their cells are those of the committed records."""
    cells = {cell.name for study in verify.studies_of(profile) for cell in study.cells()}
    assert cells == {file.stem for file in (ROOT / "outputs" / profile / "runs").glob("*.json")}


@pytest.mark.parametrize("profile", ["ablation", "precision", "recipe", "sensitivity"])
def test_committed_records_hold_but_for_rounds_made_again(profile, monkeypatch):
    """Of the smaller profiles; ``make verify`` has them all."""
    monkeypatch.setattr(verify, "RECOMPUTED", 0)
    try:
        verify.verify(profile)
    except data.DataUnavailable as error:
        if os.environ.get("ALUTILS_REQUIRE_DATA") == "1":
            raise
        pytest.skip(str(error))


def test_records_that_hold_are_made_again_to_the_same_picks(made, capsys):
    verify.verify("test")
    told = capsys.readouterr().out
    assert "2 of 2 records, 6 rounds: 0 problems" in told
    assert told.count("22 of 22 picks equal on the same processor type and versions") == 2


def test_a_training_that_diverged_is_no_problem_of_its_record(made, capsys):
    store, (cell, _) = made
    record = store.load(cell)
    failed = {"status": "failed", "rounds": record["rounds"][:2]}
    store.save(cell, record | failed | {"final": {"error": "NotFinite: the loss is nan"}})
    verify.verify("test")
    assert "2 of 2 records, 5 rounds: 0 problems" in capsys.readouterr().out
    store.save(cell, record | failed | {"final": {"error": "4 workers died on it"}})
    with pytest.raises(NotVerified, match="failed .4 workers died on it"):
        verify.verify("test")


def test_a_record_of_a_thinned_training_set_is_made_again_and_holds_no_other_image(
    outputs, digits_cell, monkeypatch, capsys
):
    cell = digits_cell(arm="margin", imbalance=10.0)
    store, _ = saved([computed(cell)], monkeypatch)
    verify.verify("test")
    assert "7 of 7 picks equal on the same processor type and versions" in capsys.readouterr().out
    thinned_out = (~round.new_pool(cell).may_label).nonzero()[0].item()

    def other_image(record):
        record["rounds"][1]["picks"][0] = record["rounds"][2]["labelled"][0] = thinned_out

    change(store, cell, other_image)
    with pytest.raises(NotVerified, match="round 3 labelled images that are held out or don't"):
        verify.verify("test")


def recount(record):
    """Make the class counts fit the labels, so that they give nothing away."""
    indices: list[int] = []
    for done in record["rounds"]:
        indices += done["labelled"]
        counts = data.load("digits").train_labels[indices].bincount(minlength=10)
        done["class_counts"] = counts.tolist()


def swap(record):
    picks = record["rounds"][1]["picks"]
    pool = set(range(1437)) - {i for done in record["rounds"] for i in done["labelled"]}
    new = sorted(pool)[0]
    record["rounds"][1]["picks"] = record["rounds"][2]["labelled"] = [new, *picks[1:]]
    recount(record)


def twice(record):
    first = record["rounds"][0]["labelled"][0]
    for key, i in (("picks", 1), ("labelled", 2)):
        record["rounds"][i][key] = [first, *record["rounds"][i][key][1:]]


def other_labels(record):
    record["rounds"][2]["labelled"] = sorted(record["rounds"][2]["labelled"])[::-1]


def fewer_rounds(record):
    record["rounds"].pop()


def elsewhere(record):
    record["provenance"]["processor"] = "another one"


def less_accurate(record):
    record["rounds"][1]["test_accuracy"] += 0.2


def other_classes(record):
    record["rounds"][1]["class_counts"][0] += 1


def fewer_steps(record):
    record["rounds"][2]["steps"] -= 1


def asks_at_the_end(record):
    record["rounds"][2]["picks"] = [1, 2, 3]


def out_of_range(record):
    record["rounds"][1]["picks"][0] = record["rounds"][2]["labelled"][0] = 99_999


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (swap, "round 2, 21 of 22 picks equal on the same"),
        (less_accurate, "round 2, 22 of 22 picks .*; test_accuracy differ"),
        (other_classes, "the classes of round 2 are not those of its labels"),
        (fewer_steps, "round 3 was trained for other than"),
        (asks_at_the_end, "round 3, the last one, asked for labels"),
        (out_of_range, "round 3 labelled images that are held out or don't exist"),
        (twice, "the labels of round 3 don't add up"),
        (other_labels, "round 3 labelled other images than margin asked for"),
        (fewer_rounds, "it is finished with 2 of 3 rounds"),
    ],
    ids=lambda value: getattr(value, "__name__", "told"),
)
def test_a_record_that_was_tampered_with_is_named(made, edit, told, monkeypatch):
    """Even with digests and checksum made anew; most without a round that is made again."""
    if edit not in (swap, less_accurate):
        monkeypatch.setattr(verify, "RECOMPUTED", 0)
    store, cells = made
    change(store, cells[0], edit)
    with pytest.raises(NotVerified, match=f"{cells[0].name}.*{told}"):
        verify.verify("test")


def test_the_rounds_made_again_are_of_different_arms_datasets_and_seeds(digits_cell):
    record = {"rounds": [{"picks": [1]}]}
    kept = [
        (digits_cell(arm=arm, seed=seed).model_copy(update={"dataset": dataset}), record)
        for seed in range(2)
        for dataset in ("mnist", "cifar10")
        for arm in ("random", "margin", "kmeans")
    ]
    taken = [cell for cell, _ in verify.sample(kept)]
    assert [(cell.arm, cell.dataset, cell.seed) for cell in taken] == [
        ("margin", "mnist", 0), ("kmeans", "cifar10", 1), ("kmeans", "mnist", 0),
    ]  # fmt: skip
    random = [one for one in kept if one[0].arm == "random"]
    assert {cell.arm for cell, _ in verify.sample(random)} == {"random"}


def test_where_no_round_can_be_made_again_that_is_said(made, monkeypatch, capsys):
    """As with random labels at given counts, or with strategies of one's own alone."""
    monkeypatch.setattr(verify, "BUILT_IN", ())
    verify.verify("test")
    assert capsys.readouterr().out.endswith(
        "no round is computed again: no run has a built-in arm that asks for labels\n"
    )


def test_a_damaged_file_is_named_and_left_where_it_is(made, monkeypatch):
    monkeypatch.setattr(verify, "RECOMPUTED", 0)
    store, cells = made
    store.path(cells[0]).write_text("{}")
    with pytest.raises(NotVerified, match=f"{cells[0].name}: its checksum does not match"):
        verify.verify("test")
    assert store.path(cells[0]).exists()


def test_records_of_no_cell_of_the_parameters_are_told(made, digits_cell, monkeypatch, capsys):
    monkeypatch.setattr(verify, "RECOMPUTED", 0)
    store, _ = made
    verify.verify("test")
    assert "not checked" not in capsys.readouterr().out
    stray = digits_cell(arm="entropy")
    store.save(stray, store.load(stray))
    verify.verify("test")
    assert f"1 record not checked, of no cell of these parameters; the first is {stray.name}" in (
        capsys.readouterr().out
    )


def test_elsewhere_other_picks_are_told_and_another_accuracy_is_refused(made, capsys):
    """A training goes its own way on another processor: accuracy is what can be held there."""
    store, cells = made
    change(store, cells[0], swap)
    change(store, cells[0], elsewhere)
    verify.verify("test")
    told = capsys.readouterr().out
    assert "round 2, recorded elsewhere: accuracy" in told and "the kept picks lie at" in told
    change(store, cells[0], less_accurate)
    with pytest.raises(NotVerified, match=f"{cells[0].name}.*elsewhere.*points apart allowed"):
        verify.verify("test")


def test_elsewhere_picks_of_a_ranking_arm_must_be_more_than_chance(made):
    store, cells = made

    def others(record):
        elsewhere(record)
        used = {i for done in record["rounds"] for i in done["labelled"]}
        pool = [i for i in round.new_pool(cells[0]).unlabelled.tolist() if i not in used][:22]
        record["rounds"][1]["picks"] = record["rounds"][2]["labelled"] = pool
        recount(record)

    change(store, cells[0], others)
    with pytest.raises(
        NotVerified, match=f"{cells[0].name}.*elsewhere.* of the ranking on average"
    ):
        verify.verify("test")


def test_picks_are_told_from_draws_by_their_places_in_the_whole_ranking(digits_cell):
    current = CurrentRound(digits_cell(arm="margin"), [], make_deterministic("cpu"))
    front = current.acquire(current.cell, {}).tolist()
    rank, p = verify._mean_rank(current, front)
    assert rank == pytest.approx(len(front) / 2 / len(current.view)) and p < verify.CHANCE
    pool, by_chance = current.pool.unlabelled, []
    for seed in range(200):
        drawn = pool[torch.randperm(len(pool), generator=stream(seed, "draw"))[: len(front)]]
        by_chance.append(verify._mean_rank(current, drawn.tolist())[1])
    assert 0.1 < sum(p < 0.2 for p in by_chance) / len(by_chance) < 0.3


def test_a_record_that_went_on_elsewhere_is_not_held_bit_for_bit(made, capsys):
    store, cells = made
    change(store, cells[0], lambda record: record["provenance"].update(earlier_places=[{}]))
    verify.verify("test")
    assert "round 2, recorded elsewhere: accuracy" in capsys.readouterr().out


def test_the_allowance_grows_with_the_spread_over_trainings_on_as_many_labels(digits_cell):
    cells = [digits_cell(arm=arm, seed=seed) for arm in ("margin", "random") for seed in (0, 1)]
    records = [
        (cell, {"rounds": [{"labels": 128, "test_accuracy": 0.5 + 0.1 * i}]})
        for i, cell in enumerate(cells)
    ]
    assert verify._spread(cells[0], 0, records) == pytest.approx(0.1)
    assert verify._spread(cells[0], 0, [*records, records[-1]]) == pytest.approx(0.1)
    assert verify._spread(cells[0], 2, records) == verify._spread(cells[0], 0, records[:3]) == 0


def test_how_far_protocols_lie_apart_is_no_part_of_the_spread(digits_cell):
    """A linear head on features, a longer training, or fewer images of most classes."""
    cells = [digits_cell(arm=arm, seed=seed) for arm in ("margin", "random") for seed in (0, 1)]
    longer = [digits_cell(epochs=2, seed=seed) for seed in range(3)]
    others = [digits_cell(encoder="resnet18"), digits_cell(imbalance=9.0)]
    records = [
        (cell, {"rounds": [{"labels": 128, "test_accuracy": 0.1 * i}]})
        for i, cell in enumerate([*cells, *longer, *others], 1)
    ]
    assert verify._spread(cells[0], 0, records) == pytest.approx(0.1)
    few = verify._spread(longer[0], 0, records)
    within = [variance((0.1, 0.2, 0.3, 0.4)), variance((0.6, 0.7))]
    assert few == pytest.approx(((3 * within[0] + within[1]) / 4) ** 0.5)
    assert verify._spread(others[1], 0, records) == pytest.approx(
        ((3 * within[0] + 2 * variance((0.5, 0.6, 0.7))) / 5) ** 0.5
    )


def test_a_linear_head_must_come_out_the_same_elsewhere(digits_cell):
    """Its accuracy differs much between seeds with few labels, and with rounding hardly at all."""
    cells = [digits_cell(encoder="resnet18", seed=seed) for seed in range(9)]
    records = [
        (cell, {"rounds": [{"labels": 128, "test_accuracy": 0.1 * cell.seed}]}) for cell in cells
    ]
    assert verify._spread(cells[0], 0, records) == 0


def test_a_pool_that_many_records_have_is_drawn_once(made, digits_cell, monkeypatch):
    """Drawing the pool of a large dataset takes longer than all else that is checked."""
    drawn = []
    whole = round.Pool
    monkeypatch.setattr(round, "Pool", lambda *args: drawn.append(args) or whole(*args))
    monkeypatch.setattr(verify, "RECOMPUTED", 0)
    round._drawn.cache_clear()
    verify.verify("test")
    assert len(drawn) == 1
    round.new_pool(digits_cell()).label(torch.tensor([round.new_pool(digits_cell()).unlabelled[0]]))
    assert len(round.new_pool(digits_cell()).labelled) == 0 and len(drawn) == 1
    round.new_pool(digits_cell(seed=1))
    assert len(drawn) == 2


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_draws_that_no_training_touches_are_held_everywhere(made, digits_cell, where):
    store, cells = made
    pool = set(round.new_pool(cells[0]).unlabelled.tolist())

    def tamper(record):
        used = {i for done in record["rounds"] for i in done["labelled"]}
        record["rounds"][0]["labelled"][0] = min(pool - used)
        recount(record)
        if where == "elsewhere":
            elsewhere(record)

    change(store, cells[1], tamper)
    with pytest.raises(NotVerified, match=f"{cells[1].name}: its first labels are not those"):
        verify.verify("test")


def test_random_picks_are_drawn_again(outputs, digits_cell):
    cell = digits_cell(arm="random")
    rounds: list[dict] = []
    for _ in range(cell.rounds):
        (done,), _, _ = run_round([cell], rounds, None, "cpu", {})
        rounds.append(done)
    assert list(verify.wrong_draws(cell, {"rounds": rounds})) == []
    rounds[1]["picks"] = rounds[1]["picks"][::-1]
    assert list(verify.wrong_draws(cell, {"rounds": rounds})) == [
        "round 2 asked for other labels than those of its seed"
    ]


def test_without_records_there_is_nothing_to_verify(outputs):
    with pytest.raises(
        NotVerified, match="there is no record in .*: run `make study PROFILE=smoke` first"
    ):
        verify.verify("smoke")
    command = re.escape("run `.venv/bin/python -m alutils ceiling` first")
    with pytest.raises(NotVerified, match=command):
        verify.verify("ceiling")
    with pytest.raises(parameters.ParameterError, match="did you mean 'smoke'"):
        verify.verify("smok")
    with pytest.raises(
        parameters.ParameterError, match="ablation, recipe, precision, head, ceiling, transfer$"
    ):
        verify.verify("nothing")


def test_records_of_other_parameters_alone_are_told_as_such(made):
    store, cells = made
    cells[:] = [cell.model_copy(update={"seed": 7}) for cell in cells]
    with pytest.raises(NotVerified, match="all 2 records in .*runs are of other parameters: run"):
        verify.verify("test")


def test_records_whose_dataset_can_not_be_had_are_told_and_the_others_checked(
    made, digits_cell, monkeypatch, capsys
):
    store, cells = made
    cells.append(digits_cell(dataset="fashion-mnist"))
    store.save(cells[-1], store.load(cells[-1]))
    load = data.load

    def fetched(name: str) -> data.Dataset:
        if name in lacking:
            raise data.DataUnavailable(f"{name} can't be fetched")
        return load(name)

    monkeypatch.setattr(data, "load", fetched)
    lacking = {"fashion-mnist"}
    verify.verify("test")
    told = capsys.readouterr().out
    assert "3 of 3 records, 6 rounds: 0 problems" in told and told.count("22 of 22 picks") == 2
    assert "1 record checked only by checksums and digests: fashion-mnist can't be fetched" in told
    lacking = {"fashion-mnist", "digits"}
    with pytest.raises(data.DataUnavailable, match="digits can't be fetched; fashion-mnist can't"):
        verify.verify("test")


def test_a_round_whose_features_are_at_hand_comes_before_one_whose_are_not(
    digits_cell, stub_encoder
):
    record = {"rounds": [{"picks": [1]}]}
    made, other = "efficientnet-lite0", "resnet18"
    kept = [(digits_cell(arm=arm, encoder=encoder), record)
            for encoder in (other, made) for arm in ("margin", "kmeans")]  # fmt: skip
    load_features("digits", made)
    assert [cell.encoder for cell, _ in verify.sample(kept)] == [made, made, other]


def test_a_round_of_the_oracle_on_features_is_computed_again(digits_cell, stub_encoder):
    cell = digits_cell(arm="oracle", encoder="efficientnet-lite0")
    rounds: list[dict] = []
    for _ in range(cell.rounds):
        (done,), facts, _ = run_round([cell], rounds, None, "cpu", {})
        rounds.append(done)
    told, holds = verify.recompute(cell, {"rounds": rounds, "provenance": facts}, [])
    assert holds and "22 of 22 picks equal on the same processor type and versions" in told


def test_a_round_whose_scoring_is_halved_here_is_compared_as_one_of_elsewhere(
    digits_cell, monkeypatch
):
    cell, rounds, features = digits_cell(arm="margin", epochs=1), [], Net.features
    for _ in range(cell.rounds):
        (done,), facts, _ = run_round([cell], rounds, None, "cpu", {})
        rounds.append(done)

    def limited(net, images):
        if len(images) > 90:
            raise MemoryError
        return features(net, images)

    monkeypatch.setattr(Net, "features", limited)
    record = {"rounds": rounds, "provenance": facts, "status": "finished"}
    told, _ = verify.recompute(cell, record, [(cell, record)])
    assert "on the same processor type" not in told


def test_what_a_round_hands_to_the_next_is_computed_again_too(outputs, digits_cell, monkeypatch):
    """Predictions on the stop set, from which the record's kappa and error bound come."""
    cell = digits_cell(arm="margin", stop_set=40, epochs=2)
    rounds, state = [], None
    for _ in range(cell.rounds):
        (done,), facts, state = run_round([cell], rounds, state, "cpu", {})
        rounds.append(done)
    assert {"kappa", "error_bound", "pool_entropy", "state_digest"} <= rounds[1].keys()
    store, _ = saved([(cell, rounds, facts)], monkeypatch)
    verify.verify("test")
    change(store, cell, lambda record: record["rounds"][1].update(kappa=0.5))
    with pytest.raises(NotVerified, match="22 of 22 picks equal .*; kappa differ"):
        verify.verify("test")


@pytest.mark.parametrize("arm", ["random", "margin"])
def test_features_are_read_only_where_a_round_is_computed_again(
    outputs, tmp_path, digits_cell, stub_encoder, monkeypatch, arm
):
    made = computed(digits_cell(arm=arm, encoder="efficientnet-lite0"))
    saved([made], monkeypatch)
    load_features.cache_clear()
    stub_encoder.seen = 0
    (tmp_path / "digits-efficientnet-lite0.npy").unlink()
    monkeypatch.setattr(verify, "RECOMPUTED", 0)
    verify.verify("test")
    assert stub_encoder.seen == 0
    monkeypatch.setattr(verify, "RECOMPUTED", 1)
    verify.verify("test")
    assert stub_encoder.seen == 1437 + 360
