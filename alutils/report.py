"""What a report says: tables, computed sentences and figures with captions, as HTML.

Every sentence with a number is made here from the results, so that it stays true whatever the
parameters are.
"""

import base64
import io
import platform
from html import escape
from importlib.metadata import version

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure

from alutils import figures, published, statistics
from alutils.config import Study
from alutils.parameters import Parameters
from alutils.protocol import BASELINE, DATASETS
from alutils.results import Store

DOTS_PER_INCH = 160
RUNTIME = ("profile", "device", "workers", "scheduler")
"""Parameters that say where a study runs, not what it is."""
OBSERVED = ("heldout_every", "diagnostics")
"""Parameters that say what is written down of a training, which is the same either way."""


def show(figure: Figure, caption: str, alt: str, dots_per_inch: int = DOTS_PER_INCH) -> HTML:
    """A figure as an image in the page itself, with its caption and alternative text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dots_per_inch)
    data = base64.b64encode(buffer.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    return HTML(
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}" '
        f'style="width: {width}px; max-width: 100%; height: auto">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def architecture_text(stages: list[dict], dataset: str) -> tuple[str, str]:
    """Caption and alternative text of Figure 1."""
    total = sum(stage["parameters"] for stage in stages)
    size = DATASETS[dataset].size
    caption = (
        f"Figure 1. ResNet-18 for {DATASETS[dataset].title} ({size} × {size}): every stage with "
        f"the shape of its output (channels × height × width) and its parameters, {total:,} in "
        "all. Green arcs are residual connections."
    )
    path = "; ".join(f"{s['title']}, {' by '.join(map(str, s['output']))}" for s in stages)
    return caption, f"Block diagram of the network from input to output: {path}."


def samples_text(dataset: str) -> tuple[str, str]:
    """Caption and alternative text of the sample images."""
    title = DATASETS[dataset].title
    return (
        f"{title}: the first training image of every class.",
        f"A row of ten small images, one for each class of {title}.",
    )


def training_size_text(results: pd.DataFrame) -> tuple[str, str]:
    """Caption and alternative text of Figure 2."""
    seeds = results["seed"].nunique()
    caption = (
        f"Figure 2. {_capital(figures.reported(results))} against the number of randomly drawn "
        f"labels: mean, 95 % t interval (cut at the edge) and every line of {_seeds(seeds)}."
    )
    if results["dataset"].isin(published.training_size()["dataset"]).any():
        caption += f" Hollow points: published ({published.RULE})."
    return caption, f"Learning curves on random labels. {_ends(results, 'dataset')}"


def learning_curves_text(results: pd.DataFrame) -> tuple[str, str]:
    """Caption and alternative text of Figures 3 and 4."""
    figure, seeds = results["figure"].iloc[0], results["seed"].nunique()
    name = f"Figure {figure}" if str(figure).isdigit() else "Learning curves"
    caption = (
        f"{name}. {_capital(figures.reported(results))} against labels, by how these were chosen: "
        f"mean, 95 % t interval (cut at the edge) and every line of {_seeds(seeds)}."
    )
    if not published.active_learning(results["dataset"].iloc[0]).empty:
        caption += f" Hollow points: published ({published.RULE}; its baseline is one point)."
    return caption, f"Learning curves of {results['arm'].nunique()} arms. {_ends(results, 'arm')}"


def differences_text(results: pd.DataFrame) -> tuple[str, str]:
    """Caption and alternative text of the area differences."""
    differences = statistics.paired_differences(statistics.areas(results))
    caption = (
        "Difference of each arm to random in area under the budget curve: mean and 95 % t "
        f"interval over {_seeds(results['seed'].nunique())}."
    )
    told = "; ".join(f"{figures.arm_title(arm)} {points(d)}" for arm, d in differences.items())
    return caption, f"Interval plot of area differences to random: {told}."


def _ends(results: pd.DataFrame, key: str) -> str:
    """First and last mean accuracy of every curve, in words."""
    curve = statistics.curve(results).sort_values("labels")
    titles = {name: facts.title for name, facts in DATASETS.items()} | figures.ARM_TITLE
    parts = [
        f"{titles.get(name, name)} from {one['mean'].iloc[0]:.1f} % at {one['labels'].iloc[0]:,} "
        f"labels to {one['mean'].iloc[-1]:.1f} % at {one['labels'].iloc[-1]:,}"
        for name, one in curve.groupby(key, sort=False)
    ]
    return "; ".join(parts) + "."


def protocol(study: Study) -> HTML:
    """The study's parameters, and the poster's beside those that differ."""
    poster = _poster(study)
    rows = [
        {"parameter": key, "here": _plain(value), "poster": _plain(poster[key])}
        for key, value in study.model_dump().items()
        if key not in RUNTIME
    ]
    return table(pd.DataFrame(rows))


def reductions(study: Study) -> Markdown:
    """What this run has less of than the poster's protocol, one line each."""
    poster = _poster(study)
    changed = [
        f"- `{key}`: {_plain(value)} instead of {_plain(poster[key])}"
        for key, value in study.model_dump().items()
        if key not in (*RUNTIME, *OBSERVED, "seeds") and value != poster[key]
    ]
    if not changed:
        return Markdown(f"The poster's protocol, unreduced, with {_seeds(len(study.seeds))}.")
    return Markdown(
        f"This run (`{study.profile}`) departs from the poster's protocol in "
        f"{len(changed)} parameters, and has {_seeds(len(study.seeds))}:\n\n"
        + "\n".join(changed)
        + _candidates(study)
    )


def _candidates(study: Study) -> str:
    if not study.candidates:
        return ""
    return (
        f"\n\nEach acquisition chooses among {study.candidates:,} candidates drawn at random from "
        "the unlabelled pool, the same number for every arm, not among the whole pool."
    )


def data_summary(names: list[str], heldout_fraction: float) -> HTML:
    """Sizes of the datasets and of their split."""
    rows = []
    for name in names:
        facts = DATASETS[name]
        pool = facts.pool(heldout_fraction)
        shape = f"{facts.size} × {facts.size} × {facts.channels}"
        rows.append(
            {
                "dataset": facts.title,
                "image": shape,
                "pool": f"{pool:,}",
                "held out": f"{facts.train - pool:,}",
                "checksum": facts.checksum,
            }
        )
    return table(pd.DataFrame(rows))


def curve_table(results: pd.DataFrame) -> HTML:
    """Mean accuracy with its interval by label count (rows) and arm or dataset (columns)."""
    curve = statistics.curve(results)
    key = "arm" if curve["arm"].nunique() > 1 else "dataset"
    curve["text"] = [_percent(row) for row in curve.itertuples()]
    wide = curve.pivot(index="labels", columns=key, values="text")
    wide = wide[list(dict.fromkeys(curve[key]))].fillna("")
    wide.index = [f"{labels:,}" for labels in wide.index]
    titles = {name: facts.title for name, facts in DATASETS.items()} | figures.ARM_TITLE
    wide = wide.rename(columns=titles)
    return table(wide.rename_axis(columns=None).rename_axis("labels").reset_index())


def beside_published(results: pd.DataFrame) -> HTML | Markdown:
    """Figure 2 under the authors' rule, the best held-out accuracy of a training, beside theirs."""
    if "heldout_best" not in results:
        return Markdown(
            "The held-out set was not judged in this run, so its accuracy can't be put beside the "
            "published one by the same rule (`heldout_every` switches that on)."
        )
    ours = results.merge(published.training_size(), on=["dataset", "labels"], how="inner")
    rows = []
    for (dataset, labels), group in ours.groupby(["dataset", "labels"], sort=False):
        best = statistics.estimate(100 * group["heldout_best"])
        last = statistics.estimate(100 * group["test_accuracy"])
        theirs = group["accuracy"].iloc[0]
        rows.append(
            {
                "dataset": DATASETS[dataset].title,
                "labels": f"{labels:,}",
                "best on held-out (%)": _interval(best, "%"),
                "published, same rule (%)": f"{theirs:.2f}",
                "difference (points)": f"{best.mean - theirs:+.2f}",
                "spread of ours (standard deviation)": f"{100 * group['heldout_best'].std():.2f}",
                "last epoch on test (%)": _interval(last, "%"),
            }
        )
    return table(pd.DataFrame(rows))


def size_sentences(results: pd.DataFrame) -> Markdown:
    """Figure 2 in words: gain from the smallest to the largest set, and area, by dataset."""
    lines = []
    for dataset, ours in results.groupby("dataset", sort=False):
        wide = ours.pivot(index="seed", columns="labels", values="accuracy")
        first, last = wide.columns[0], wide.columns[-1]
        gain = statistics.estimate(wide[last] - wide[first])
        area = statistics.estimate(statistics.areas(ours)["random"])
        lines.append(
            f"- **{DATASETS[dataset].title}**: {wide[first].mean():.2f} % at {first:,} labels and "
            f"{wide[last].mean():.2f} % at {last:,}, a difference of {points(gain)}. "
            f"Area under the curve {_interval(area, '%')}."
        )
    return Markdown("\n".join(lines))


def answer(results: pd.DataFrame) -> Markdown:
    """The active-learning question answered in one paragraph from paired differences in area."""
    differences = statistics.paired_differences(statistics.areas(results))
    title, seeds = DATASETS[results["dataset"].iloc[0]].title, results["seed"].nunique()
    low, high = results["labels"].min(), results["labels"].max()
    if seeds < 2:
        return Markdown(
            f"With one seed nothing can be said about {title}: an interval needs two or more."
        )
    above = [figures.arm_title(arm) for arm, one in differences.items() if one.low > 0]
    below = [figures.arm_title(arm) for arm, one in differences.items() if one.high < 0]
    open_ = [figures.arm_title(a) for a, one in differences.items() if not one.decided]
    parts = [
        f"{join(above)} {_verb(above)} above random" if above else "",
        f"{join(below)} {_verb(below)} below random" if below else "",
        f"for {join(open_)} the interval holds zero: undecided" if open_ else "",
    ]
    return Markdown(
        f"On {title}, from {low:,} to {high:,} labels and over {_seeds(seeds)}, by area under the "
        f"budget curve (95 % t intervals, not corrected for {len(differences)} comparisons): "
        + "; ".join(part for part in parts if part)
        + "."
    )


def differences_table(results: pd.DataFrame) -> HTML:
    """Every arm's area, and its paired differences to random: area, and last label count."""
    areas, last = statistics.areas(results), statistics.final(results)
    by_area = statistics.paired_differences(areas)
    by_last = statistics.paired_differences(last)
    rows = []
    for arm in areas.columns:
        row = {"arm": figures.arm_title(arm), "area (%)": f"{areas[arm].mean():.2f}"}
        if arm in by_area:
            row |= {
                "area, difference to random (points)": points(by_area[arm], ""),
                "last label count, difference to random (points)": points(by_last[arm], ""),
            }
        rows.append(row)
    return table(pd.DataFrame(rows).fillna(""))


def markdown_results(results: pd.DataFrame, profile: str) -> str:
    """The results of Figures 3 and 4 as a Markdown table: what the README shows."""
    lines = [
        "| dataset | arm | labels | last accuracy (%) | area, difference to random (points) |",
        "|---|---|---|---|---|",
    ]
    for (_, dataset), ours in results[results["figure"] != 2].groupby(["figure", "dataset"]):
        areas, last = statistics.areas(ours), statistics.final(ours)
        by_area = statistics.paired_differences(areas)
        span = f"{ours['labels'].min():,} to {ours['labels'].max():,}"
        for arm in areas.columns:
            difference = points(by_area[arm], "") if arm in by_area else "baseline"
            lines.append(
                f"| {DATASETS[dataset].title} | {figures.arm_title(arm)} | {span} "
                f"| {last[arm].mean():.2f} | {difference} |"
            )
    note = (
        f"Profile `{profile}`: {figures.reported(results)}; mean over {_seeds(len(areas))}, "
        "difference with its 95 % t interval."
    )
    return "\n".join([*lines, "", note])


def difference_sentences(results: pd.DataFrame) -> Markdown:
    """One sentence an arm on its paired difference in area to random."""
    differences = statistics.paired_differences(statistics.areas(results))
    lines = []
    for arm, one in differences.items():
        verdict = "" if one.seeds < 2 else f" {_verdict(one)}"
        lines.append(f"- **{figures.arm_title(arm)}**: {points(one)}.{verdict}")
    last = statistics.final(results)
    if BASELINE in last:
        gains = statistics.paired_differences(last, BASELINE).items()
        told = ", ".join(f"{figures.arm_title(arm)} {points(one, '')}" for arm, one in gains)
        lines.append(f"- At the last label count, less the single baseline run: {told} points.")
    return Markdown("\n".join(lines))


def published_note(results: pd.DataFrame) -> Markdown:
    """What the hollow points are, and how far the label ranges overlap."""
    theirs = published.active_learning(results["dataset"].iloc[0])
    reach = results["labels"].max()
    if theirs.empty:
        return Markdown("The authors published no numbers for this dataset.")
    return Markdown(
        f"Hollow points: the published curve, quoted with its source in `alutils/published.py` "
        f"({published.RULE}). Theirs runs from {theirs['labels'].min():,} to "
        f"{theirs['labels'].max():,} labels, ours here to {reach:,}. Best of ten on a held-out set "
        "reads higher than the last epoch on the test set, and their optimiser state was carried "
        "from round to round, so the levels are not comparable point by point."
    )


def provenance(study: Parameters) -> HTML:
    """What computed the records of this report, and when they could differ."""
    store = Store(study.profile)
    records = [store.load(cell) for cell in study.cells() if store.path(cell).exists()]
    facts = [record["provenance"] for record in records]
    hours = sum(fact["wall_seconds"] for fact in facts) / 3600
    rows = {
        "profile": study.profile,
        "records": f"{sum(r['status'] == 'finished' for r in records)} finished cells",
        "training and scoring": f"{hours:.2f} hours of one worker",
        "device": _unique(facts, "device"),
        "machine": f"{_unique(facts, 'machine')}, {_unique(facts, 'cpu_capability')}, "
        f"{_unique(facts, 'threads')} thread a worker",
        "commit": _unique(facts, "commit"),
        "accuracy": figures.REPORTED[study.reported],
        "self-checks": _checks(records),
        "dataset checksums": _unique(facts, "dataset_checksum"),
        "Python": f"{platform.python_version()} (report), {_unique(facts, 'python')} (records)",
        "packages": ", ".join(
            f"{name} {found}"
            for name in ("torch", "torchvision", "numpy", "scikit-learn", "matplotlib", "papermill")
            for found in [version(name)]
        ),
    }
    return table(pd.DataFrame({"what": rows.keys(), "value": rows.values()}))


def _checks(records: list[dict]) -> str:
    """What the runs checked of themselves, and whether arms of a seed started from the same."""
    checked = [r for r in records if "checks" in r["provenance"] and r["status"] == "finished"]
    if not checked:
        return "none recorded"
    passes = _unique([r["provenance"]["checks"] for r in checked], "mc_passes_differ")
    told = (
        f"{len(checked)} cells ended, as a cell does only when all its checks hold in every round: "
        "scoring twice gives one order and changes no buffer, no index is labelled twice, labels "
        f"add up. MC passes differ: {passes}."
    )
    return f"{told} {_alike(checked, 'first_labels')} {_alike(checked, 'initial_weights')}"


def _alike(records: list[dict], what: str) -> str:
    """Whether the arms of a seed have the same hash; a single baseline has labels of its own."""
    groups: dict[tuple, set[str]] = {}
    for record in records:
        cell = record["cell"]
        if cell["arm"] != BASELINE:
            key = (cell["figure"], cell["dataset"], cell["seed"])
            groups.setdefault(key, set()).add(record["provenance"]["checks"][what])
    odd = [f"seed {key[2]} of {key[1]}" for key, hashes in groups.items() if len(hashes) > 1]
    name = what.replace("_", " ").capitalize()
    return f"{name}: " + (f"differ within {join(odd)}." if odd else "the same within each seed.")


def _poster(study: Study) -> dict:
    """The class's defaults, which are the poster's protocol, with the study's own dataset.

    The seed is that of the authors' one run.
    """
    fields = type(study).model_fields
    own = {key: getattr(study, key) for key in ("dataset",) if key in fields}
    return {key: field.default for key, field in fields.items()} | own | {"seeds": (42,)}


def _verdict(one: statistics.Estimate) -> str:
    if one.low > 0:
        return "The interval lies above zero."
    return (
        "The interval lies below zero." if one.high < 0 else "The interval holds zero: undecided."
    )


def points(one: statistics.Estimate, unit: str = " points") -> str:
    """A difference with its sign, interval and seeds."""
    if one.seeds < 2:
        return f"{one.mean:+.2f}{unit} (one seed, no interval)"
    return f"{one.mean:+.2f}{unit} ({one.low:+.2f} to {one.high:+.2f}, {one.seeds} seeds)"


def _interval(one: statistics.Estimate, unit: str) -> str:
    if one.seeds < 2:
        return f"{one.mean:.2f} {unit} (one seed, no interval)"
    return f"{one.mean:.2f} {unit} ({one.low:.2f} to {one.high:.2f}, {one.seeds} seeds)"


def _percent(row) -> str:
    half = f" ± {row.high - row.mean:.2f}" if row.seeds > 1 else ""
    return f"{row.mean:.2f}{half}"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} paired seeds"


def join(names: list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(names: list[str]) -> str:
    return "lies" if len(names) == 1 else "lie"


def _unique(facts: list[dict], key: str) -> str:
    return ", ".join(dict.fromkeys(str(fact[key]) for fact in facts if key in fact))


def table(frame: pd.DataFrame) -> HTML:
    """A table that scrolls on a narrow screen, without its index."""
    html = frame.to_html(index=False, border=0, justify="left", escape=True)
    return HTML(f'<div class="table">{html}</div>')
