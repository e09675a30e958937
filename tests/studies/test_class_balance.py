import math

import pytest

from alutils.learning import data
from alutils.running.round import new_pool
from alutils.studies.class_balance import class_balance

LABELS = data.load("digits").train_labels


def test_picks_are_counted_from_the_most_frequent_class_to_the_rarest(digits_cell):
    cell = digits_cell(imbalance=20.0, seed=3)
    pool = new_pool(cell).unlabelled
    by_class = LABELS[pool].bincount()
    rarest = int(by_class.argmin())
    picks = pool[LABELS[pool] == rarest].tolist()
    others = pool[LABELS[pool] == int(by_class.argmax())][:6].tolist()
    balance = class_balance(cell, [{"picks": others}, {"picks": picks}, {"picks": []}], LABELS)
    assert (balance.classes[0], balance.classes[-1]) == (int(by_class.argmax()), rarest)
    assert list(balance.pool) == sorted(by_class.tolist(), reverse=True)
    assert sum(balance.pool) == cell.pool_size("digits")
    assert balance.picks == (6, *[0] * 8, len(picks))
    assert balance.rare_in_picks == len(picks) / (6 + len(picks))
    assert balance.rare_in_pool == sum(balance.pool[-3:]) / sum(balance.pool)


def test_all_of_the_pool_has_the_pool_s_shares(digits_cell):
    cell = digits_cell(imbalance=10.0)
    balance = class_balance(cell, [{"picks": new_pool(cell).unlabelled.tolist()}], LABELS)
    assert balance.picks == balance.pool and balance.rare_in_picks == balance.rare_in_pool


def test_without_imbalance_the_pool_is_what_the_seed_held_out_of_all(digits_cell):
    cell = digits_cell()
    balance = class_balance(cell, [], LABELS)
    counts = LABELS[new_pool(cell).unlabelled].bincount().tolist()
    order = sorted(range(10), key=lambda label: (-counts[label], label))
    assert list(balance.classes) == order and balance.picks == (0,) * 10
    assert math.isnan(balance.rare_in_picks)
    assert balance.rare_in_pool == pytest.approx(0.3, abs=0.02)
