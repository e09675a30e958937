import pandas as pd

from alutils import estimate, report
from alutils.paths import ROOT
from alutils.runner import MARKS


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
    import re

    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links)


def test_the_readme_shows_the_committed_benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed

    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- speed -->")[1].split("<!-- end of speed -->")[0].strip()
    measured = speed.read(str(ROOT / "outputs" / "bench" / "results.json"))
    assert block == speed.markdown(measured)
