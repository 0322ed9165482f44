"""The detector of plain tables is a scikit-learn classifier, and the same detector."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from detector_samples import RAW, fit, proba, quick, sample
from weightfeat.detector.table import TableDetector
from weightfeat.errors import BadRound

DOES_NOT_APPLY = {
    "check_array_api_input": "arrays of other libraries: features are numpy's, and so are trees"
}


def test_it_passes_every_check_of_scikit_learn_that_applies() -> None:
    """Checks are skipped by scikit-learn itself where a tag says so or the environment lacks what they need."""
    found = check_estimator(TableDetector(quick()), on_skip=None, on_fail=None)
    assert len(found) > 50
    missed = {one["check_name"] for one in found if one["status"] != "passed"}
    assert missed <= set(DOES_NOT_APPLY)


def test_it_says_what_the_detector_says() -> None:
    data, new = sample(), sample(30, seed=5)
    relative = [list(data.X.columns).index(name) for name in RAW]
    table = TableDetector(quick(), relative_columns=relative)
    table.fit(data.X.to_numpy(), data.y, **data.places)
    expected = proba(fit(data), new)
    np.testing.assert_array_equal(table.predict_proba(new.X.to_numpy(), **new.places)[:, 1], expected)
    np.testing.assert_array_equal(table.predict(new.X.to_numpy(), **new.places), expected >= 0.5)


def test_it_is_cloned_and_cross_validated_like_any_other() -> None:
    table = clone(TableDetector(quick(), threads=2))
    assert set(table.get_params(deep=False)) == {"params", "relative_columns", "threads"}
    data = sample(60, signal=6.0)
    one = np.array(data.architecture) == "resnet18"
    scores = cross_val_score(table, data.X[one], data.y[one], cv=2, scoring="neg_log_loss")
    assert (scores > -0.69).all()


def test_labels_of_any_kind_come_back() -> None:
    data = sample()
    words = np.array(["clean", "trojaned"])[data.y]
    table = TableDetector(quick()).fit(data.X.to_numpy(), words, **data.places)
    assert set(table.predict(data.X.to_numpy(), **data.places)) == {"clean", "trojaned"}


def test_a_table_without_columns_is_refused_as_a_round_would_be() -> None:
    from weightfeat.detector import Detector, Rows, Samples

    empty = Samples.of_table(Rows.of([], np.empty((4, 0))), [0, 1, 0, 1])
    with pytest.raises(BadRound, match="no features"):
        Detector(quick()).fit(empty)
