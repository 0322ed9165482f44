"""Measuring a detector: the scorer's metrics, folds, cross-validation, strata, controls, reports, search."""
