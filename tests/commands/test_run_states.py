import pytest

from alutils.commands import run_states
from alutils.records.store import Store
from alutils.reporting import record_facts
from alutils.studies import profiles
from alutils.studies.profiles import load_study
from alutils.studies.recipes import CIFAR10, MNIST
from alutils.studies.transfer import plan
from tests.studies.made_up import save_finished
from tests.studies.test_other_profiles import save

PROFILE = "strong-recipe"


@pytest.fixture
def alone(outputs, monkeypatch) -> None:
    """Two profiles, of which one has a notebook and no run, and the other is looked at."""
    monkeypatch.setattr(run_states, "ALSO", ())
    monkeypatch.setattr(profiles, "profiles", lambda: ["poster-rounds", "quick", PROFILE])


def test_a_report_is_interim_until_nothing_of_it_is_to_come(alone):
    study, store = load_study(PROFILE, CIFAR10), Store(PROFILE)
    assert record_facts.has_pending_runs(study)
    told = "02 is interim: some of its runs are still to come."
    assert run_states.interim_reports(PROFILE) == told
    assert run_states.states() == f"No run of `poster-rounds` and `{PROFILE}` is committed yet."
    save(PROFILE, CIFAR10, {})
    assert not record_facts.has_pending_runs(study) and run_states.interim_reports(PROFILE) == ""
    assert run_states.states() == "No run of `poster-rounds` is committed yet."
    cell = study.cells()[0]
    record = store.load(cell)
    store.path(cell).unlink()
    assert run_states.interim_reports(PROFILE) == told
    assert run_states.states().startswith(f"Some runs of `{PROFILE}` are still to come. No run of")
    store.save(cell, record | {"status": "failed", "rounds": [], "final": {"error": "nan"}})
    assert not record_facts.has_pending_runs(study)


def test_a_report_that_tells_of_other_profiles_waits_for_theirs(alone, monkeypatch):
    save(PROFILE, CIFAR10, {})
    other = load_study("poster-rounds", CIFAR10)
    monkeypatch.setattr(type(other), "related", lambda self: [other])
    assert run_states.interim_reports(PROFILE).startswith("02 is interim")


def test_a_seed_whose_source_failed_is_not_waited_for(outputs):
    """Of its copies, which are of all arms, none is ever run."""
    copying = plan.transfer_study(MNIST, "reduced", "poster")
    source_store, store = Store(copying.source), Store(copying.profile)
    for each in (source_store, store):
        each.prepare()
    for source, cell in copying.copies():
        if (source.arm, source.seed) == ("margin", 1):
            failed = {"status": "failed", "final": {"error": "NotFinite: the loss is nan"}}
            source_store.save(source, source_store.load(source) | failed)
        elif source.seed != 1:
            save_finished(store, cell, lambda *_: {"test_accuracy": 0.9})
    assert not run_states.has_pending_runs(copying)
    store.path(copying.cells()[0]).unlink()
    assert run_states.has_pending_runs(copying)
