"""What a step, a scored image and a choice take on a GPU: ``python benchmarks/gpu.py``.

Images are noise in the datasets' shapes, features synthetic, so that no data is needed. Each way of
training is measured a few times in turns, after a turn that is not counted. Writes
``outputs/bench/gpu.json``.
"""

import datetime
import json
import subprocess
import sys
import time
from contextlib import contextmanager

import torch
from bench import NOT_FOR_A_MILLION, Bench
from selection import synthetic_view

from alutils import experiment, study, train
from alutils.experiment import provenance
from alutils.model import build
from alutils.paths import outputs
from alutils.pool import PoolView
from alutils.protocol import DATASETS, Protocol
from alutils.strategies import STRATEGIES
from alutils.streams import stream

CUDA = torch.device("cuda")
REPEATS = 3
LABELS = 1280
"""Of which an epoch takes 20 steps of 64."""
EPOCHS = 20
SHARING = (1, 2, 4, 8)
"""Processes that train on one GPU."""
SECONDS = 5.0
"""That they train for."""


class Training:
    """Training on noise in a dataset's shape, timed by its steps."""

    def __init__(self, dataset: str, **protocol):
        facts, rng = DATASETS[dataset], stream(0, "noise")
        shape = (LABELS, facts.channels, facts.size, facts.size)
        self.images = torch.randint(256, shape, generator=rng, dtype=torch.uint8).to(CUDA)
        self.labels = torch.randint(10, (LABELS,), generator=rng).to(CUDA)
        self.protocol = Protocol(epochs=EPOCHS, **protocol)
        self.net = build(self.protocol, dataset, 0, CUDA)

    def step_ms(self) -> float:
        """Milliseconds a step of a whole training, with all that it sets up."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        done = train.train(self.net, self.images, self.labels, self.protocol, 0, 0)
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start) / done.steps


@contextmanager
def any_kernel():
    """Kernels need not be deterministic."""
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(True)


@contextmanager
def as_it_is():
    """The study's own way."""
    yield


WAYS = {"": as_it_is, "_any_kernel": any_kernel}


def steps(bench: Bench, dataset: str, stem: str, precision: str) -> None:
    """A step as the study takes it, and without what it does for speed and for repeatability."""
    own = Training(dataset, stem=stem, precision=precision)
    whole = Training(dataset, stem=stem, precision=precision, live_taps=False)
    found: dict[str, list[float]] = {}
    for _ in range(REPEATS + 1):
        for name, way in WAYS.items():
            with way():
                found.setdefault(name, []).append(own.step_ms())
        found.setdefault("_whole_kernels", []).append(whole.step_ms())
    for name, values in found.items():
        bench.put(f"step_{dataset}_{stem}_{precision}{name}", values[1:], "ms")


def compiled(bench: Bench, precision: str) -> None:
    """A step of a compiled network; compiling it is not counted."""
    own = Training("cifar10", precision=precision, compiled=True)
    values = [own.step_ms() for _ in range(REPEATS + 1)]
    bench.put(f"step_cifar10_7x7_{precision}_compiled", values[1:], "ms")


def scoring(bench: Bench, dataset: str, precision: str) -> None:
    """Images a second of one pass over 45,000 candidates, and of 20 MC passes from it on."""
    facts, rng = DATASETS[dataset], stream(0, "noise")
    shape = (10_000, facts.channels, facts.size, facts.size)
    images = torch.randint(256, shape, generator=rng, dtype=torch.uint8).to(CUDA)
    net = build(Protocol(precision=precision), dataset, 0, CUDA)
    candidates = torch.arange(45_000) % len(images)
    for what, asked in (("score", "probs_N_C"), ("mc", "mc_mean_N_C")):
        rates = []
        for _ in range(REPEATS + 1):
            view = PoolView(net, images, candidates, candidates[:0], 20, 0.5, 12, rng)
            start = time.perf_counter()
            getattr(view, asked)
            rates.append(len(view) / (time.perf_counter() - start))
        bench.put(f"{what}_{dataset}_{precision}", rates[1:], "images/s")


def sharing(bench: Bench, dataset: str, precision: str) -> None:
    """Steps a second of several processes on one GPU, all at once."""
    for count in SHARING:
        command = [sys.executable, __file__, dataset, precision]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        rates = [float(process.stdout.readline()) for process in processes]
        for process in processes:
            process.communicate()
        bench.put(f"steps_{dataset}_{precision}_{count}_processes", [sum(rates)], "steps/s")


def share(dataset: str, precision: str) -> None:
    """One of these processes: trains for some seconds when told to."""
    experiment.settle("cuda")
    own = Training(dataset, precision=precision)
    own.step_ms()
    print("ready", flush=True)
    sys.stdin.readline()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        own.step_ms()
        done += LABELS // 64 * EPOCHS
    print(done / (time.perf_counter() - start), flush=True)


def selection(bench: Bench, count: int, budgets: dict[str, int]) -> None:
    """Seconds and the GPU's memory of choosing alone, from features onwards."""
    view = synthetic_view(count, max(budgets.values()), place=CUDA)
    given = set(view.__dict__)
    for strategy, budget in budgets.items():
        for key in set(view.__dict__) - given:
            del view.__dict__[key]
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), time.perf_counter()
        picks = STRATEGIES[strategy](view, budget, stream(0, "acquisition"))
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        assert len(picks.unique()) == budget
        memory = (torch.cuda.max_memory_allocated() - before) / 2**30
        bench.put(f"select_{strategy}_{budget}_seconds_{count}", [seconds], "s")
        bench.put(f"select_{strategy}_{budget}_memory_{count}", [memory], "GB")


def measure(bench: Bench) -> None:
    """Everything, in one run."""
    for precision in ("fp32", "bf16"):
        steps(bench, "cifar10", "7x7", precision)
        steps(bench, "cifar10", "3x3", precision)
        steps(bench, "mnist", "7x7", precision)
        scoring(bench, "cifar10", precision)
        scoring(bench, "mnist", precision)
    sharing(bench, "cifar10", "fp32")
    selection(bench, 45_000, dict.fromkeys(STRATEGIES, 450) | {"batchbald": 50})
    large = [name for name in STRATEGIES if name not in NOT_FOR_A_MILLION]
    selection(bench, 1_000_000, dict.fromkeys(large, 100))
    for precision in ("fp32", "bf16"):
        compiled(bench, precision)


def main() -> None:
    """Measure, and write the results with what they were measured on."""
    start, place = time.monotonic(), experiment.settle("cuda")
    bench = Bench(REPEATS)
    try:
        measure(bench)
    finally:
        facts = provenance(place) | {
            **study.commit(),
            "minutes": round((time.monotonic() - start) / 60, 1),
            "date": datetime.date.today().isoformat(),
        }
        folder = outputs() / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        whole = bench.rows | {"provenance": facts}
        (folder / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    share(*sys.argv[1:]) if sys.argv[1:] else main()
