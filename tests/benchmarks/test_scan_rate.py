"""The benchmark of scans makes networks that are analysed, and divides what it measured."""

from __future__ import annotations

from pathlib import Path

import scan_rate
from weightfeat.rounds.extraction import digest_file


def test_its_networks_differ_and_can_be_digested(tmp_path: Path) -> None:
    paths = scan_rate.make(tmp_path, 3)
    digests = [digest_file(path, device="cpu", blocks=("head",))[0] for path in paths]
    assert len({digest.key for digest in digests}) == 3
    assert {digest.num_classes for digest in digests} == {scan_rate.CLASSES}


def test_a_rate_is_files_over_seconds() -> None:
    text = scan_rate.report(1000, scan_rate.Spent(40.0, 80.0), 10, scan_rate.Spent(20.0, 15.0), 2)
    assert "| one scan, 2 processes | 1000 | 40.0 | 25.00 | 0.080 |" in text
    assert "| a process a file | 10 | 20.0 | 0.50 | 1.500 |" in text
