"""Everything between labelled digests and a verdict: samples, class evidence, trees, calibration, novelty, storage."""

from weightfeat.detector.background import Background
from weightfeat.detector.classes.models import Suspect
from weightfeat.detector.classes.targets import Target
from weightfeat.detector.detector import Detector
from weightfeat.detector.folds import Fold
from weightfeat.detector.samples import Rows, Samples
from weightfeat.detector.verdict import NAMED_FROM, Verdict

__all__ = ["NAMED_FROM", "Background", "Detector", "Fold", "Rows", "Samples", "Suspect", "Target", "Verdict"]
