import json
import math
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alutils.commands import readme, run_states
from alutils.labelling import saved_head
from alutils.paths import NOTEBOOKS, PACKAGE, ROOT, git
from alutils.protocol.arms import ORACLES
from alutils.protocol.parameters import StudyError
from alutils.records.store import Store
from alutils.reporting import statistics
from alutils.reporting.statistics import Estimate
from alutils.strategies.own import STRATEGIES
from alutils.studies import profiles
from alutils.studies.claims.findings import Claim, Finding
from alutils.studies.recipes import PROFILE_OF_RECIPE, TITLES
from tests.reporting.test_statistics import results

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {file: file.read_text() for file in FILES}
"""README, guides and what was written down before runs."""


def block(name: str) -> str:
    """What stands in README or guides between the marks of a name."""
    (text,) = (text for text in TEXTS.values() if f"<!-- {name} -->" in text)
    return text.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0].strip()


READ = sorted({*profiles.profiles(), "ceiling", "transfer"} - set(run_states.UNREPORTED_PROFILES))
"""Profiles whose records the texts are made from."""


@pytest.fixture
def committed(keep_committed):
    """The outputs without the records that a run here has added."""
    keep_committed(READ)


def test_the_readme_shows_the_committed_results_and_the_hours_of_the_long_profiles(committed):
    for name, expected in readme.blocks("desktop").items():
        assert block(name) == expected


def test_a_table_within_an_answer_is_not_folded():
    row = f"| C3 | {'supported ' * 12}|"
    assert readme._folded(f"A sentence.\n{row}") == f"A sentence.\n{row}"


def in_short(**points: np.ndarray) -> str:
    """What is told of arms that lie so many points above random, by seed, which has 50 %."""
    random = np.full((len(next(iter(points.values()))), 3), 0.5)
    arms = {
        a: np.tile(0.5 + np.array(more)[:, None] / 100, 3).tolist() for a, more in points.items()
    }
    return readme._in_short(results({"random": random.tolist()} | arms), "mnist")


def test_arms_within_the_margin_that_are_shown_to_differ_are_named_in_short():
    noise = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    within = "all 2 strategies are within 0.3 points of random labels"
    start = (
        f"On MNIST, 20 epochs per training, averaged over 100 to 400 labels, {within} (5 paired "
        "seeds; a test added after results of the reduced recipe were known)"
    )
    assert in_short(margin=noise, kmeans=noise) == f"{start}."
    assert in_short(margin=noise + 0.1, kmeans=noise - 0.1) == (
        f"{start}; within that margin, margin lies above random and K-means lies below random."
    )


def test_nothing_is_tested_in_short_with_fewer_than_three_seeds():
    told = in_short(margin=np.array([2.0, 2.1]), kmeans=np.array([0.0, 0.01]))
    assert told == "Nothing is tested on MNIST with fewer than 3 paired seeds; this run has 2."


def test_what_hangs_on_single_seeds_is_said_to():
    """Without a seed that is not the first, the others' spread is too large for 5 %."""
    unsure = np.array([0.01, 0.1, 0.11, 0.12, 0.13])
    told = in_short(margin=unsure, kmeans=np.zeros(5))
    assert "margin lies above random. With each seed left out in turn, margin" in told
    assert told.endswith("margin is shown above random in 1 of 5 sets.")
    assert in_short(margin=unsure + 5, kmeans=unsure + 5).endswith("(5 paired seeds).")


@pytest.mark.parametrize(
    ("last", "saved", "times"),
    [
        (0.8, ", and reach random's last accuracy with 50 to 50 % of its labels", "2.00 (2.00 to"),
        (0.6, "; how many labels that saves is open", "1.67 (1.00 to 2.00 by seed)"),
        (0.5, "; how many labels that saves is open", "in 2 of 3 seeds"),
    ],
)
def test_saved_labels_are_told_where_no_seed_leaves_them_open(last, saved, times):
    """Two seeds have 60 %, with which random ends, at 200 of 400 labels; one as late as it may."""
    third = [0.5, 0.6, last] if last > 0.6 else [0.4, 0.5, last]
    table = results({"random": [[0.4, 0.5, 0.6]] * 3, "margin": [*[[0.5, 0.6, 0.8]] * 2, third]})
    assert readme._saved(table) == saved
    assert readme._times(statistics.label_savings(table)["margin"]).startswith(times)


def test_arms_that_hang_on_single_seeds_are_told_together():
    unsure = np.array([0.01, 0.1, 0.11, 0.12, 0.13])
    same = in_short(margin=unsure, kmeans=unsure)
    assert same.endswith(" turn, margin and K-means are shown above random in 1 of 5 sets.")
    margin, kmeans = np.array([[9, 5, 22, 9, 14], [10, 22, 20, 16, -1]]) / 100
    other = in_short(margin=margin, kmeans=kmeans)
    assert other.endswith(" margin and K-means are shown above random in 2 and 1 of 5 sets.")


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ((5, 3), "not show a difference or equivalence with 5 seeds or fewer after"),
        ((5, 5), "not show a difference or equivalence with 5 seeds after"),
        ((7, 3), "a difference with 7 seeds or fewer or equivalence with 3 seeds after"),
    ],
)
def test_what_rests_on_normal_differences_is_one_sentence(seeds, told):
    curves = {arm: [[0.5] * 3] for arm in ("random", "a", "b", "c", "d")}
    by_dataset = {
        dataset: results({arm: number * rows for arm, rows in curves.items()})
        for dataset, number in zip(("cifar10", "mnist"), seeds, strict=True)
    }
    text = readme._normality(by_dataset)
    assert told in text and text.count(". ") == 1
    assert readme._normality({"mnist": results({a: 9 * r for a, r in curves.items()})}) == ""


def test_every_claim_has_its_verdict_and_the_finding_that_comes_nearest():
    near, far = found("undecided", 1.0), found("undecided", 1.5)
    claims = [
        Claim("C1", "", "", findings=(found("supported", 7.0),)),
        Claim("C4", "", "", findings=(far, near, found("supported", 0.1))),
        Claim("C6", "", "", missing_runs="MNIST"),
    ]
    *_, first, second, third = readme._claims(claims).splitlines()
    assert first == (
        "| C1: more labels, better accuracy | supported (1 of 1; 5) | MNIST, x: 7.00 points "
        "(6.00 to 8.00) | above 0 |"
    )
    assert second == (
        "| C4: the four approaches are similar | undecided (1 of 3; 5) | MNIST, x: 1.00 points "
        "(0.00 to 2.00) | above 0 |"
    )
    assert third == (
        "| C6: a much smaller set is enough on MNIST | undecided | It needs runs on MNIST. |  |"
    )


def test_what_hangs_on_few_seeds_is_named():
    c1 = ((0, "undecided"), (1, "undecided"), (2, "supported"))
    claims = [
        Claim("C1", "", "", findings=(found("supported"),), leave_one_out=c1),
        Claim(
            "C3", "", "", findings=(found("not supported"),), leave_one_out=((0, "not supported"),)
        ),
        Claim("C4", "", "", leave_one_out=((0, "supported"),)),
        Claim("C5", "", "", findings=(found("supported", 1.05),)),
    ]
    assert readme._on_few_seeds(claims) == [
        "With each seed left out in turn, C1 is undecided in 2 of 3 sets; C4 is supported in 1 of "
        "1 sets.",
        "With the observed mean and spread, one seed fewer would leave C5 undecided.",
    ]
    assert readme._on_few_seeds(claims[1:2]) == []


def found(verdict: str, mean: float = 7.0) -> Finding:
    """A finding whose interval reaches one point to either side, as five seeds have it."""
    spread = math.sqrt(5) / stats.t.ppf(0.975, 4)
    return Finding("MNIST", "x", Estimate(mean, mean - 1, mean + 1, 5, spread), (0.0,), verdict)


def test_seeds_that_came_after_a_look_at_the_first_are_told_above_the_claims():
    claims = [Claim("C1", "", "", findings=(found("supported"),))]
    assert "of C6; Figure 2 got 2 more seeds after a look at 3). *Not" in readme._rules(
        claims, "desktop"
    )
    assert "two clauses of C6). *Not" in readme._rules(claims, "quick")


def test_the_table_names_its_profile_and_recipe():
    pages = {"reduced": "docs/recipe.md", "poster": "docs/plan.md#what-is-run"}
    for recipe, profile in PROFILE_OF_RECIPE.items():
        told = f"Profile `{profile}`, [{TITLES[recipe]}]({pages[recipe]})"
        assert readme._profile(profile) == told
    assert readme._profile("quick") == "Profile `quick`"


def test_the_guide_lists_the_notebooks_of_every_profile():
    text = TEXTS[ROOT / "docs" / "parameters.md"]
    rows = re.findall(r"^\| `([\w-]+)` \| (all|[\d, to]+) \|", text, re.MULTILINE)
    listed = {}
    for profile, numbers in rows:
        spans = [part.split(" to ") for part in numbers.replace("all", "01 to 11").split(", ")]
        listed[profile] = {n for span in spans for n in range(int(span[0]), int(span[-1]) + 1)}
    assert listed == {p: {int(n[:2]) for n in profiles.notebooks(p)} for p in profiles.profiles()}


def test_a_block_replaces_what_stands_between_its_marks_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "blocks", lambda profile: {"x": "new"})
    file = tmp_path / "README.md"
    file.write_text("a\n<!-- x -->\nold\n<!-- end of x -->\nb\n")
    for _ in range(2):
        readme.update("desktop")
        assert file.read_text() == "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
    for damaged in ("a\n<!-- x -->\nold\nrest\n", "old\n<!-- end of x -->\nrest\n"):
        file.write_text(damaged)
        with pytest.raises(StudyError, match="has the markers of 'x'"):
            readme.update("desktop")
        assert file.read_text() == damaged


def test_a_profile_without_the_audit_has_no_answer():
    with pytest.raises(StudyError, match="'sensitivity' has no 04-claims"):
        readme.blocks("sensitivity")


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_what_a_text_links_to_is_there(file):
    links = re.findall(r"\]\(([^)]+)\)", TEXTS[file])
    for link in (link for link in links if not link.startswith("http")):
        target, _, heading = link.partition("#")
        there = (file.parent / target).resolve() if target else file
        assert there.exists(), link
        names = re.findall(r"^#+ (.*)", there.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in {name.lower().replace(" ", "-") for name in names}, link


@pytest.mark.parametrize(
    "name", git("ls-files", "outputs/*/*.html").split(), ids=lambda name: name.split("/", 1)[1]
)
def test_what_a_kept_report_links_to_is_there(name):
    file = ROOT / name
    text = re.sub(r"<(script|style).*?</\1>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r'\bhref="([^"#]+)', text)
    if (notebook := file.with_suffix(".ipynb")).exists():
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            shown = [output.get("data", {}) for output in cell.get("outputs", [])]
            texts = [data.get("text/markdown", "") for data in shown]
            texts += [cell["source"]] if cell["cell_type"] == "markdown" else []
            links += re.findall(r"\]\(([^)#\s]+)", "\n".join("".join(text) for text in texts))
    for link in (link for link in links if not link.startswith(("http", "data:"))):
        assert (file.parent / link).exists(), link


def test_every_command_is_of_the_environment_that_make_sets_up():
    """But where no ``make`` is, and for the plan, which is left as it was before its runs."""
    shown = {file: text for file, text in TEXTS.items() if file.name != "plan.md"}
    shown |= {file: file.read_text(encoding="utf-8") for file in NOTEBOOKS.glob("*.ipynb")}
    shown |= {file: file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*page.py")}
    shown |= {"example": saved_head.USE}
    bare = {
        file: re.findall(r"(?<!bin/)python -m alutils \w+", text) for file, text in shown.items()
    }
    without_make = bare.pop(ROOT / "docs" / "parameters.md")
    assert {name.split()[-1] for name in without_make} == {"study", "verify", "estimate"}
    assert not any(bare.values())


def test_what_a_guide_shows_for_code_of_one_s_own_runs():
    section = TEXTS[ROOT / "docs" / "strategies.md"].split("## In code of your own")[1]
    view, statistic = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    known: dict = {}
    exec(view, known)
    assert len(known["picks"].unique()) == 10
    exec(statistic, known)
    assert known["areas"].shape == (5, 3)


def test_the_readme_is_short_and_names_every_room():
    text = TEXTS[ROOT / "README.md"]
    assert len(text.encode()) <= 12_288
    tree = text.split("## What is where")[1].split("## ")[0]
    rooms = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"\b([a-z]+)/", tree))


def test_the_guide_tells_where_records_have_no_bfloat16_products(committed):
    """Of all that the profiles' networks have been trained with in bfloat16."""
    without = Counter()
    for profile in set(READ) & set(profiles.profiles()):
        for cell in {c for each in profiles.studies(profile).values() for c in each.cells()}:
            facts = Store(profile).facts(cell).record
            products = facts["provenance"].get("bf16_products", True)
            without[profile] += cell.precision == "bf16" and not products
    told = f"Of 07's records, {without['desktop']} of 129 have no bfloat16 products"
    assert f"{told}, and {without['sensitivity']} of 06's." in prose_of("reproducibility")
    assert set(+without) == {"desktop", "sensitivity"}


def prose_of(guide: str) -> str:
    """A guide without its line breaks."""
    return " ".join(TEXTS[ROOT / "docs" / f"{guide}.md"].split())


@pytest.fixture
def speed(monkeypatch):
    """The module behind the benchmark's report, and the committed measurements."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed

    return speed, speed.read(str(ROOT / "outputs" / "bench" / "results.json"))


def test_the_guide_shows_the_committed_benchmark(speed):
    module, measured = speed
    assert block("speed") == module.markdown(measured)


def test_the_guide_shows_what_every_strategy_takes(speed):
    module, measured = speed
    row = re.compile(r"^\| `([\w-]+)` [^|]*\|[^|]*\|[^|]*\|([^|]*)\|", re.MULTILINE)
    section = TEXTS[ROOT / "docs" / "strategies.md"]
    shown = dict(row.findall(section))
    expected = module.seconds_to_choose(measured)
    assert {"random", *shown} == set(STRATEGIES) - set(ORACLES) >= set(expected)
    assert all(shown[name].strip() == expected.get(name, "") for name in shown)


def test_the_results_have_corrected_intervals_and_what_is_equivalent():
    rows = [
        {"dataset": dataset, "arm": arm, "seed": seed, "labels": labels,
         "accuracy": 50 + gain * (1 + 0.1 * seed) + 0.01 * (-1) ** seed * (arm != "random")}
        for dataset in ("cifar10", "mnist")
        for arm, gain in (("random", 0), ("margin", 0.5), ("kmeans", 0))
        for seed in range(5)
        for labels in (540, 1000)
    ]  # fmt: skip
    found = pd.DataFrame(rows)
    on_all = pd.DataFrame([{"dataset": "mnist", "labels": 54_000, "accuracy": 99.534}])
    table = readme._table([own for _, own in found.groupby("dataset")], [*on_all.itertuples()])
    table = table.splitlines()
    assert "| different (p) | equivalent within 0.3 (MNIST) and 1 (CIFAR-10) (p) |" in table[0]
    assert table[2] == "| CIFAR-10 | random | 50.00 | baseline, 5 seeds |  |  |  |"
    assert table[8] == "| MNIST | all 54,000 labels (one training) | 99.53 |  |  |  |  |"
    for row, dataset in ((table[3], "cifar10"), (table[6], "mnist")):
        areas = statistics.areas(found[found["dataset"] == dataset])
        wide = statistics.paired_differences(areas, tests=2)["margin"]
        assert f"| +{wide.mean:.2f} (+{wide.low:.2f} to +{wide.high:.2f}) | yes (" in row
        assert row.count("yes") == (2 if dataset == "cifar10" else 1)
    assert "| not shown (" in table[4] and "| yes (" in table[4]
