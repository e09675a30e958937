"""Notebook 10: what is made of the runs on a folder, against values found by hand."""

import re
from html import unescape
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from nbconvert.filters.markdown_mistune import markdown2html_mistune

from alutils.folders import index
from alutils.protocol.datasets import DATASETS
from alutils.protocol.parameters import ParameterError
from alutils.reporting import tables
from alutils.reporting.forecast import Forecast
from alutils.reporting.prose import interval
from alutils.reporting.statistics import estimate, label_savings
from alutils.studies import parameter_files, profiles, setup
from alutils.studies.active_learning.diagnosed_rounds import DiagnosedRound
from alutils.studies.own_images import class_shares, contents, labels_for_targets, mistakes, savings
from alutils.studies.own_images.plan import OwnImagesStudy
from tests.folders.messy import plain_folder

NOTEBOOK = "10-your-own-images"
DEFAULTS = parameter_files.defaults(NOTEBOOK)


def study_of(path, **changes) -> OwnImagesStudy:
    return OwnImagesStudy.parse(DEFAULTS | {"dataset": str(path)} | changes)


def rows_of(html: str) -> list[list[str]]:
    """The body of a table, as text."""
    lines = [row.split("<td>")[1:] for row in html.split("<tr>")[1:]]
    return [[cell.split("</td>")[0] for cell in line] for line in lines if line]


class TestPlan:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ALUTILS_DATA", str(tmp_path / "data"))

    @pytest.fixture
    def pets(self, tmp_path):
        return plain_folder(tmp_path / "pets", each=30)

    def test_without_a_folder_it_is_the_example(self):
        study = study_of("")
        assert study.dataset == "folder-example-digits-70f67987033c3c49"
        assert study.cells()[0].schedule_of_labels() == [21, 45, 68, 89, 109, 128, 146, 163]
        assert OwnImagesStudy.parse(study.model_dump()) == study

    def test_a_path_may_be_relative_to_where_it_is_said(self, pets, monkeypatch):
        monkeypatch.chdir(pets.parent)
        assert study_of("pets").dataset == study_of("./pets").dataset == study_of(pets).dataset

    def test_a_small_folder_has_a_smaller_batch_and_stop_set(self, pets):
        """60 images: 12 to test, 4 held out, 44 in the pool, of which 2 are the first labels."""
        study = study_of(pets)
        assert {(c.first_labels, c.batch_size, c.stop_set) for c in study.cells()} == {(2, 2, 4)}
        assert (study.batch_size, study.stop_set) == (10, 500)
        page = setup.parameters(study.as_run()).data
        assert ["batch_size", "2"] in rows_of(page) and ["stop_set", "4"] in rows_of(page)
        assert "device" not in page

    def test_labels_a_round_may_be_counted(self, pets):
        study = study_of(pets, acquisition_size=4, rounds=3)
        assert study.cells()[0].schedule_of_labels() == [2, 6, 10]

    def test_from_scratch_it_is_the_network(self, pets):
        study = study_of(pets, encoder="none", weight_decay=0.0, precision="bf16")
        assert {cell.encoder for cell in study.cells()} == {"none"}

    def refused(self, why: str, path, **changes) -> None:
        with pytest.raises(ParameterError, match=why) as error:
            study_of(path, **changes)
        assert "\n" not in str(error.value)

    def test_what_can_not_be_studied_is_refused_in_one_line(self, pets):
        nowhere = pets / "nowhere"
        self.refused(f"dataset = '{nowhere}' is not allowed: there is no such folder", nowhere)
        self.refused("no labels, which a study needs: .*notebook 11-label-your-own", pets / "cat")
        self.refused(
            "weight_decay = 1.0 is a linear head's, and encoder = 'none' .*: set it to 0, with",
            pets, encoder="none",
        )  # fmt: skip
        self.refused("precision = 'bf16' has no effect with encoder", pets, precision="bf16")
        self.refused(
            "diagnostics = true with test = false .*: set test true, or diagnostics false",
            pets, test=False, heldout_every=1, reported="heldout-last",
        )  # fmt: skip
        self.refused("targets = .* must increase", pets, targets=[90.0, 80.0])


def loaded(train: list[int], test: list[int], names: tuple[str, ...]) -> SimpleNamespace:
    """Labels with so many images of each class."""
    labels = [
        torch.arange(len(names)).repeat_interleave(torch.tensor(counts)) for counts in (train, test)
    ]
    return SimpleNamespace(name="digits", classes=names, train_labels=labels[0],
                           test_labels=labels[1])  # fmt: skip


class TestContents:
    def test_the_classes_are_told_from_the_most_frequent_to_the_rarest(self):
        dataset = loaded([5, 1200, 5], [2, 300, 1], ("ant", "bee", "cow"))
        assert contents.sentence(dataset).data == (
            "**digits** has 1,513 usable images in 3 classes: 1,210 for training and 303 for the "
            "test set. The most frequent class, bee, has 1,200 training images, and the rarest, "
            "cow, has 5. The class with the fewest test images has 1: statements below about a "
            "single class may rest on no more than that."
        )
        assert rows_of(contents.classes(dataset).data) == [
            ["bee", "1,200", "300"], ["ant", "5", "2"], ["cow", "5", "1"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "name", ["**bold**", "a_b_ `c`", "<img src=x>", "$x$ [y](z)", "a|b\\*"]
    )
    def test_a_name_means_nothing_to_the_report(self, name):
        page = markdown2html_mistune(contents.sentence(loaded([1, 9], [1, 1], ("ant", name))).data)
        assert f"The most frequent class, {name}, has 9" in unescape(re.sub("<.*?>", "", page))

    def test_of_many_classes_both_ends_are_listed(self):
        names = tuple(f"kind {i:03}" for i in range(200))
        page = contents.classes(loaded(list(range(1, 201)), [1] * 200, names)).data
        assert "The 10 most frequent and the 10 rarest of 200 classes:" in page
        assert [row[0] for row in rows_of(page)] == [
            f"kind {i:03}" for i in (*range(199, 189, -1), *range(9, -1, -1))
        ]

    def test_files_left_out_are_counted_by_what_is_wrong(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ALUTILS_DATA", str(tmp_path))
        name = f"{index.PREFIX}pets-1"
        file = index.left_out_file(name)
        assert "not known on this machine" in contents.left_out(name).data
        file.write_text(
            "file,problem\na.png,same content as z.png\nb.png,same content as y.png\n"
            "c.png,same content as a file with another label\n"
            "d.png,7 × 90 pixels: a side below 8 pixels\n"
            "e.png,90 × 3 pixels: a side below 8 pixels\n"
            "f.png,same content as x.png\n"
        )
        page = contents.left_out(name).data
        assert "6 files of the folder are not used. All of them are listed in" in page
        assert f"<code>{file.name}</code>" in page and str(tmp_path) not in page
        assert rows_of(page) == [
            ["same content as another file", "3", "a.png"],
            ["a side below 8 pixels", "2", "d.png"],
            ["same content as a file with another label", "1", "c.png"],
        ]
        reasons = "".join(f"{i}.png,reason {i:02}\n" for i in range(11))
        file.write_text(f"file,problem\n{reasons}")
        page = contents.left_out(name).data
        assert "in the data cache. The 10 most frequent of 11 reasons:" in page
        assert [row[0] for row in rows_of(page)] == [f"reason {i:02}" for i in range(10)]
        assert contents.left_out("digits").data == "digits is not a folder: no file is left out."


LABELS = (100, 200, 300, 400)
CURVES = {
    "random": (50, 60, 70, 80),
    "margin": (50, 70, 80, 85),
    "kmeans": (50, 60, 70, 79),
    "typiclust": (50, 50, 60, 80),
}


def results_of(curves: dict[str, tuple], seeds: int = 3, drift: float = 0.0) -> pd.DataFrame:
    """Curves of arms on digits; ``drift`` moves a seed's later accuracies of margin."""
    rows = [
        {"dataset": "digits", "arm": arm, "seed": seed, "round": i + 1, "labels": labels,
         "accuracy": value + (drift * seed if arm == "margin" and i else 0), "reported": "test",
         "record": f"{arm}-{seed}", "figure": "digits"}
        for seed in range(seeds)
        for arm, curve in curves.items()
        for i, (labels, value) in enumerate(zip(LABELS, curve, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows)


class TestSavings:
    def test_labels_saved_are_those_that_random_needs_more(self):
        """Margin has 80 % with 300 labels; in seeds 1 and 2 sooner, by 10 and 20 labels."""
        saved = savings.saved_labels(label_savings(results_of(CURVES, drift=1.0)), 400)
        assert saved["margin"].tolist() == pytest.approx([100, 110, 120])
        assert saved["kmeans"].isna().all() and saved["typiclust"].tolist() == [0, 0, 0]

    def test_where_random_is_flat_at_its_end_it_needs_fewer_too(self):
        curves = {"random": (50, 80, 80, 80), "margin": (50, 80, 81, 82)}
        saved = savings.saved_labels(label_savings(results_of(curves)), 400)
        assert saved["margin"].tolist() == [0, 0, 0]

    def test_every_arm_is_told(self):
        text = savings.sentences(results_of(CURVES, drift=1.0)).data
        low, high = (110 + sign * 4.302653 * 10 / 3**0.5 for sign in (-1, 1))
        assert text == (
            "On digits, 400 random labels give 80.00 % (80.00 to 80.00, 3 seeds). How arms reach "
            "that accuracy, on monotone fits seed by seed:\n\n"
            f"- **margin** would have saved 110 labels ({low:.0f} to {high:.0f}, 3 seeds).\n"
            "- **K-means** never gets there.\n"
            "- **TypiClust** is not shown to save or to cost labels: +0 labels (+0 to +0, 3 seeds)."
            f"\n\n{tables.BY_CHANCE}"
        )

    def test_a_cost_and_a_saving_in_some_seeds_are_told(self):
        worse = {"random": (50, 80, 80, 80), "margin": (50, 60, 80, 90)}
        text = savings.sentences(results_of(worse)).data
        assert "**margin** would have cost 100 labels (100 to 100, 3 seeds)." in text
        some = results_of(CURVES, drift=-3.0)  # the end: 85, 82, 79
        told = (
            "gets there in 2 of 3 seeds (median 90 %, 360 labels; seeds that miss it ranked last)."
        )
        assert f"**margin** {told}" in savings.sentences(some).data

    def test_two_seeds_tell_nothing(self):
        text = savings.sentences(results_of(CURVES, seeds=2)).data
        assert text == "With 2 seeds no label saving is given: 3 are needed."

    def test_the_end_is_told_of_every_arm(self):
        text = savings.ends(results_of(CURVES, drift=1.0)).data
        margin = interval(estimate([85, 86, 87]), "%")
        assert text == (
            "Test accuracy at the end, with 400 labels: random 80.00 % (80.00 to 80.00, 3 seeds), "
            f"margin {margin}, K-means 79.00 % (79.00 to 79.00, 3 seeds) and TypiClust 80.00 % "
            "(80.00 to 80.00, 3 seeds)."
        )

    def test_arms_with_the_same_accuracies_are_named(self):
        curves = CURVES | {"uncertainty": CURVES["margin"]}
        text = savings.ends(results_of(curves)).data
        assert text.endswith(
            " Margin and uncertainty have the same accuracy in every round of every seed."
        )
        assert "the same accuracy" not in savings.ends(results_of(curves, drift=1.0)).data

    TEST_SET = (
        "The test set has 360 images, the same for every seed and arm: because of its size alone, "
        "an accuracy of 85.0 % is certain only to within 3.7 points of that on other images of the "
        "kind (95 %), and more seeds do not narrow that."
    )
    """1.96 standard errors of 307 of 362, on 360 images: 1.96 * 35.93 / 18.97."""

    def test_what_all_rests_on_is_told(self):
        two = {arm: CURVES[arm] for arm in ("random", "margin")}
        assert savings.certainty(results_of(two, seeds=2)).data == (
            "All of this rests on 2 paired seeds. A test needs 3: with these, differences may be "
            f"due to chance. {self.TEST_SET}"
        )
        assert savings.certainty(results_of(two)).data == (
            "All of this rests on 3 paired seeds. They show for every arm on which side of random "
            f"it lies. {self.TEST_SET}"
        )

    def test_an_arm_that_is_equivalent_to_random_has_no_side(self):
        equal = results_of({"random": CURVES["random"], "margin": CURVES["random"]}, drift=0.01)
        text = savings.certainty(equal.assign(dataset="mnist")).data
        assert "They show that every arm differs from random or is equivalent to it." in text

    def test_an_arm_that_is_left_open_is_named_with_what_the_seeds_could_show(self):
        noisy = results_of({arm: CURVES[arm] for arm in ("random", "margin")}, drift=-9.0)
        text = savings.certainty(noisy).data
        assert text.startswith(
            "All of this rests on 3 paired seeds. They leave margin undecided. For these, with 3 "
            "seeds, 80 % power needs a true difference of "
        )
        heldout = savings.certainty(noisy.assign(reported="heldout-last")).data
        assert "test set" not in heldout and heldout.endswith("points.")


class TestWanted:
    MEAN = pd.Series({100: 50.0, 200: 60.0, 300: 70.0, 400: 80.0})

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            (40, "100 or fewer"), (50, "100 or fewer"), (65, "250"), (80, "400"),
            (90, "no forecast: too few rounds"),
        ],
    )  # fmt: skip
    def test_a_target_is_read_off_the_curve_or_not_told(self, target, expected):
        assert labels_for_targets.needed(self.MEAN, target, 360) == expected

    def test_a_forecast_is_told_with_its_interval(self, monkeypatch):
        asked = []

        def forecast(labels, accuracy, target, rng, size):
            asked.append((list(labels), list(accuracy), target, size))
            return Forecast(1234, 100, 5000)

        monkeypatch.setattr(labels_for_targets, "forecast", forecast)
        assert labels_for_targets.needed(self.MEAN, 90, 360) == "1,234 more than 400 (100 to 5,000)"
        assert asked == [(list(LABELS), [50, 60, 70, 80], 90, 360)]

    def test_every_arm_has_a_column_and_every_target_a_row(self):
        curves = {arm: CURVES[arm] for arm in ("random", "margin")}
        page = labels_for_targets.table(results_of(curves), [65.0, 80.0], 40).data
        assert rows_of(page) == [["65", "250", "175"], ["80", "400", "300"]]


def shares_of(picks: list[list[float]], pool: list[float], names: list[str]) -> class_shares.Shares:
    frames = (pd.DataFrame(rows, columns=names) for rows in (picks, [pool] * len(picks)))
    return class_shares.Shares(*frames)


class TestRequests:
    NAMES = ["ant", "bee", "cow"]

    def test_the_class_asked_for_beyond_its_share_and_the_rarest_are_told(self):
        margin = shares_of([[50, 40, 10], [50, 38, 12]], [60, 30, 10], self.NAMES)
        page = class_shares.table({"margin": margin}).data
        half = [12.706205 * 2**0.5 / 2**0.5] * 2
        assert rows_of(page) == [
            ["margin", "bee", f"39.00 ± {half[0]:.2f}", "30.00", f"11.00 ± {half[1]:.2f}", "10.00"]
        ]
        assert "<th>cow (rarest): share of the pool (%)</th>" in page

    def test_where_classes_are_about_equal_there_is_no_rarest(self):
        even = shares_of([[30, 30, 40]], [34, 36, 30], self.NAMES)
        page = class_shares.table({"random": even}).data
        assert rows_of(page) == [["random", "cow", "40.00", "30.00"]] and "rarest" not in page

    def test_nothing_asked_for_is_said(self):
        assert class_shares.table({}).data == "No arm has selected any images yet."


def ended(confusion: list[list[int]], seed: int, arm: str = "margin") -> DiagnosedRound:
    return DiagnosedRound(arm, seed, 2, 20, {"closing": {"confusion": confusion}})


class TestMistakes:
    FIRST, SECOND = [[8, 2, 0], [1, 3, 0], [0, 0, 5]], [[7, 2, 1], [2, 2, 0], [0, 0, 5]]

    def test_the_most_frequent_come_first_over_all_seeds(self):
        diagnosed = [ended(self.FIRST, 0), ended(self.SECOND, 1)]
        assert mistakes.worst(diagnosed) == [(0, 1, 4, 20), (1, 0, 3, 8), (0, 2, 1, 20)]
        page = mistakes.table(diagnosed, ["ant", "bee", "cow"]).data
        assert rows_of(page) == [
            ["margin", "ant", "bee", "4 of 20"], ["margin", "bee", "ant", "3 of 8"],
            ["margin", "ant", "cow", "1 of 20"],
        ]  # fmt: skip

    def test_classes_count_alike_in_the_mean_over_them(self):
        """Right of the classes are 80, 75, 100 %, then 70, 50, 100; of images 16, then 14 of 19."""
        diagnosed = [ended(self.FIRST, 0), ended(self.SECOND, 1)]
        page = mistakes.by_class(diagnosed, ["ant", "bee", "cow"]).data
        half = 12.706205 / 2  # of what lies apart by 1
        assert rows_of(page) == [[
            "margin", f"78.95 ± {half * 200 / 19:.2f}", f"79.17 ± {half * 35 / 3:.2f}",
            f"62.50 ± {half * 25:.2f}", "bee",
        ]]  # fmt: skip

    def test_without_a_mistake_that_is_said(self):
        right = [ended([[5, 0], [0, 4]], 0)]
        told = mistakes.table(right, ["a", "b"]).data
        assert told == "No image is misclassified at the last round."


@pytest.mark.parametrize(
    ("name", "title"),
    [("a*b*c", "a b c"), ("<img src=x>", "img src=x"), ("_my_pets_", "my_pets"), ("$$", "images")],
)
def test_no_folder_s_name_is_read_as_markup(tmp_path, name, title):
    assert DATASETS[study_of(str(plain_folder(tmp_path / name, each=30))).dataset].title == title


@pytest.mark.parametrize("profile", ["quick", "smoke"])
def test_the_runs_of_a_profile_are_on_the_example(profile):
    study = profiles.load_study(profile, NOTEBOOK)
    assert DATASETS[study.dataset].title == "example-digits"
