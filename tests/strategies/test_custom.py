"""A strategy of a user changes nothing for others, and tells what it raised and where."""

import linecache
import pickle
import random
import sys
import warnings
import weakref
from functools import partial

import cloudpickle
import numpy as np
import pytest
import torch
from sklearn import get_config, set_config

from alutils.learning import process_settings
from alutils.learning.devices import make_deterministic
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.running import engine
from alutils.running.placement import Placement
from alutils.running.round import CurrentRound, round_task, run_round
from alutils.strategies.custom import StrategyFailed, ask
from alutils.strategies.own import STRATEGIES
from alutils.strategies.view import PoolView, PrivateView
from tests.cells import a_cell
from tests.running.test_round import plain


def spoiling(view, budget, rng):
    """Changes in place, through NumPy too, whatever it gets hold of."""
    view.probs_N_C.numpy()[:] = 0.1
    view.embeddings_N_D.numpy()[:] = 0
    for held in (view.labelled_embeddings_M_D, view.mc_mean_N_C, view.mc_probs_T_N_C, view.images,
                 view.over_passes(lambda probs_T_B_C: probs_T_B_C.mean(0)),
                 view.candidates, view.labelled, view.net.head.weight.data):  # fmt: skip
        held.zero_()
    view.net.train()
    view.clusters, view.mc_score = 2, "mutual-information"
    torch.rand(3, generator=view.rng)
    return torch.arange(budget)


SPOILING = {"spoiling": cloudpickle.dumps(spoiling)}


def test_what_a_strategy_changes_in_place_changes_no_other_arm(digits_cell):
    """Whether it is asked before them, after them, or alone."""
    cells = [digits_cell(arm=arm) for arm in ("margin", "bayesian", "kmeans", "coreset")]
    spoilt = digits_cell(arm="spoiling")
    alone = run_round(cells, [], None, "cpu", {})[0]
    first, *after = run_round([spoilt, *cells], [], None, "cpu", SPOILING)[0]
    *before, last = run_round([*cells, spoilt], [], None, "cpu", SPOILING)[0]
    assert list(map(plain, before)) == list(map(plain, after)) == list(map(plain, alone))
    assert plain(first) == plain(last) and alone[0]["picks"] != first["picks"]


def in_numpy(view, budget, rng):
    return np.argsort(view.probs_N_C.max(1).values.numpy(), kind="stable")[:budget]


def in_torch(view, budget, rng):
    return view.probs_N_C.max(1).values.argsort(stable=True)[:budget]


def test_positions_in_a_numpy_array_are_those_of_a_tensor(digits_cell):
    packed = {"mine": cloudpickle.dumps(in_numpy), "other": cloudpickle.dumps(in_torch)}
    cells = [digits_cell(arm=arm) for arm in packed]
    first, second = run_round(cells, [], None, "cpu", packed)[0]
    assert first["picks"] == second["picks"] and len(first["picks"])


SETTERS = {
    "precision": lambda: torch.set_float32_matmul_precision("medium"),
    "precision of oneDNN": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
    "precision of all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "precision of cuDNN": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "oneDNN": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "device": lambda: torch.set_default_device("meta"),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "threads": lambda: torch.set_num_threads(2),
    "determinism": lambda: torch.set_deterministic_debug_mode(1),
    "denormals": lambda: torch.set_flush_denormal(True),
    "NumPy": lambda: np.seterr(all="raise"),
    "scikit-learn": lambda: set_config(transform_output="pandas"),
    "warnings": lambda: warnings.simplefilter("ignore"),
}


def setting(view, budget, rng, name, fails=False):
    """Sets something, asks for what arms share, and for candidates by that."""
    SETTERS[name]()
    if fails:
        raise ValueError("on purpose")
    disagreed = view.over_passes(lambda probs_T_B_C: probs_T_B_C.std(0).sum(1))
    return (disagreed + view.probs_N_C.max(1).values).argsort()[:budget]


def facts() -> list:
    """What the settings are, by what they do where nothing else tells."""
    kept = [value for _, value in process_settings.read()]
    tiny = float(torch.tensor(1e-310, dtype=torch.float64) * 1)
    return [kept, torch.empty(0).device, tiny, np.geterr(), get_config(), warnings.filters[:]]


@pytest.mark.parametrize("name", SETTERS)
def test_what_a_strategy_sets_for_its_process_is_put_back(name, view):
    make_deterministic("cpu")
    before = facts()
    ask(cloudpickle.dumps(partial(setting, name=name)), "mine", view, 2, stream(0, "own"))
    assert facts() == before
    failing = cloudpickle.dumps(partial(setting, name=name, fails=True))
    with pytest.raises(StrategyFailed, match="on purpose"):
        ask(failing, "mine", view, 2, stream(0, "own"))
    assert facts() == before


@pytest.fixture(scope="module")
def undisturbed(digits_cell) -> list[tuple]:
    """Two cells, and the first round of each before what the tests below set."""
    cells = [digits_cell(arm="bayesian", seed=seed) for seed in range(2)]
    return [(cell, run_round([cell], [], None, "cpu", {})[0][0]) for cell in cells]


@pytest.mark.parametrize("name", ["precision", "autocast", "grad mode", "dtype"])
def test_what_a_strategy_sets_changes_no_number_of_another_arm(name, digits_cell, undisturbed):
    """Neither of a cell that is computed after it, nor of one that shares its round."""
    (shared, alone), (other, before) = undisturbed
    packed = {"mine": cloudpickle.dumps(partial(setting, name=name))}
    beside = run_round([digits_cell(arm="mine"), shared], [], None, "cpu", packed)[0][1]
    (after,) = run_round([other], [], None, "cpu", {})[0]
    assert (plain(beside), plain(after)) == (plain(alone), plain(before))


@pytest.fixture
def view() -> PoolView:
    net = build(a_cell("mnist"), torch.device("cpu"))
    images = torch.randint(256, (40, 1, 28, 28), generator=stream(0, "x"), dtype=torch.uint8)
    return PoolView(net, images, torch.arange(5, 35), torch.arange(5), 6, 0.5, 3, stream(0, "mc"))


def test_only_what_is_asked_for_is_copied_and_only_while_it_is_asked(view):
    shared, private = view.probs_N_C, PrivateView(view)
    assert "probs_N_C" not in vars(private) and "mc_mean_N_C" not in vars(view)
    assert (
        torch.equal(private.probs_N_C, shared)
        and private.probs_N_C is private.probs_N_C is not shared
    )
    assert len(private) == 30 and not private.probs_N_C.is_inference()
    assert torch.equal(private.over_passes(lambda probs: probs[0]), view.mc_probs_T_N_C[0])
    copied = cloudpickle.dumps(lambda view, budget, rng: weakref.ref(view.embeddings_N_D))
    assert ask(copied, "mine", view, 1, stream(0, "own"))() is None


def test_an_arm_of_the_study_gets_the_shared_view_itself(digits_cell, monkeypatch):
    views = []
    current = CurrentRound(digits_cell(arm="seeing"), [], make_deterministic("cpu"))
    monkeypatch.setitem(
        STRATEGIES, "seeing",
        lambda view, budget, rng: views.append(view) or torch.arange(budget),
    )  # fmt: skip
    current.acquire(current.cell, {})
    assert views == [current.view]


def drawing(view, budget, rng):
    """Draws from all three global generators."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_global_randomness_comes_from_the_stream_and_leaves_no_trace(view):
    packed, drawn, left = cloudpickle.dumps(drawing), [], []
    for seed in (0, 0, 1):
        for set_seed in (random.seed, np.random.seed, torch.manual_seed):
            set_seed(7)
        rng = stream(seed, "acquisition")
        drawn.append(ask(packed, "mine", view, 2, rng))
        assert torch.equal(rng.get_state(), stream(seed, "acquisition").get_state())
        left.append(drawing(view, 2, rng))
    assert drawn[0] == drawn[1] and not set(drawn[0]) & set(drawn[2])
    assert left[0] == left[1] == left[2]


def drawing_bits(view, budget, rng):
    """Ten numbers of 31 bits from ``rng``, and from the global generators of torch and NumPy."""
    own, of_torch = (torch.empty(10).long().random_(2**31, generator=g) for g in (rng, None))
    of_numpy = np.frombuffer(np.random.bytes(40), np.uint32) % 2**31
    return [*own.tolist(), *of_torch.tolist(), *of_numpy.tolist()]


def test_no_generator_repeats_what_another_draws(view):
    """NumPy's and torch's are the same algorithm, and give the same numbers to the same seed."""
    drawn = ask(cloudpickle.dumps(drawing_bits), "mine", view, 2, stream(0, "acquisition"))
    assert len(set(drawn)) == 30


COUNT = [0]


def counting(view, budget, rng):
    COUNT[0] += 1
    return COUNT[0]


def test_what_a_strategy_keeps_in_a_global_is_gone_after_the_call(view):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        packed = cloudpickle.dumps(counting)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert [ask(packed, "mine", view, 1, stream(0, "own")) for _ in range(3)] == [1, 1, 1]


def packed_lowest(text: str, file: str) -> bytes:
    """The packed strategy ``lowest`` of a file of the user, or of a notebook's cell."""
    known = {"__name__": "__main__"}
    exec(compile(text, file, "exec"), known)
    return cloudpickle.dumps(known["lowest"])


LOWEST = "import sys\ndef lowest(view, budget, rng):\n    return helper(view, budget)\n"
LINES = {
    "view.probs_N_C.topk(99, dim=0)": "RuntimeError: selected index k out of range",
    "sys.exit('enough')": "SystemExit: enough",
    "sys.exit()": "SystemExit",
    "view.over_passes(lambda part: part[:, :, 99])": "IndexError: index 99 is out of bounds for ",
    "int('x\\ny')": "ValueError: invalid literal",
}


@pytest.mark.parametrize("line", [*LINES, "raise KeyError('one\\nother')"])
def test_an_error_names_the_users_line_and_is_one_line(line, view, tmp_path):
    """It is raised deep within torch, or in a helper; the worker has neither file nor notebook."""
    source = line if line.startswith("raise") else f"return {line}"
    text = f"{LOWEST}def helper(view, budget):\n    {source}\n"
    (tmp_path / "strategies_of_mine.py").write_text(text)
    linecache.cache["/tmp/cell/7.py"] = (len(text), None, text.splitlines(True), "/tmp/cell/7.py")
    places = {
        str(tmp_path / "strategies_of_mine.py"): "line 5 of strategies_of_mine.py",
        "/tmp/cell/7.py": "line 5 of its cell",
    }
    for file, where in places.items():
        with pytest.raises(StrategyFailed) as failed:
            ask(packed_lowest(text, file), "mine", view, 2, stream(0, "own"))
        message = str(pickle.loads(pickle.dumps(failed.value)))
        assert message.startswith(f"strategy 'mine', {where}, `{source}`: {LINES.get(line, 'Key')}")
        assert "\n" not in message


def test_a_strategy_that_can_not_be_called_is_named(view):
    with pytest.raises(StrategyFailed, match="strategy 'mine': TypeError: .*takes 0 positional"):
        ask(
            packed_lowest("def lowest(): pass\n", "/tmp/cell/8.py"),
            "mine",
            view,
            2,
            stream(0, "own"),
        )


def test_a_strategy_that_fails_is_its_own_cells_error_alone(digits_cell, store):
    text = LOWEST + "def helper(view, budget):\n    sys.exit()\n"
    linecache.cache["/tmp/cell/9.py"] = (len(text), None, text.splitlines(True), "/tmp/cell/9.py")
    cells = [digits_cell(arm=arm, rounds=2) for arm in ("random", "mine")]
    task = round_task("cpu", {"mine": packed_lowest(text, "/tmp/cell/9.py")})
    with pytest.raises(engine.RunFailed) as failed:
        engine.run(cells, task, store, {}, Placement(workers=1), say=lambda line: None)
    message = "StrategyFailed: strategy 'mine', line 5 of its cell, `sys.exit()`: SystemExit"
    assert str(failed.value) == f"1 of 2 cells failed: {cells[1].name}, round 1: {message}"
    assert store.load(cells[1])["final"] == {"error": message} and store.finished(cells[0])
