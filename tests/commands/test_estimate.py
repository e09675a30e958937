import shutil

import pytest
import torch

from alutils.commands import estimate
from alutils.learning import scoring, training
from alutils.learning.training import NotFinite
from alutils.paths import PARAMS
from alutils.protocol.parameters import ParameterError
from alutils.records.store import Store
from alutils.running import round, time_estimate
from alutils.running.workload import Work, step_cost, work
from alutils.studies import parameter_files, profiles
from tests.records.test_records import rounds


def test_the_poster_takes_what_its_protocol_says(capsys):
    estimate.estimate("poster", "3")
    told = capsys.readouterr().out
    assert "25 cells, 3,750 rounds, 20,756,000 steps (830,800 per arm and seed)" in told
    assert "24,976,500 steps (999,700 per arm and seed)" in told
    assert "3.0 ms per step" in told and "(given)" in told


def test_a_step_of_the_small_stem_takes_longer(capsys):
    estimate.estimate("smoke", "2")
    told = capsys.readouterr().out
    assert "digits, bf16, 7x7, batch 64: 2.0 ms per step, 115,000 images scored per second" in told
    assert "digits, bf16, 3x3, batch 64: 30.0 ms per step, 7,667 images scored per second" in told


def test_the_hours_of_the_long_profiles_count_a_step_as_what_it_costs():
    cells = profiles.load_study("desktop", "07-beyond-the-poster").cells()
    small = [cell for cell in cells if cell.stem == "3x3"]
    assert set(map(step_cost, small)) == {15} and len(small) == 3 < len(cells)
    every = {c.name: c for name in profiles.notebooks("desktop") if name != "04-claims"
             for c in profiles.load_study("desktop", name).cells()}  # fmt: skip
    on_features = [cell for cell in every.values() if cell.encoder != "none"]
    as_one = work(every.values()).hours(1, 1 / estimate.SCORED_A_STEP)
    more = 14 * work(small).hours(1, 1 / estimate.SCORED_A_STEP)
    less = 0.98 * work(on_features).hours(1, 1 / estimate.SCORED_A_STEP)
    hours = as_one + more - less
    row = estimate.markdown_hours(["desktop"], [1000])
    assert row.endswith(f" {hours:,.0f} |")
    heads = work(on_features).steps
    assert f"| {work(every.values()).steps - heads:,} | {heads:,} |" in row


def test_what_has_no_notebook_is_estimated_too(outputs, capsys):
    estimate.estimate("ceiling", "75")
    told = capsys.readouterr().out
    assert (
        "ceiling, CIFAR-10, 7x7, batch 64: 1 cell, 1 round, 14,060 steps (14,060 per arm and "
        "seed)" in told
    )
    assert (
        "ceiling, MNIST, 7x7, batch 64: 1 cell, 1 round, 84,300 steps (84,300 per arm and seed)"
        in told
    )


def test_a_profile_of_single_baselines_alone_is_estimated(monkeypatch, capsys):
    """As where another notebook of the profile has the arms, and is counted first."""
    study = profiles.load_study("replica", "03-mnist-active-learning")
    arms = study.model_copy(update={"single_baseline": False})
    monkeypatch.setattr(estimate, "named_studies", lambda profile: [("a", arms), ("b", study)])
    estimate.estimate("replica", "3")
    told = capsys.readouterr().out
    assert (
        "b, MNIST, 7x7, batch 64: 1 cell, 1 round, 12,300 steps (only single baseline runs), "
        in told
    )


def test_a_profile_depends_on_no_other_one(tmp_path, monkeypatch, outputs):
    shutil.copytree(PARAMS, tmp_path / "params")
    monkeypatch.setattr(parameter_files.paths, "PARAMS", tmp_path / "params")
    file = tmp_path / "params/desktop/02-cifar10-active-learning.yaml"
    file.write_text('profile: "desktop"\nrounds: 0\n')
    estimate.estimate("fidelity", "3")
    estimate.estimate("ablation", "3")
    for profile in ("ceiling", "transfer"):
        with pytest.raises(ParameterError, match="rounds = 0"):
            estimate.estimate(profile, "3")
    file.write_text('profile: "desktop"\narms: ["random", "margin"]\n')
    with pytest.raises(ParameterError, match="^transfer: source = 'desktop' has no bayesian"):
        estimate.estimate("transfer", "3")


def test_a_shared_first_round_counts_once(digits_cell):
    cells = [digits_cell(arm=arm) for arm in ("random", "margin", "kmeans")]
    first, *later = cells[0].steps()
    assert work(cells).steps == first + 3 * sum(later)
    assert work(cells).rounds == 9 and work(cells).cells == 3
    apart = [work([cell]) for cell in cells]
    asked = 1294 - cells[0].schedule_of_labels()[0]
    assert sum(one.images for one in apart) - work(cells).images == 2 * 360 + asked


def test_what_is_finished_is_not_left(digits_cell, outputs):
    store, cells = Store("test"), [digits_cell(), digits_cell(seed=1)]
    store.prepare()
    store.save(cells[0], store.load(cells[0]) | {"status": "finished", "rounds": rounds(3)})
    store.save(cells[1], store.load(cells[1]) | {"rounds": rounds(1)})
    left = work(cells, store)
    assert (left.cells, left.rounds) == (1, 2) and left.steps == sum(cells[1].steps()[1:])


def test_a_first_round_that_another_cell_has_is_not_had_by_a_new_one(digits_cell, outputs):
    store, cells = Store("test"), [digits_cell(arm=arm) for arm in ("random", "margin", "kmeans")]
    store.prepare()
    store.save(cells[0], store.load(cells[0]) | {"status": "finished", "rounds": rounds(3)})
    assert work(cells, store).steps == work(cells[1:]).steps


def test_images_are_those_that_are_judged_and_those_that_are_asked_about(digits_cell):
    random, margin = (work([digits_cell(arm=arm)]).images for arm in ("random", "margin"))
    counts = digits_cell().schedule_of_labels()
    assert random == 3 * 360
    assert margin - random == sum(1294 - labels for labels in counts[:2])
    assert work([digits_cell(arm="margin", candidates=50)]).images - random == 100


def test_hours_are_steps_and_images_at_their_speed():
    assert Work(1, 1, 36_000, 7_200_000).hours(0.1, 0.001) == pytest.approx(3.0)


def test_a_device_is_timed_and_the_process_left_as_it_was(digits_cell):
    """A notebook's kernel computes with more threads afterwards, and has its memory."""
    torch.set_num_threads(2)
    step, image = time_estimate.measure(digits_cell(arm="margin"), "cpu")
    assert 0 < image < step < 10
    assert torch.get_num_threads() == 2 and round._images_on_device.cache_info().currsize == 0


def test_a_long_run_says_how_long_it_will_take(digits_cell, outputs, monkeypatch):
    cells, store = [digits_cell(), digits_cell(seed=1)], Store("test")
    told = time_estimate.remaining_work(cells, store, "cpu", 2)
    assert told == f"to do: 2 cells, 6 rounds, {2 * sum(cells[0].steps())} steps"
    monkeypatch.setattr(time_estimate, "LONG", 1)
    monkeypatch.setattr(time_estimate, "measure", lambda cell, device: (3600.0, 0.0))
    hours = sum(cells[0].steps())
    assert time_estimate.remaining_work(cells, store, "cpu", 2) == (
        f"{told}; about {hours} h 00 min with 2 workers, {time_estimate.NOT_COUNTED}"
    )
    assert time_estimate.remaining_work(cells, store, "cpu", 0) == told


def test_a_run_whose_steps_can_not_be_timed_is_told_without_hours(
    digits_cell, outputs, monkeypatch, capsys
):
    """The few steps that are timed are of a shorter schedule, which may diverge alone."""
    cells = [digits_cell(arm="margin", optimiser="sgd", learning_rate=1.0, stem="3x3")]
    monkeypatch.setattr(time_estimate, "LONG", 1)
    monkeypatch.setattr(time_estimate, "_measure", diverging)
    told = time_estimate.remaining_work(cells, Store("test"), "cpu", 2)
    assert told == f"to do: 1 cells, 3 rounds, {sum(cells[0].steps())} steps"
    estimate.estimate("smoke")
    told = capsys.readouterr().out
    assert "digits, bf16, 7x7, batch 64: can't be timed, as the few steps timed diverge" in told
    assert "0.0 hours of one worker in total, 0.0 left, without the time for choosing" in told


def diverging(cell, device):
    raise NotFinite("the weights are not finite after 20 steps")


def test_each_kind_of_cell_is_timed_by_itself(digits_cell, outputs, monkeypatch):
    hours = {"7x7": 1, "3x3": 9}
    monkeypatch.setattr(time_estimate, "LONG", 1)
    monkeypatch.setattr(
        time_estimate, "measure", lambda cell, device: (3600.0 * hours[cell.stem], 0.0)
    )
    cells = [digits_cell(), digits_cell(seed=1, stem="3x3")]
    assert time_estimate.remaining_work(cells, Store("test"), "cpu", 1).endswith(
        f"; about {10 * sum(cells[0].steps())} h 00 min with 1 worker, {time_estimate.NOT_COUNTED}"
    )


@pytest.mark.parametrize(("stem", "steps", "images"), [("7x7", 20, 1437), ("3x3", 2, 133)])
def test_the_3x3_stem_is_timed_by_few_steps_and_images(
    digits_cell, monkeypatch, stem, steps, images
):
    """They cost fifteen times as much."""
    seen, train, predict = [], training.train, scoring.predict

    def trained(*arguments):
        seen.append(train(*arguments))
        return seen[-1]

    def predicted(net, images):
        seen.append(images)
        return predict(net, images)

    monkeypatch.setattr(training, "train", trained)
    monkeypatch.setattr(scoring, "predict", predicted)
    time_estimate.measure(digits_cell(stem=stem), "cpu")
    assert [done.steps for done in seen[:2]] == [steps, steps] and len(seen[2]) == images


@pytest.mark.parametrize("wrong", ["fast", "-1", "1e9", "nan"])
def test_a_step_that_is_no_time_is_refused(wrong):
    with pytest.raises(ParameterError, match=f"STEP_MS = '{wrong}'"):
        estimate.estimate("smoke", wrong)


def test_a_profile_that_is_not_there_is_refused():
    with pytest.raises(ParameterError, match="did you mean 'desktop'"):
        estimate.estimate("destop")
    assert "poster" in profiles.profiles()
