import re

import pandas as pd
import pytest

from alutils import estimate, report
from alutils.paths import ROOT
from alutils.runner import MARKS
from alutils.strategies import STRATEGIES


def test_the_readme_shows_the_committed_results():
    text = (ROOT / "README.md").read_text()
    block = text.split(MARKS[0])[1].split(MARKS[1])[0].strip()
    results = pd.read_csv(ROOT / "outputs" / "quick" / "results.csv")
    assert block == report.markdown_results(results, "quick")


def test_the_readme_shows_the_hours_of_the_long_profiles():
    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- hours -->")[1].split("<!-- end of hours -->")[0].strip()
    assert block.startswith(estimate.markdown_hours(["desktop", "poster", "replica"], [75, 10]))


def test_what_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links)


@pytest.fixture
def speed(monkeypatch):
    """The module behind the benchmark's report, and the committed measurements."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed

    return speed, speed.read(str(ROOT / "outputs" / "bench" / "results.json"))


def test_the_readme_shows_the_committed_benchmark(speed):
    module, measured = speed
    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- speed -->")[1].split("<!-- end of speed -->")[0].strip()
    assert block == module.markdown(measured)


def test_the_readme_shows_what_every_strategy_takes(speed):
    module, measured = speed
    row = re.compile(r"^\| `([\w-]+)` [^|]*\|[^|]*\|[^|]*\|([^|]*)\|", re.MULTILINE)
    section = (ROOT / "README.md").read_text().split("\n## Strategies\n")[1].split("\n## ")[0]
    shown = dict(row.findall(section))
    expected = module.seconds_to_choose(measured)
    assert {"random", *shown} == set(expected) == set(STRATEGIES)
    assert all(shown[name].strip() == expected[name] for name in shown)
