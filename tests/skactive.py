"""What scikit-activeml says of the same candidates, as an independent reference."""

import numpy as np
import torch
from skactiveml.base import SkactivemlClassifier
from skactiveml.utils import MISSING_LABEL


class Given(SkactivemlClassifier):
    """A classifier whose predictions, and those of its T passes, are given beforehand."""

    def __init__(self, passes=None, classes=None, missing_label=MISSING_LABEL):
        super().__init__(classes=classes, missing_label=missing_label)
        self.passes = passes
        self.classes_ = classes

    def fit(self, X, y, sample_weight=None):
        return self

    def predict_proba(self, X):
        return self.passes.mean(0)

    def sample_proba(self, X):
        return self.passes.copy()


def given(probs_T_N_C: torch.Tensor) -> Given:
    """The classifier with these passes."""
    return Given(probs_T_N_C.double().numpy(), np.arange(probs_T_N_C.shape[2]))


def pool(candidates_N_D: torch.Tensor, labelled_M_D: torch.Tensor | None = None):
    """Features and labels as scikit-activeml takes them: candidates first, without a label."""
    labelled = torch.empty(0, candidates_N_D.shape[1]) if labelled_M_D is None else labelled_M_D
    features = torch.cat([candidates_N_D, labelled]).double().numpy()
    labels = np.full(len(features), np.nan)
    labels[len(candidates_N_D) :] = 0
    return features, labels
