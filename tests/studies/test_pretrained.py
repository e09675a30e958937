import pandas as pd
import pytest

from alutils.protocol.arms import ARMS
from alutils.protocol.cell import Cell
from alutils.records import tidy
from alutils.reporting import figures, replay
from alutils.reporting.prose import share_of_labels
from alutils.reporting.statistics import estimate
from alutils.studies.beyond import ranking
from alutils.studies.class_balance import ClassBalance
from alutils.studies.pretrained import (
    balance,
    forecast_replay,
    gap,
    low_budget,
    readme_text,
    scratch_comparison,
)
from alutils.studies.pretrained.plan import PretrainedStudy
from tests.studies.made_up import made_up

STUDY = PretrainedStudy(
    profile="smoke", datasets=("cifar10",), seeds=(0, 1, 2),
    few_arms=("random", "margin", "typiclust", "oracle"), few_last=40,
    many_arms=("random", "margin", "oracle"), first_labels=100, acquisition_size=100,
    last_labels=400, imbalances=(10.0,), imbalanced_datasets=("cifar10",), head_counts=(100, 500),
    scratch_datasets=("cifar10",), scratch_counts=(500, 1000, 2000), stop_set=50, candidates=600,
)  # fmt: skip
GAIN = {"random": 0.0, "margin": 2.0, "typiclust": -1.0, "oracle": 5.0}


def accuracy(cell: Cell, labels: int) -> float:
    """Percent; a point a hundred labels, more for the head, and what the arm is worth."""
    at = 40 + labels / 100 + cell.seed
    if cell.encoder == "none":
        return at
    chosen = GAIN[cell.arm] * (1 + 0.1 * cell.seed) if labels > cell.first_labels else 0.0
    return at + 25 + chosen


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> pd.DataFrame:
    """The table of made-up records; a test that changes it takes a copy."""
    rows = made_up(
        STUDY,
        tmp_path_factory,
        lambda cell, labels: {"test_accuracy": accuracy(cell, labels) / 100},
    )
    return tidy.complete_seeds(rows, STUDY.settings())


def less(results: pd.DataFrame, **keys: object) -> pd.DataFrame:
    """The rows without those that have all these values."""
    gone = pd.Series(True, index=results.index)
    for key, value in keys.items():
        gone &= results[key] == value
    return results[~gone]


class TestCompleteSeeds:
    def test_a_seed_that_lacks_an_arm_leaves_where_it_lacks_it_alone(self, results):
        short = less(results, factor="few", level=10.0, arm="margin", seed=1)
        kept = tidy.complete_seeds(short, STUDY.settings())
        seeds = kept.groupby(["factor", "level"])["seed"].agg(set).to_dict()
        every = {0, 1, 2}
        assert seeds == {
            ("few", 1.0): every, ("few", 10.0): {0, 2}, ("many", 1.0): every,
            ("many", 10.0): every, ("head", ""): every, ("scratch", ""): every,
        }  # fmt: skip

    def test_without_a_finished_cell_nothing_is_left(self, results):
        assert tidy.complete_seeds(results.iloc[:0], STUDY.settings()).empty


def changed(results: pd.DataFrame, by: float, **keys: object) -> pd.DataFrame:
    """The rows with so many points more where they have all these values."""
    rows = results.copy()
    rows.loc[(rows[list(keys)] == pd.Series(keys)).all(axis=1), "accuracy"] += by
    return rows


def short(results: pd.DataFrame, others: pd.DataFrame | None = None) -> str:
    return readme_text.short(STUDY, results, pd.DataFrame() if others is None else others)


SCRATCH = (
    "the network trained from scratch with the poster's recipe reaches 61.00 % (58.52 to 63.48, 3 "
    "seeds) with 2,000 random labels"
)


def few_and_many() -> tuple[str, str]:
    """What margin saves in both parts, by hand: where it reaches random's last accuracy."""
    few = [40 / (10 + 10 * 0.3 / (2.1 + 0.2 * seed)) for seed in (0, 1, 2)]
    many = [400 / (100 + 100 * 3 / (3 + 0.2 * seed)) for seed in (0, 1, 2)]
    return share_of_labels(pd.Series(few)), share_of_labels(pd.Series(many))


class TestInShort:
    def test_arms_stand_by_rank_with_where_they_are_shown_to_lie(self, results, monkeypatch):
        monkeypatch.setattr(readme_text, "interim", lambda study: " Interim.")
        text, table = readme_text.text(STUDY, results).split("\n\n")
        assert (
            "EfficientNet-Lite0, all classes complete, 3 paired seeds; few labels are 10 to 40 and "
            "many labels are 100 to 400, with 3 arms and 2 arms, including random." in text
        )
        link = "(../outputs/smoke/09-pretrained-features.ipynb) says by how much, and what there is"
        always = " Shown to lie above random in every column: margin (of the arms that are in all)."
        assert text.endswith(f"{link} to gain.{readme_text.leads(results)}{always} Interim.")
        assert table.split("\n") == [
            "| arm | CIFAR-10, few | many |", "|---|---|---|", "| margin | 1 + | 1 + |",
            "| random | 2 | 2 |", "| TypiClust | 3 - |  |",
        ]  # fmt: skip

    def test_an_arm_that_is_not_above_random_in_some_column_is_not_called_so(self, results):
        weak = changed(results, -20, arm="margin", factor="many")
        assert "in every column" not in readme_text.text(STUDY, weak)
        assert "in every column" not in readme_text.text(STUDY, results[results["seed"] < 2])

    def test_one_seed_has_ranks_and_no_marks(self, results):
        table = readme_text.table(results[results["seed"] == 0])
        assert "| margin | 1 | 1 |" in table and "+" not in table

    def test_without_a_whole_seed_that_is_said(self, results):
        none = results.iloc[:0]
        assert (
            readme_text.text(STUDY, none)
            == "No seed of the profile `smoke` has every arm of 09 yet."
        )
        assert short(none) == short(results[results["seed"] < 2]) == ""

    def test_in_short_the_head_stands_beside_the_network_and_the_first_arm_beside_random(
        self, results
    ):
        """The network ends at 61 %, the head begins at 67: 40 + a hundredth + 1, and 25 more."""
        gain = 2.2 * (10 / 2 + 10 + 10) / 30  # none at 10 labels, 2.2 on average from 20 to 40
        assert short(results) == (
            "A linear layer on frozen features of an encoder trained on ImageNet (which has nearly "
            "all CIFAR-10 classes) reaches 67.00 % on CIFAR-10 with 100 random labels (from "
            "scratch: 61.00 % with 2,000 by the poster's recipe). With 10 to 40 labels, "
            "3 paired seeds, margin lies above random on CIFAR-10 "
            "([ranks](docs/strategies.md#how-they-rank))."
        )
        assert readme_text.leads(results) == (
            " With few labels, the arm with the largest mean gain over random (points of area), "
            f"picked after seeing the results, is margin on CIFAR-10 ({gain:+.2f})."
        )
        assert readme_text.leads(changed(results, -2.2, arm="margin")) == ""
        assert readme_text.leads(results) in readme_text.text(STUDY, results)
        assert readme_text.leads(results[results["seed"] < 2]) == ""

    def test_an_arm_that_is_not_told_from_the_first_stands_beside_it(self, results):
        """Here TypiClust is margin less 0.3 points in one seed, and plus 0.1 in two."""
        margin = results[results["arm"] == "margin"]
        twin = changed(changed(margin, -0.4, seed=0), 0.1).assign(arm="typiclust")
        told = readme_text.leads(pd.concat([results[results["arm"] != "typiclust"], twin]))
        second = "not shown to differ from TypiClust, +1.80"
        assert f"is margin on CIFAR-10 (+1.83; {second})." in told
        worse = pd.concat([results[results["arm"] != "typiclust"], changed(twin, -0.8)])
        assert "is margin on CIFAR-10 (+1.83)." in readme_text.leads(worse)

    def test_the_poster_s_arms_that_lie_on_one_side_everywhere_are_named(self, results):
        two = pd.concat([results, results.assign(dataset="mnist")])
        ranks = "([ranks](docs/strategies.md#how-they-rank))."
        assert short(two).endswith(f"margin lies above random on CIFAR-10 and MNIST {ranks}")
        worse = changed(two, -9, arm="margin", dataset="mnist")
        assert "ranks" not in short(worse)
        four = pd.concat([two, changed(two[two["arm"] == "margin"], -9).assign(arm="kmeans")])
        assert short(four).endswith(
            f"margin lies above random on CIFAR-10 and MNIST, K-means below {ranks}"
        )

    def test_a_head_that_ends_below_the_network_stands_beside_the_labels_it_needs(self, results):
        weak = changed(results, -20, factor="head")
        told = "reaches only 51.00 % on CIFAR-10 with 500 (1,000 from scratch)."
        assert told in short(weak)
        assert (
            "reaches 51.00 % (48.52 to 53.48, 3 seeds) with 500."
            in scratch_comparison.sentences(weak).data
        )
        weak = changed(weak, 5 * 3 / 1000, factor="head", seed=0)  # a mean of 51.005
        rounded = f"{scratch_comparison.head_vs_scratch(weak, 'cifar10').head.mean:.2f} %"
        assert f"reaches only {rounded} on CIFAR-10" in short(weak)
        assert f"reaches {rounded} (" in scratch_comparison.sentences(weak).data

    def test_the_network_from_scratch_stands_beside_its_best_recipe(self, results):
        rungs = {"own": {990: 41, 4990: 60, 20_000: 79}, "3x3 stem": {990: 52, 4990: 77}}
        others = pd.DataFrame(
            {"factor": "recipe", "level": name, "dataset": "cifar10", "seed": seed,
             "labels": labels, "accuracy": accuracy + seed}
            for name, curve in rungs.items()
            for labels, accuracy in curve.items() for seed in (0, 1, 2)
        )  # fmt: skip
        best = "by the poster's recipe, 78.00 % with 4,990 by the best recipe tried)"
        assert best in short(results, others)
        assert "best recipe" not in short(results, others.assign(dataset="mnist"))


class TestWorth:
    def test_what_encoder_and_choosing_are_worth_is_told_dataset_by_dataset(self, results):
        few, many = few_and_many()
        best = (
            "margin has the largest mean area of the arms other than random, and reaches random's"
        )
        assert scratch_comparison.sentences(results, " Interim.", STUDY.scratch_recipe).data == (
            f"- **CIFAR-10**: {SCRATCH}; a linear head on frozen features reaches 67.00 % (64.52 "
            f"to 69.48, 3 seeds) with 100, the fewest of its series; with the recipe of the part "
            f"with few labels, 10 or fewer random labels are enough for 61.00 %, as read off its "
            f"mean curve. From 10 to 40 labels, {best} last accuracy with {few}. From 100 to 400 "
            f"labels, {best} last accuracy with {many}.\n\nInterim."
        )

    def test_another_recipe_than_the_poster_s_is_not_called_by_its_name(self):
        other = STUDY.model_copy(update={"scratch_schedule": "cosine"})
        assert (STUDY.scratch_recipe, other.scratch_recipe) == (
            "the poster's recipe", "a recipe of its own",
        )  # fmt: skip

    def test_fewer_labels_than_the_series_has_are_told_where_the_other_part_has_them(self, results):
        lower = results.copy()
        lower.loc[lower["factor"] == "few", "accuracy"] -= 5.25  # of 66.1 to 66.4 %
        told = "about 25 random labels are enough for 61.00 %, as read off its mean curve."
        assert told in scratch_comparison.sentences(lower).data
        lower.loc[lower["factor"] == "few", "accuracy"] -= 5
        assert (
            "with 100, the fewest of its series. From" in scratch_comparison.sentences(lower).data
        )

    def test_a_saving_that_random_s_own_fit_has_is_told(self, results):
        flat = results.copy()
        random = (flat["factor"] == "few") & (flat["arm"] == "random")
        assert "own fit" not in scratch_comparison.sentences(flat).data
        flat.loc[random & flat["labels"].isin([30, 40]), "accuracy"] = 60
        flat.loc[random & (flat["labels"] < 30), "accuracy"] = 50
        told = "\n\nRandom's own fits reach its last accuracy at 75 to 100 % of its labels."
        assert scratch_comparison.sentences(flat).data.endswith(told)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (-8, "reaches 63.00 % (60.52 to 65.48, 3 seeds) with 500."),
            (-20, "stays below that and reaches 51.00 % (48.52 to 53.48, 3 seeds) with 500."),
        ],
    )
    def test_a_head_that_needs_more_labels_or_never_gets_there_is_said_to(
        self, results, change, expected
    ):
        worse = results.copy()
        worse.loc[worse["factor"] == "head", "accuracy"] += change
        text = scratch_comparison.sentences(worse, recipe=STUDY.scratch_recipe).data
        assert f"{SCRATCH}; a linear head on frozen features {expected} From 10 to 40" in text

    @pytest.mark.parametrize(
        ("factors", "lacking"),
        [
            (["scratch"], "no network was trained from scratch"),
            (["head"], "no run of the head is finished"),
            (["scratch", "head"], "no network was trained from scratch"),
        ],
    )
    def test_without_a_run_to_compare_the_encoder_s_worth_is_not_told(
        self, results, factors, lacking
    ):
        text = scratch_comparison.sentences(results[~results["factor"].isin(factors)]).data
        assert text.startswith(
            f"- **CIFAR-10**: {lacking} on it, so the encoder's worth is not known. From 10 to 40 "
            "labels,"
        )

    def test_an_arm_that_misses_random_s_last_accuracy_saves_in_some_seeds_or_none(self, results):
        worse = results.copy()
        margin = (worse["factor"] == "many") & (worse["arm"] == "margin")
        worse.loc[margin & (worse["seed"] == 1), "accuracy"] -= 20
        reaches = "and reaches random's last accuracy in"
        assert (  # seed 0 needs 200 labels, seed 2 fewer
            f"{reaches} 2 of 3 seeds (median 50 %, 200 labels; seeds that miss it ranked last)."
        ) in scratch_comparison.sentences(worse).data
        worse.loc[margin, "accuracy"] -= 20
        assert f"{reaches} none of 3 seeds." in scratch_comparison.sentences(worse).data

    def test_what_choosing_is_worth_needs_three_seeds(self, results):
        for seeds, told in (
            ((0, 1), "reaches 60.50 % (2 seeds, no interval) with 2,000 random labels"),
            ((0,), "reaches 60.00 % (one seed, no interval) with 2,000 random labels"),
        ):
            text = scratch_comparison.sentences(results[results["seed"].isin(seeds)]).data
            assert told in text and text.endswith("%, as read off its mean curve.")

    def test_the_table_bounds_the_labels_that_the_network_from_scratch_needs(self, results):
        def needed(change: float) -> list[str]:
            rows = results.copy()
            rows.loc[rows["factor"] == "head", "accuracy"] += change
            lines = scratch_comparison.head_table(rows).data.split("<tr>")[1:]
            return [line.rsplit("<td>", 1)[1].split("</td>")[0] for line in lines]

        assert needed(0) == 2 * ["more than 2,000 (61.00 % there)"]
        assert needed(-16) == ["1,000", "1,400"]
        assert needed(-24) == ["500 or fewer", "600"]
        lines = scratch_comparison.head_table(less(results, factor="scratch")).data
        assert lines.count("<td>not trained</td>") == 2
        assert "<td>67.00 (64.52 to 69.48, 3 seeds)</td>" in lines

    def test_the_figure_shows_what_there_is(self, unpainted, results):
        picture = scratch_comparison.figure(results)
        assert picture.caption.endswith(
            "and for the network trained from scratch on random labels; the parts with few and "
            "with many labels have recipes and labels of their own. Mean, 95 % t interval (clipped "
            "at the axes) and individual lines of 3 paired seeds."
        )
        assert picture.alt == (
            "Learning curves. CIFAR-10, few labels: the head on random labels ends at 66.4 % with "
            "40; CIFAR-10, many labels: the head on random labels ends at 70.0 % with 400."
        )
        short = results[~((results["factor"] == "few") & (results["seed"] == 2))]
        assert (
            "individual lines of 2 to 3 paired seeds." in scratch_comparison.figure(short).caption
        )
        without = scratch_comparison.figure(less(less(results, factor="scratch"), factor="many"))
        assert "scratch" not in without.caption
        assert without.alt == (
            "Learning curves. CIFAR-10, few labels: the head on random labels ends at 66.4 % with "
            "40."
        )

    def test_arms_have_the_colours_of_every_figure_and_one_entry_in_the_legend(self, results):
        (panel,) = scratch_comparison._drawn(results, ["cifar10"]).axes
        legend = panel.get_legend()
        assert [text.get_text() for text in legend.get_texts()] == [
            "from scratch, random labels", "frozen features, random labels",
            "frozen features, margin",
        ]  # fmt: skip
        assert [line.get_color() for line in legend.get_lines()] == [
            figures.OTHER_STYLES[0][0], ARMS["random"].colour, ARMS["margin"].colour,
        ]  # fmt: skip

    def test_rare_classes_and_nothing_at_all_are_no_ranking(self, results):
        rare = results[results["level"] == 10.0]
        for rows in (rare, results.iloc[:0]):
            assert (
                scratch_comparison.figure(rows).data
                == scratch_comparison.sentences(rows).data
                == scratch_comparison.NO_SEED
            )
        assert scratch_comparison.head_table(rare).data == "The head has no finished run yet."


class TestGap:
    def test_what_is_gained_is_paired_by_seed(self, results):
        """After the first of four label counts: areas gain 5/6 of what accuracies do."""
        few, many, *rare = gap.gaps(results)
        assert [(each.part, each.imbalance) for each in rare] == [("few", 10.0), ("many", 10.0)]
        assert [(each.part, each.dataset, each.best) for each in (few, many)] == [
            ("few", "cifar10", "margin"), ("many", "cifar10", "margin"),
        ]  # fmt: skip
        gains = [1 + 0.1 * seed for seed in (0, 1, 2)]
        for value, times in ((few.best_gain, 2), (few.oracle_gain, 5), (few.gap, 3)):
            expected = estimate([times * 5 / 6 * gain for gain in gains])
            assert (value.mean, value.low, value.high) == pytest.approx(
                (expected.mean, expected.low, expected.high)
            )
        assert (few.share.mean, few.share.low, few.share.high) == pytest.approx((40, 40, 40))
        page = gap.table(gap.gaps(results)).data
        assert "<td>+4.58 (+3.55 to +5.62, 3 seeds)</td>" in page
        assert page.count("<td>40.00 % (40.00 to 40.00, 3 seeds)</td>") == 4
        assert "<td>CIFAR-10, many labels, 1 : 10</td>" in page

    def test_a_share_is_told_only_where_the_oracle_is_shown_to_gain(self, results):
        unsure = scratch_comparison.without_imbalance(results).copy()
        oracle = (unsure["factor"] == "few") & (unsure["arm"] == "oracle")
        unsure.loc[oracle & (unsure["seed"] == 0), "accuracy"] -= 8
        rows = gap.table(gap.gaps(unsure)).data.split("<tr>")[1:]
        told = ["is not shown to gain" in row for row in rows]
        assert told == [True, False] and "40.00 %" in rows[1]
        beaten = scratch_comparison.without_imbalance(results).copy()
        chosen = (beaten["factor"] == "few") & (beaten["arm"] == "margin")
        beaten.loc[chosen, "accuracy"] += 10
        rows = gap.table(gap.gaps(beaten)).data.split("<tr>")[1:]
        share = gap.gaps(beaten)[0].share.mean
        assert share > 100 and f"<td>{share:.2f} % (" in rows[0]
        assert gap.sentences(gap.gaps(beaten)).data == (
            "The oracle is shown to gain over random in 2 of 2 rankings. There, the arm with the "
            f"largest mean area, random aside, achieves 40 to {share:.0f} % of the oracle's gain, "
            "above 100 % in 1 of 2: a greedy oracle that looks at only part of the pool is not an "
            "upper bound."
        )
        few = [each for each in gap.gaps(beaten) if each.part == "few"]
        assert "in 2 of 2, all with few labels: a greedy" in gap.sentences(2 * few).data
        assert gap.sentences(gap.gaps(results)).data.endswith("achieves 40 % of the oracle's gain.")
        assert "gain over random in 1 of 2 rankings. The" in gap.sentences(gap.gaps(unsure)).data
        alone = gap.table(gap.gaps(results[results["seed"] == 0])).data
        assert alone.count("needs 3 seeds") == 4 and "nan" not in alone

    def test_the_oracle_is_in_no_test(self, results):
        without = less(results, arm="oracle")
        for part in ("few", "many"):
            assert (
                scratch_comparison.best_arm(scratch_comparison.rows_of(results, part, "cifar10"))
                == "margin"
            )
            assert ranking.sentences(results[results["level"] == 1.0], part).data == (
                ranking.sentences(without[without["level"] == 1.0], part).data
            )
        assert gap.table(gap.gaps(without)).data == "No seed has the oracle and every arm."


def shares(**by_arm: list[float]) -> pd.DataFrame:
    return pd.DataFrame(by_arm)


class TestBalance:
    ROWS = shares(
        random=[5.0, 6.0, 7.0], margin=[20.0, 21.0, 22.5], coreset=[1.0, 2.0, 2.9],
        badge=[5.0, 6.5, 6.8], oracle=[30.0, 30.0, 30.0],
    )  # fmt: skip

    def test_arms_that_ask_for_rare_classes_more_or_less_often_are_named(self):
        each = balance.Balance("few", "cifar10", 10.0, self.ROWS, 6.25)
        assert balance.sentences([each]).data == (
            "- CIFAR-10, few labels, 1 : 10, 3 paired seeds (paired t tests at 5 %, Holm-corrected "
            "for 3 arms): margin selects images of the 3 rarest classes more often, and CoreSet "
            "selects them less often than random."
        )

    def test_several_arms_and_none_are_told_in_sentences_too(self):
        two = self.ROWS[["random", "margin", "oracle"]].assign(badge=[20.0, 22.0, 22.0])
        none = self.ROWS[["random", "badge"]]
        lines = balance.sentences(
            [balance.Balance("many", "mnist", 100.0, rows, 2.0) for rows in (two, none)]
        ).data.splitlines()
        assert lines == [
            "- MNIST, many labels, 1 : 100, 3 paired seeds (paired t tests at 5 %, Holm-corrected "
            "for 2 arms): margin and BADGE select images of the 3 rarest classes more often than "
            "random.",
            "- MNIST, many labels, 1 : 100, 3 paired seeds (paired t tests at 5 %): no arm is "
            "shown to select images of the 3 rarest classes more or less often than random.",
        ]

    def test_two_seeds_are_in_the_table_and_in_no_test(self):
        each = balance.Balance("few", "cifar10", 10.0, self.ROWS.iloc[:2], 6.25)
        assert balance.sentences([each]).data == "A test needs 3 seeds with every arm."
        page = balance.table([each]).data
        assert "<th>CIFAR-10, few labels, 1 : 10</th>" in page
        for name, cell in (
            ("the pool", "6.25"), ("random", "5.50 ± 6.35"),
            ("oracle (sees labels)", "30.00 ± 0.00"),
        ):  # fmt: skip
            assert f"<td>{name}</td>\n      <td>{cell}</td>" in page
        assert balance.sentences([]).data == "A test needs 3 seeds with every arm."
        assert balance.table([]).data == "No seed has every arm on an imbalanced pool."

    def test_shares_are_those_of_seeds_with_every_arm(self, monkeypatch):
        """Seed 2 lacks an arm with few labels, so that its pool does not count there either."""
        cells = [cell for cell in STUDY.cells() if cell.imbalance > 1]
        there = [c for c in cells if (c.rounds, c.arm, c.seed) != (4, "typiclust", 2)]
        monkeypatch.setattr(
            balance,
            "finished_records",
            lambda store, some: [(c, {"rounds": [c]}) for c in there if c in some],
        )

        def counted(cell, rounds, labels_N):
            assert rounds == [cell] and labels_N == "labels of CIFAR-10"
            rare = 10 * (cell.arm == "margin") + cell.seed
            return ClassBalance((0, 1, 2, 3), (90 - cell.seed, 4, 3, 3 + cell.seed),
                                (100 - rare, 0, 0, rare))  # fmt: skip

        monkeypatch.setattr(balance, "class_balance", counted)
        few, many = balance.balances(STUDY, {"cifar10": "labels of CIFAR-10"})
        assert (few.part, few.dataset, few.imbalance) == ("few", "cifar10", 10.0)
        assert list(few.shares.columns) == list(STUDY.few_arms)
        assert few.shares["margin"].to_dict() == {0: 10.0, 1: 11.0}
        assert many.shares["margin"].to_dict() == {0: 10.0, 1: 11.0, 2: 12.0}
        assert many.shares["random"].to_dict() == {0: 0.0, 1: 1.0, 2: 2.0}
        assert (few.pool, many.pool) == (10.5, 11.0)

    def test_an_arm_that_is_nowhere_finished_leaves_nothing(self, monkeypatch):
        monkeypatch.setattr(balance, "finished_records", lambda store, cells: [])
        assert balance.balances(STUDY, {}) == []


def forecast(reach: int, kind: str, covered: bool, part: str = "few", **changes) -> dict:
    """A row of a replayed forecast whose truth, 10 labels, lies in 5 to 15 or below them."""
    numbers = {"more": 12.0, "low": 5.0 if covered else 11.0, "high": 15.0}
    row = dict.fromkeys(replay.FORECASTS, 0) | numbers | {"dataset": "mnist", "part": part}
    row |= {"ahead": reach, "truth": 10.0, "kind": kind, "covered": covered and not kind}
    row["reach"] = list(forecast_replay.AHEAD)[(reach > 1) + (reach > 3)]
    return row | changes


class TestForesight:
    def test_forecasts_are_grouped_by_how_far_ahead_they_look(self, monkeypatch):
        ahead = pd.DataFrame({"ahead": [1, 2, 3, 4, 30], "factor": 3 * ["few"] + 2 * ["many"]})
        monkeypatch.setattr(replay, "replay_forecasts", lambda rows, *_: rows)
        replayed = forecast_replay.forecasts(ahead, STUDY.measured_on)
        assert replayed["part"].tolist() == 3 * ["few"] + 2 * ["many"]
        assert replayed["reach"].tolist() == [
            "in the next round", *2 * ["2 or 3 rounds ahead"], *2 * ["4 or more rounds ahead"],
        ]  # fmt: skip

    def test_a_part_that_is_too_short_is_left_out(self, results):
        """Four rounds are too few for a forecast; the other part is made longer."""
        longer = results.copy()
        longer = longer[longer["arm"] == "random"]
        further = longer[longer["factor"] == "many"]
        further = further.assign(labels=further["labels"] + 400, accuracy=further["accuracy"] + 4)
        replayed = forecast_replay.forecasts(
            forecast_replay.replayable_rows(pd.concat([longer, further]), ("random", "margin")),
            STUDY.measured_on,
        )
        assert set(replayed["part"]) == {"many"} and len(replayed) == 3 * (3 + 2 + 1)
        assert set(replayed["reach"].value_counts().items()) == {
            ("in the next round", 9), ("2 or 3 rounds ahead", 9), ("4 or more rounds ahead", 0),
        }  # fmt: skip

    def test_a_study_without_parts_names_none(self, results):
        held = [forecast(1, "", True, part="", seed=i, record=i) for i in range(3)]
        text = forecast_replay.coverage_sentence(pd.DataFrame(held)).data
        assert "contain the truth this often: 100 % on MNIST (median width 1.0 times" in text
        assert "<th>labels</th>" not in forecast_replay.coverage_table(pd.DataFrame(held)).data
        one = results[results["factor"] == "few"].assign(factor="")
        page = forecast_replay.stopping_table(forecast_replay.stops(one, STUDY.measured_on)).data
        assert "<th>labels</th>" not in page and "<td>measured gain</td>" in page

    def test_replayed_are_some_arms_with_the_classes_as_they_are(self, results):
        rows = forecast_replay.replayable_rows(results, ("random", "margin"))
        assert set(rows["factor"]) == {"few", "many"} and set(rows["level"]) == {1.0}
        assert set(rows["arm"]) == {"random", "margin"} and len(rows) == 2 * 2 * 3 * 4

    def test_coverage_is_told_by_dataset_and_part(self):
        held = [forecast(1, "", True, seed=i % 3, record=i % 3) for i in range(9)]
        held += [forecast(2, "", False)]
        refused = [forecast(5, "far", False), forecast(1, "far", False, "many")]
        text = forecast_replay.coverage_sentence(pd.DataFrame(held + refused)).data
        assert text == (
            "Of 12 requested forecasts, 10 were given as a number, on 3 runs of 3 seeds. Their "
            "95 % intervals contain the truth this often: 90 % on MNIST with few labels (median "
            "width 1.0 times the truth; 91 % of those requested were given). Coverage is nowhere "
            "more than 5 points short. Forecasts of one run are not independent of each other, nor "
            "are runs of one seed."
        )
        short = [forecast(1, "", False, "many")]
        text = forecast_replay.coverage_sentence(pd.DataFrame(held + refused + short)).data
        assert "91 % of those requested were given) and 0 % on MNIST with many labels (" in text
        assert "Coverage falls short on MNIST with many labels. Forecasts" in text
        wide = [row for row in held if row["covered"]]
        told = forecast_replay.coverage_sentence(pd.DataFrame(wide)).data
        assert " Intervals are wider than 95 % requires on MNIST with few labels. F" in told
        wide += [row | {"dataset": "cifar10"} for row in wide]
        told = forecast_replay.coverage_sentence(pd.DataFrame(wide + short)).data
        assert "Coverage falls short on MNIST with many labels. Intervals are wider" in told
        assert " Intervals are wider than 95 % requires with few labels. F" in told
        one_seed = pd.DataFrame(held + refused + short).assign(seed=0)
        assert "A verdict needs 3 seeds." in forecast_replay.coverage_sentence(one_seed).data

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([], "No run is long enough for a forecast."),
            ([forecast(1, "far", False)], "Of 1 requested forecast, none could be given as a"),
            ([forecast(1, "", True)], "Of 1 requested forecast, 1 was given as a number, on"),
        ],
    )  # fmt: skip
    def test_few_forecasts_are_counted_in_words_that_fit(self, rows, expected):
        replayed = pd.DataFrame(rows, columns=[*replay.FORECASTS, "part", "reach"])
        assert forecast_replay.coverage_sentence(replayed).data.startswith(expected)

    def test_the_table_of_forecasts_leaves_blank_what_was_not_given(self):
        rows = [forecast(1, "", True), forecast(1, "", False), forecast(2, "far", False)]
        page = forecast_replay.coverage_table(pd.DataFrame(rows)).data
        lines = [[cell.split("</td>")[0] for cell in row.split("<td>")[1:]]
                 for row in page.split("<tr>")[1:]]  # fmt: skip
        assert lines == [
            ["few", "MNIST", "2 or 3 rounds ahead", "1", "0", "", "", "", "", ""],
            ["few", "MNIST", "in the next round", "2", "100", "50", "0", "50", "0.20", "0.70"],
        ]

    def test_without_results_nothing_is_replayed(self, results):
        none = forecast_replay.replayable_rows(results.iloc[:0], ("random",))
        replayed = forecast_replay.forecasts(none, STUDY.measured_on)
        assert list(replayed.columns) == [*replay.FORECASTS, "part", "reach"] and replayed.empty
        assert (
            forecast_replay.coverage_table(replayed).data == "No run is long enough for a forecast."
        )
        stops = forecast_replay.stops(none, STUDY.measured_on)
        assert forecast_replay.stopping_table(stops).data == "There is no run to be stopped."
        told = (
            forecast_replay.coverage_sentence(replayed, "Now."),
            forecast_replay.stopping_sentence(stops, "Now."),
        )
        assert [each.data for each in told] == [
            "No run is long enough for a forecast.\n\nNow.",
            "There is no run to be stopped.\n\nNow.",
        ]

    def test_stopping_rules_read_what_the_records_hold(self, results):
        """Predictions never change, the pool is certain at the end, no bound is low."""
        first, last = (results["labels"].isin(ends) for ends in ((10, 100), (40, 400)))
        facts = results.assign(kappa=1.0, pool_entropy=1.0, error_bound=9.0)
        facts.loc[first, ["kappa", "error_bound"]] = float("nan")
        facts.loc[last, "pool_entropy"] = 0.0
        stops = forecast_replay.stops(
            forecast_replay.replayable_rows(facts, ("random", "margin")), STUDY.measured_on
        )
        page = forecast_replay.stopping_table(stops).data
        rows = {}
        for row in page.split("<tr>")[1:]:
            part, _, rule, *values = [cell.split("</td>")[0] for cell in row.split("<td>")[1:]]
            rows[part, rule] = values
        assert rows["many", "stabilising predictions"] == ["6", "100", "0", "100", "0.00"]
        assert rows["many", "overall uncertainty"] == ["6", "100", "0", "100", "0.00"]
        assert {rule for _, rule in rows} == set(replay.RULES) - {"expected-error difference"}
        assert len(rows) == 2 * 3 and rows["many", "measured gain"] == ["6", "0", "0", "", ""]
        none = forecast_replay.stopping_table(stops[stops["rule"] == "expected-error difference"])
        assert none.data == "No rule stops a run."
        told = forecast_replay.stopping_sentence(stops, "Now.")
        assert told.data.startswith(
            "Of 12 runs, stabilising predictions stops 100 %; overall uncertainty stops 100 %; "
            "measured gain stops 25 %; expected-error difference (lowest bound 9.0 points, needs "
            "below 0.5) stops none. The cost of a rule says little if it seldom stops a run:"
        )
        assert told.data.endswith("counts as stopped at its end.\n\nNow.")
        unsure = results.assign(kappa=0.98, pool_entropy=0.5)
        unsure.loc[first, "kappa"] = float("nan")
        none = forecast_replay.stopping_sentence(
            forecast_replay.stops(unsure, STUDY.measured_on)
        ).data
        assert "stabilising predictions (largest mean kappa of 3 rounds 0.980, needs 0.99)" in none
        assert "(lowest 0.217 of a uniform guess's entropy, needs below 0.05)" in none


class TestStarters:
    def test_they_are_held_against_random_and_margin(self, results):
        assert low_budget.sentences(results).data == (
            "- **CIFAR-10**, 3 paired seeds: TypiClust is below random (corrected for all arms); "
            "TypiClust is below margin (95 % intervals, not corrected)."
        )
        (typiclust,) = low_budget.starts(results)
        assert typiclust.to_random.difference.mean == pytest.approx(-1.1 * 2.5 / 3)
        assert typiclust.to_margin.mean == pytest.approx(-3.3 * 2.5 / 3)

    def test_an_undecided_difference_is_called_that(self, results):
        arm = results["arm"] == "typiclust"
        noise = results["seed"].map({0: -3.0, 1: 0.0, 2: 3.0})
        noisy = results.assign(
            accuracy=results["accuracy"].where(~arm, results["accuracy"] + noise)
        )
        assert "TypiClust is not shown to differ from random" in low_budget.sentences(noisy).data

    def test_without_margin_or_seeds_nothing_is_said(self, results):
        assert low_budget.sentences(less(results, arm="margin")).data == low_budget.NONE
        two = less(results, seed=2)
        assert low_budget.sentences(two).data == "A test needs 3 seeds with every arm."
