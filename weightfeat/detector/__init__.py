"""Feature rows to calibrated probabilities: normaliser, classifier, calibration, novelty, and their storage."""

from weightfeat.detector.estimator import Detector
from weightfeat.detector.learned import Attachment
from weightfeat.detector.novelty import Novelty

__all__ = ["Attachment", "Detector", "Novelty"]
