"""WeightWatcher's default analysis of a network, without what it prints."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch


def watcher(network: torch.nn.Module) -> Callable[[], Any]:
    """The analysis, to be run as often as wanted: a table (pandas) a run, a row a layer. The package is loaded here."""
    with _quiet():
        import weightwatcher

        logging.getLogger("weightwatcher").setLevel(logging.ERROR)

    def analyse() -> Any:
        with _quiet():
            return weightwatcher.WeightWatcher(model=network).analyze()

    return analyse


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
