"""Processes and progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightfeat.detector.out_of_fold import Progress


def workers(jobs: int) -> int:
    """Processes to use: one a core where `jobs` is below one."""
    from joblib import cpu_count

    return jobs if jobs > 0 else int(cpu_count())


@contextmanager
def progress_bar(what: str, unit: str, shown: bool) -> Iterator[Progress]:
    """A progress bar, as the `(done, total)` callback that evaluation calls."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, disable=not shown, dynamic_ncols=True) as shown_bar:

        def advance(done: int, total: int) -> None:
            shown_bar.total = total
            shown_bar.update(done - shown_bar.n)

        yield advance
