"""Supervision by classes: METADATA names each trojan's target, so every class of every network is an example."""

from weightfeat.classmodel.evidence import NAMED_FROM, ClassEvidence, Suspect
from weightfeat.classmodel.rows import ClassRows, class_rows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.summary import NAMES, ODDS
from weightfeat.classmodel.targets import Target, targets_of
from weightfeat.features.classes import READ

__all__ = [
    "NAMED_FROM",
    "NAMES",
    "ODDS",
    "READ",
    "ClassEvidence",
    "ClassRows",
    "ClassSettings",
    "Suspect",
    "Target",
    "class_rows",
    "targets_of",
]
