"""Feature rows to calibrated probabilities: normaliser, classifier, calibration, novelty, and their storage."""

from weightfeat.detector.estimator import Detector
from weightfeat.detector.novelty import Novelty

__all__ = ["Detector", "Novelty"]
