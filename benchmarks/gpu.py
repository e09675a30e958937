"""The cost of a step, a scored image and a choice on a GPU: ``python benchmarks/gpu.py``.

Images are noise in the datasets' shapes, features synthetic, so that no data is needed. Each way of
training is measured a few times in turns, after a turn that is not counted. Writes
``outputs/bench/gpu.json``.
"""

import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext

import torch
from bench import Bench
from selection import synthetic_view
from torch import Tensor

from alutils.learning import devices, training
from alutils.learning.network import build
from alutils.learning.streams import stream
from alutils.protocol.arms import ARMS, CONTROLS, FURTHER, POSTER_ARMS
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import DATASETS
from alutils.strategies.own import STRATEGIES
from alutils.strategies.view import PoolView

CUDA = torch.device("cuda")
REPEATS = 3
LABELS = 1280
"""Training images; an epoch of them is 20 steps of 64."""
EPOCHS = 20
SHARING = (1, 2, 4, 8)
"""Numbers of processes that share one GPU."""
SECONDS = 5.0
"""How long these processes train."""


def noise(dataset: str, count: int) -> Tensor:
    """Images (count, C, H, W) of the dataset's shape."""
    facts = DATASETS[dataset]
    shape = (count, facts.channels, facts.size, facts.size)
    rng = stream(0, "noise")
    return torch.randint(256, shape, generator=rng, dtype=torch.uint8).to(CUDA)


def random_cell(dataset: str, **protocol) -> Cell:
    """A cell of the random arm, with changes to the poster's protocol."""
    return Cell(dataset=dataset, arm="random", seed=0, first_labels=LABELS, **protocol)


class Training:
    """Training on noise in a dataset's shape, timed by its steps."""

    def __init__(self, dataset: str, **protocol):
        self.images = noise(dataset, LABELS)
        self.labels = (torch.arange(LABELS) % 10).to(CUDA)
        self.cell = random_cell(dataset, epochs=EPOCHS, **protocol)
        self.net = build(self.cell, CUDA)

    def step_ms(self) -> float:
        """Milliseconds per step of a complete training, including its setup."""
        torch.cuda.synchronize()
        start = time.perf_counter()
        done = training.train(self.net, self.images, self.labels, self.cell, 0)
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start) / done.steps


@contextmanager
def any_kernel():
    """Allow kernels that are not deterministic."""
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)


WAYS = {"": nullcontext, "_any_kernel": any_kernel}


def steps(bench: Bench, dataset: str, stem: str, precision: str) -> None:
    """Three kinds of step: the study's, with any kernels, and without live taps."""
    ours = Training(dataset, stem=stem, precision=precision)
    whole = Training(dataset, stem=stem, precision=precision, live_taps=False)
    times: dict[str, list[float]] = {}
    for _ in range(REPEATS + 1):
        for name, way in WAYS.items():
            with way():
                times.setdefault(name, []).append(ours.step_ms())
        times.setdefault("_whole_kernels", []).append(whole.step_ms())
    for name, values in times.items():
        bench.put(f"step_{dataset}_{stem}_{precision}{name}", values[1:], "ms")


def compiled(bench: Bench, precision: str) -> None:
    """A step of a compiled network; compiling it is not counted."""
    training = Training("cifar10", precision=precision, compiled=True)
    values = [training.step_ms() for _ in range(REPEATS + 1)]
    bench.put(f"step_cifar10_7x7_{precision}_compiled", values[1:], "ms")


def scoring(bench: Bench, dataset: str, precision: str) -> None:
    """Images per second of one pass over 45,000 candidates, and of 20 MC passes from there on."""
    images, rng = noise(dataset, 10_000), stream(0, "mc-masks")
    net = build(random_cell(dataset, precision=precision), CUDA)
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
    """Steps per second of several processes on one GPU, all at once."""
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
    devices.make_deterministic("cuda")
    loop = Training(dataset, precision=precision)
    loop.step_ms()
    print("ready", flush=True)
    sys.stdin.readline()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        loop.step_ms()
        done += LABELS // 64 * EPOCHS
    print(done / (time.perf_counter() - start), flush=True)


def selection(bench: Bench, count: int, budgets: dict[str, int]) -> None:
    """Seconds and the GPU's memory of choosing alone, from features onwards."""
    view = synthetic_view(count, max(budgets.values()), device=CUDA)
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
    budgets = dict.fromkeys((*POSTER_ARMS, *CONTROLS, *FURTHER), 450)
    selection(bench, 45_000, budgets | {"batchbald": 50})
    large = [name for name in budgets if ARMS[name].scales_to_million]
    selection(bench, 1_000_000, dict.fromkeys(large, 100))
    for precision in ("fp32", "bf16"):
        compiled(bench, precision)


def main() -> None:
    """Measure, and write the results with what they were measured on."""
    start, device = time.monotonic(), devices.make_deterministic("cuda")
    bench = Bench(REPEATS)
    measure(bench)
    bench.write("gpu", device, time.monotonic() - start)


if __name__ == "__main__":
    share(*sys.argv[1:]) if sys.argv[1:] else main()
