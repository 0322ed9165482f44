"""A type of argument that two benchmarks share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from weightfeat.metaparameters import Metaparameters


def metaparameter_change(text: str) -> dict[str, Any]:
    """`METAPARAMETER=VALUE,METAPARAMETER=VALUE` with JSON values."""
    changed = {}
    for part in text.split(","):
        name, found, value = part.partition("=")
        if not found or name not in Metaparameters.names():
            raise argparse.ArgumentTypeError(f"{part!r} is not METAPARAMETER=VALUE")
        try:
            changed[name] = json.loads(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{part!r} has no JSON value") from None
    return changed
