"""The work in a profile: cells, rounds, steps, and hours on this device or at a given speed."""

from collections.abc import Sequence

from alutils.commands import first_cells
from alutils.commands.studies import named_studies
from alutils.protocol.arms import BASELINE
from alutils.protocol.cell import Cell
from alutils.protocol.datasets import dataset_title
from alutils.protocol.parameters import ParameterError, cells_of
from alutils.protocol.study import Study
from alutils.records.store import Store
from alutils.reporting.markdown import markdown_table
from alutils.reporting.prose import count
from alutils.running.time_estimate import NOT_COUNTED, measure
from alutils.running.workload import by_cost, step_cost, work
from alutils.studies import profiles

SCORED_A_STEP = 230
"""Images scored in the time of a training step, as measured; used if only that time is given."""


def estimate(profile: str, step_ms: str = "") -> None:
    """Print what each notebook of a profile takes, in total and for what is left."""
    given = _step(step_ms)
    store, speeds, hours, left_hours = Store(profile), {}, 0.0, 0.0
    counted: set[str] = set()
    studies = named_studies(profile)
    first_cells.warn_if_edited(profile)
    for name, study in studies:
        if not isinstance(study, Study):
            continue
        new = [cell for cell in study.cells() if cell.name not in counted]
        counted |= {cell.name for cell in new}
        for key, cells in by_cost(new).items():
            whole, left = work(cells), work(cells, store)
            if key not in speeds:
                step = given * step_cost(cells[0])
                speeds[key] = (
                    (step, step / SCORED_A_STEP) if given else measure(cells[0], study.device)
                )
            if speeds[key]:
                hours += whole.hours(*speeds[key])
                left_hours += left.hours(*speeds[key])
            print(
                f"{name}, {dataset_title(key[0])}, {_network(key)}: {count(whole.cells, 'cell')}, "
                f"{count(whole.rounds, 'round')}, {count(whole.steps, 'step')} ({_each(cells)}), "
                f"{count(whole.images, 'image')} scored; left: {count(left.cells, 'cell')}, "
                f"{count(left.steps, 'step')}"
            )
    source = "given" if given else "measured here on one worker"
    for key, seconds in speeds.items():
        dataset, _, precision, *_ = key
        pace = "can't be timed, as the few steps timed diverge: not included in the hours"
        if seconds:
            pace = (
                f"{1000 * seconds[0]:.1f} ms per step, "
                f"{1 / seconds[1]:,.0f} images scored per second"
            )
            pace += f" ({source})"
        print(f"{dataset}, {precision}, {_network(key)}: {pace}")
    print(
        f"{hours:,.1f} hours of one worker in total, {left_hours:,.1f} left, {NOT_COUNTED}; "
        "n workers on n cores or GPUs take about 1/n of that"
    )


def markdown_hours(names: Sequence[str], steps_ms: Sequence[float]) -> str:
    """What the named profiles take at given milliseconds per network step, as a Markdown table."""
    head = ["profile", "cells", "rounds", "network steps", "head steps", "images scored"]
    rows = []
    for profile in names:
        studies = profiles.studies(profile).values()
        cells = cells_of(study for study in studies if isinstance(study, Study))
        whole = work(cells)
        at_1_s = sum(
            step_cost(group[0]) * work(group).hours(1, 1 / SCORED_A_STEP)
            for group in by_cost(cells).values()
        )
        of_heads = work(cell for cell in cells if cell.encoder != "none").steps
        steps = [whole.steps - of_heads, of_heads]
        counts = [f"{n:,}" for n in (whole.cells, whole.rounds, *steps, whole.images)]
        hours = [f"{at_1_s * step / 1000:,.0f}" for step in steps_ms]
        rows.append([f"`{profile}`", *counts, *hours])
    return markdown_table([*head, *(f"hours at {step:g} ms a step" for step in steps_ms)], rows)


def _network(key: tuple[str, str, str, str, int]) -> str:
    """What is trained, and its batch size, from a key of ``by_cost``."""
    _, encoder, _, stem, batch = key
    network = stem if encoder == "none" else f"a linear head on {encoder}"
    return f"{network}, batch {batch}"


def _each(cells: list[Cell]) -> str:
    """The number of steps per arm and seed, in words."""
    counts = {sum(cell.steps()) // len(cell.arms) for cell in cells if cell.arm != BASELINE}
    if not counts:
        return "only single baseline runs"
    low, high = min(counts), max(counts)
    span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{span} per arm and seed"


def _step(step_ms: str) -> float:
    """Seconds per step, as given by the user; 0 if nothing was given."""
    if not step_ms:
        return 0.0
    try:
        seconds = float(step_ms) / 1000
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ParameterError(f"STEP_MS = {step_ms!r} is not allowed: give milliseconds, above 0")
    return seconds
