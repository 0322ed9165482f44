"""Verdicts for whoever must decide: text, JSON, SARIF, CycloneDX, markdown, a page."""

from weightfeat.report.formats import FORMATS, Format, by_suffix
from weightfeat.report.types import Acceptance, Entry, Heading, Report, Threshold

__all__ = ["FORMATS", "Acceptance", "Entry", "Format", "Heading", "Report", "Threshold", "by_suffix"]
