from alutils.studies.recipes import CIFAR10, MNIST
from alutils.studies.reductions import further_runs, other_profiles
from tests.studies.test_both_recipes import ABOVE, run
from tests.studies.test_other_profiles import save


def test_sections_without_runs_are_one_line_with_their_commands(outputs):
    page = further_runs.sections().data
    assert page.startswith("Still to come: “Does a verdict depend on the recipe?” (`make study PRO")
    assert all(f"(`{each.command}`)" in page for each in further_runs.SECTIONS)
    assert "#" not in page and "\n" not in page


def test_a_section_is_shown_once_it_has_runs(outputs):
    run(MNIST, seeds=3, reduced=ABOVE, poster=ABOVE)
    page = further_runs.sections().data
    assert page.startswith("### Does a verdict depend on the recipe?\n\nFigures 3 and 4 in full")
    assert "the same is shown of every arm under both" in page and "<td>C3</td>" in page
    later = page.split("Still to come: ")[1]
    assert "verdict" not in later and "Training or picking?" in later
    save(other_profiles.STRONG_PROFILE, CIFAR10, {"margin": 2.0})
    save(other_profiles.ROUNDS_PROFILE, MNIST, {"margin": 2.0})
    page = further_runs.sections().data
    assert "### Choosing under a strong recipe" in page and "margin lies above random" in page
    assert "### The poster's 150 rounds" in page and "**MNIST**, 150 rounds, 1 seed" in page
    assert page.split("Still to come: ")[1].startswith("“Training or picking?”")
