"""``make bench``: the study's speed and memory, compared with other ways of doing the same work.

Contenders are kept ready as processes and measured in turns, so that a drift of the machine affects
all of them; ratios are taken within each turn. Every other contender gets the faster of one process
with all threads and one process per core. Writes ``outputs/bench/results.json``.
"""

import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
from contenders import train_ours
from dask.system import CPU_COUNT as CORES
from distributed import wait

from alutils.commands import notebooks
from alutils.learning import data
from alutils.learning.devices import pick_device
from alutils.paths import ROOT, outputs
from alutils.protocol.arms import ARMS, CONTROLS, FURTHER, POSTER_ARMS
from alutils.protocol.cell import Cell
from alutils.records.files import write_atomically
from alutils.records.store import Store
from alutils.running import engine
from alutils.running.cluster import cluster
from alutils.running.placement import WORKER_ENVIRONMENT, Placement
from alutils.running.provenance import commit, provenance
from alutils.running.round import round_task, run_round
from alutils.running.workers import Workers

HERE = Path(__file__).parent
PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
MULTIPLY_ADDS = 30.1e6
"""Of a forward pass of the live network per CIFAR-10 image; a training step is three such."""
PEERS = ("baal", "skorch")
"""Other packages that are measured; they have an environment of their own."""

Row = dict[str, Any]


class Unavailable(RuntimeError):
    """A contender could not be started; the message is the last line of its output."""


class Contender:
    """Processes that do one piece of work each time they are told to."""

    def __init__(self, name: str, work: str, dataset: str, count: int, processes: int):
        threads = 1 if name in ("ours", "limit") else CORES // processes
        python = PEERS_PYTHON if name in PEERS else Path(sys.executable)
        if not python.exists():
            raise Unavailable(f"{python.relative_to(ROOT)} is not there")
        command = [python, HERE / "contenders.py", name, work]
        command += ["--dataset", dataset, "--count", str(count)]
        settings = WORKER_ENVIRONMENT if name == "ours" else {}
        settings = settings | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        environment = os.environ | {key: str(value) for key, value in settings.items()}
        self.images = 0
        self.errors = tempfile.TemporaryFile("w+")
        self.processes = [
            subprocess.Popen(
                list(map(str, command)), env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            )
            for _ in range(processes)
        ]  # fmt: skip

    def wait(self) -> None:
        """Wait until every process has done its work once; ``Unavailable`` if one can't."""
        self.images = sum(int(self._answer(process)) for process in self.processes)

    def rate(self) -> float:
        """Images per second, all processes at once."""
        start = time.perf_counter()
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in self.processes:
            self._answer(process)
        return self.images / (time.perf_counter() - start)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.errors.close()

    def _answer(self, process: subprocess.Popen) -> str:
        if answer := process.stdout.readline():
            return answer
        self.errors.seek(0)
        raise Unavailable((self.errors.read().strip().splitlines() or ["no message"])[-1])


class Bench:
    """The rows measured so far, and what could not be."""

    def __init__(self, repeats: int, say=print):
        self.repeats, self.say = repeats, say
        self.rows: dict[str, Row] = {}
        self.missing: dict[str, str] = {}

    def put(self, key: str, values: list[float], unit: str) -> None:
        """Median and range of repeated measurements."""
        median = statistics.median(values)
        self.rows[key] = {"median": median, "low": min(values), "high": max(values), "unit": unit}
        self.say(f"{key:28} {median:12,.3f}  ({min(values):,.3f} to {max(values):,.3f})  {unit}")

    def write(self, name: str, device: torch.device, seconds: float) -> Path:
        """Write all rows, what could not be measured, and the machine; returns the file."""
        facts = provenance(device) | {
            **commit(),
            "cores": CORES,
            "minutes": round(seconds / 60, 1),
            "date": datetime.date.today().isoformat(),
        }
        file = outputs() / "bench" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = self.rows | {"missing": self.missing, "provenance": facts}
        write_atomically(file, (json.dumps(whole, indent=1) + "\n").encode())
        return file

    def compare(self, work: str, dataset: str, counts: dict[str, int], label: str) -> None:
        """Rates of every contender, and our ratio to each, from interleaved repeats."""
        others = [name for name in counts if name != "ours"]
        ways = {("ours", CORES): counts["ours"]}
        for name in others:
            ways |= {(name, processes): counts[name] for processes in (1, CORES)}
        with self._ready(work, dataset, ways) as ready:
            turns = [
                {way: contender.rate() for way, contender in ready.items()}
                for _ in range(self.repeats)
            ]
        ours = [turn["ours", CORES] for turn in turns]
        self.put(f"{label}_ours", ours, "images/s")
        for name in others:
            if name in self.missing:
                continue
            modes = {way[1]: [turn[way] for turn in turns] for way in ready if way[0] == name}
            for processes, rates in modes.items():
                self.put(f"{label}_{name}_{processes}_processes", rates, "images/s")
            rates = max(modes.values(), key=statistics.median)
            self.put(f"{label}_{name}", rates, "images/s")
            ratios = [our / their for our, their in zip(ours, rates, strict=True)]
            self.put(f"{label}_vs_{name}", ratios, "ratio")

    @contextmanager
    def _ready(self, work: str, dataset: str, ways: dict) -> Iterator[dict]:
        ready: dict[tuple[str, int], Contender] = {}
        try:
            for (name, processes), count in ways.items():
                with self._noting_peers(name):
                    ready[name, processes] = Contender(name, work, dataset, count, processes)
            for name, processes in list(ready):
                with self._noting_peers(name):
                    ready[name, processes].wait()
            yield {way: ready[way] for way in ready if way[0] not in self.missing}
        finally:
            for contender in ready.values():
                contender.close()

    @contextmanager
    def _noting_peers(self, name: str) -> Iterator[None]:
        """Note a peer that can't be started in ``missing``; ours and the plain loop must start."""
        try:
            yield
        except Unavailable as error:
            if name not in PEERS:
                raise
            if name not in self.missing:
                self.say(f"{name} can't be measured: {error}")
            self.missing[name] = str(error)

    def limits(self) -> None:
        """The machine's own limit: matrix products in one single-threaded process per core."""
        flop = 2 * 2048**3
        for kind in ("fp32", "bf16"):
            with self._ready(kind, "digits", {("limit", CORES): 10}) as ready:
                rates = [ready["limit", CORES].rate() * flop / 1e9 for _ in range(5)]
            self.put(f"limit_{kind}", rates, "GFLOP/s")

    def share_of_limit(self) -> None:
        """The share of the machine's limit, in the faster precision, that training reaches."""
        limit = max(self.rows[f"limit_{kind}"]["high"] for kind in ("fp32", "bf16"))
        ours = (self.rows["train_ours"][key] for key in ("low", "median", "high"))
        shares = [rate * MULTIPLY_ADDS * 3 * 2 / 1e9 / limit for rate in ours]
        self.put("train_share_of_limit", shares, "ratio")

    def end_to_end(self, dataset: str, first: int, rounds: int, epochs: int, repeats: int) -> None:
        """Seconds of four strategies with the full pool scored: ours and the plain loop's.

        The plain loop would take most of an hour. Its time is computed instead, as its work divided
        by the rates that this run measured for it on the same data; K-means fits and choosing are
        assumed to take as long as ours.
        """
        arms = ("uncertainty", "margin", "kmeans", "bayesian")
        cells = [
            Cell(
                figure="bench", dataset=dataset, arm=arm, seed=0, first_labels=first,
                rounds=rounds, acquisition_fraction=0.01, epochs=epochs, schedule="one-cycle",
                learning_rate=2e-3, precision="bf16",
            )
            for arm in arms
        ]  # fmt: skip
        runs = [_run(cells) for _ in range(repeats)]
        seconds = [run[0] for run in runs]
        selecting = statistics.median(run[1] for run in runs) / CORES
        self.put("end_to_end_ours", seconds, "s")
        fastest, median, slowest = (
            self._plain_seconds(cells[0], bound) + selecting for bound in ("high", "median", "low")
        )
        self.put("end_to_end_plain", [fastest, median, slowest], "s")
        ratio = median / statistics.median(seconds)
        low, high = fastest / max(seconds), slowest / min(seconds)
        self.put("end_to_end_vs_plain", [low, ratio, high], "ratio")

    def _plain_seconds(self, cell: Cell, bound: str) -> float:
        """Seconds of the plain loop for four such cells, at the given bound of its rates."""
        rate = {
            work: self.rows[f"{cell.dataset}_{work}_plain"][bound]
            for work in ("train", "score", "mc")
        }
        counts = cell.schedule_of_labels()
        trained = sum(cell.steps()) * cell.batch_size
        tested = len(counts) * len(data.load(cell.dataset).test_labels)
        pool = cell.pool_size(cell.dataset)
        scored = sum(pool - labels for labels in counts[:-1])
        deterministic = 4 * tested + 3 * scored
        return 4 * trained / rate["train"] + deterministic / rate["score"] + scored / rate["mc"]

    def memory(self, dataset: str, labels: int) -> None:
        """Memory of workers (``_held_gb``) at their peak, every core busy with a round."""
        cells = [
            Cell(
                figure="bench", dataset=dataset, arm="bayesian", seed=seed, first_labels=labels,
                rounds=2, acquisition_fraction=0.01, epochs=1, precision="bf16",
            )
            for seed in range(CORES)
        ]  # fmt: skip
        with cluster(Placement(workers=CORES)) as workers:
            client = workers.client
            peaks = dict.fromkeys(client.run(os.getpid).values(), 0.0)
            rounds = client.map(lambda cell: run_round([cell], [], None, "cpu", {}), cells)
            while not all(future.done() for future in rounds):
                for pid in peaks:
                    peaks[pid] = max(peaks[pid], _held_gb(pid))
                time.sleep(0.2)
            client.gather(rounds)
        self.put("worker_memory_gb", list(peaks.values()), "GB")

    def engine(self, dataset: str, count: int) -> None:
        """The cost of the engine: training in its workers, and the same in bare processes."""
        ways = {("ours", CORES): count}
        with (
            self._ready("train", dataset, ways) as ready,
            cluster(Placement(workers=CORES), self.say) as workers,
        ):
            _sent(workers, dataset, count)
            turns = [
                (_sent(workers, dataset, count), ready["ours", CORES].rate())
                for _ in range(self.repeats)
            ]
        self.put("train_sent", [sent for sent, _ in turns], "images/s")
        self.put("train_sent_vs_bare", [sent / bare for sent, bare in turns], "ratio")

    def growth(self, dataset: str, pools: dict[str, list[int]]) -> None:
        """Seconds and memory of scoring and selecting, on one thread, by pool size."""
        for strategy, counts in pools.items():
            for count in counts:
                self._alone(f"pool_{strategy}_{{}}_{count}", "growth.py", dataset, count, strategy)
        few, many = pools["bayesian"][-2:]
        for kind, key in (("cost", "scoring"), ("memory", "memory")):
            ratio = (
                self.rows[f"pool_bayesian_{key}_{many}"]["median"]
                / self.rows[f"pool_bayesian_{key}_{few}"]["median"]
            )
            self.put(f"pool_{kind}_{_short(many)}_vs_{_short(few)}", [ratio], "ratio")

    def selection(self, count: int, budgets: dict[str, int]) -> None:
        """Seconds and memory of choosing alone, on one thread, by strategy and its budget."""
        for strategy, budget in budgets.items():
            key = f"select_{strategy}_{budget}_{{}}_{count}"
            self._alone(key, "selection.py", count, budget, strategy)

    def _alone(self, key: str, script: str, *arguments: str | int) -> None:
        """Rows of what a script prints, in its own process as its peak memory is measured."""
        settings = {name: str(value) for name, value in WORKER_ENVIRONMENT.items()}
        done = subprocess.run(
            [sys.executable, HERE / script, *map(str, arguments)],
            env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        for what, value in json.loads(done.stdout).items():
            self.put(key.format(what), [value], "GB" if what == "memory" else "s")

    def scaling(self, dataset: str, count: int, label_counts: list[int]) -> None:
        """Our training rate by worker processes, and by label count."""
        for workers in range(1, CORES + 1):
            with self._ready("train", dataset, {("ours", workers): count}) as ready:
                rates = [ready["ours", workers].rate() for _ in range(self.repeats)]
            self.put(f"train_{workers}_workers", rates, "images/s")
        for labels in label_counts:
            with self._ready("train", dataset, {("ours", CORES): labels}) as ready:
                rates = [ready["ours", CORES].rate() for _ in range(2)]
            self.put(f"train_{labels}_labels", rates, "images/s")


def _run(cells: list[Cell]) -> tuple[float, float]:
    """Wall seconds of a run from scratch, and the seconds it spent on selecting."""
    task, placement = round_task("cpu", {}), Placement(workers=CORES)
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, {"ALUTILS_OUTPUTS": folder}),
    ):
        store = Store("bench")
        store.prepare()
        start = time.perf_counter()
        engine.run(cells, task, store, {}, placement, lambda line: None)
        seconds = time.perf_counter() - start
        rounds = [done for cell in cells for done in store.load(cell)["rounds"]]
    return seconds, sum(done["seconds_select"] for done in rounds)


def _held_gb(pid: int) -> float:
    """Memory of a process (GB): its own and, on Linux, its share of what it shares with others.

    The proportional set size or, on systems that don't report it, the unique set size.
    """
    held = psutil.Process(pid).memory_full_info()
    return getattr(held, "pss", held.uss) / 2**30


def _sent(workers: Workers, dataset: str, count: int) -> float:
    """Images per second that all workers train on, with the engine's polling."""
    start = time.perf_counter()
    futures = [workers.submit(worker, train_ours, dataset, count) for worker in workers.slots()]
    while not all(future.done() for future in futures):
        with suppress(TimeoutError):
            wait(futures, timeout=engine.POLL_S)
        workers.slots()
    return sum(future.result() for future in futures) / (time.perf_counter() - start)


def _short(count: int) -> str:
    return f"{count // 10**6}m" if count >= 10**6 else f"{count // 1000}k"


def measure(bench: Bench) -> None:
    """Everything, in one run."""
    few, some, many = 640, 1280, 10_000
    bench.limits()
    bench.compare("train", "cifar10", dict.fromkeys(("ours", "plain", *PEERS), some), "train")
    bench.share_of_limit()
    bench.compare("score", "cifar10", dict.fromkeys(("ours", "plain", "skorch"), many), "score")
    bench.compare("mc", "cifar10", {"ours": many, "plain": few, "baal": few}, "mc")
    bench.compare("train", "mnist", {"ours": some, "plain": some}, "mnist_train")
    bench.compare("score", "mnist", {"ours": many, "plain": many}, "mnist_score")
    bench.compare("mc", "mnist", {"ours": many, "plain": few}, "mnist_mc")
    bench.memory("cifar10", some)
    bench.engine("cifar10", some)
    bench.scaling("cifar10", some, [540, 1490, 5490])
    bench.end_to_end("mnist", first=540, rounds=5, epochs=10, repeats=2)
    sizes = [10_000, 100_000]
    pools = {"bayesian": [*sizes, 1_000_000], "margin": sizes, "kmeans": sizes}
    bench.growth("cifar10", pools)
    budgets = dict.fromkeys((*POSTER_ARMS, *CONTROLS, *FURTHER), 450)
    bench.selection(45_000, budgets | {"batchbald": 50})
    large = [name for name in budgets if ARMS[name].scales_to_million]
    bench.selection(1_000_000, dict.fromkeys(large, 100))


def report(file: Path) -> None:
    """Render the report of the results, beside them."""
    seen = os.path.relpath(file, HERE)  # from the notebook's folder, where its kernel runs
    notebooks.render(HERE / "speed.ipynb", file.parent, {"file": seen})


def main() -> None:
    """Measure, and write the results with what they were measured on."""
    start = time.monotonic()
    bench = Bench(repeats=4)
    measure(bench)
    file = bench.write("results", pick_device("cpu"), time.monotonic() - start)
    report(file)


if __name__ == "__main__":
    main()
