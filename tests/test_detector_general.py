"""The general model: what it reads, what it learns from several origins, and what it says of the next."""

from __future__ import annotations

from weightfeat.detector.classes.rows import CLASS_COLUMNS
from weightfeat.detector.general.numbers import TOGETHER

AT = [CLASS_COLUMNS.index(name) for name in TOGETHER]
