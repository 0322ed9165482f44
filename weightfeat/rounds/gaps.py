"""What METADATA leaves unsaid that learning from a labelled set, or measuring on it, would need."""

from __future__ import annotations

import logging

from weightfeat.evaluation.silence import said
from weightfeat.evaluation.trojans import TARGET_COLUMNS
from weightfeat.rounds.configs import CONFIG_FILE
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.labelled import GROUP_COLUMNS, LabelledSet

__all__ = ["warn_of_gaps"]

logger = logging.getLogger(__name__)

SEED_COLUMN = "master_seed"
"""The column of GROUP_COLUMNS that a round has without anybody having thought of copies."""


def warn_of_gaps(labelled: LabelledSet) -> None:
    """A warning where trojaned networks name no target, and one where nothing says which networks belong together."""
    trojaned = sum(labelled.labels)
    named = sum(any(trojan.target is not None for trojan in trojans) for trojans in labelled.trojans)
    if named < trojaned:
        lost = "class evidence cannot be learned" if not named else "the others teach no class evidence"
        columns = f"{', '.join(TARGET_COLUMNS)} in {METADATA_FILE}, and {CONFIG_FILE}"
        logger.warning(
            "%d of %d trojaned networks name their target: %s; looked for %s", named, trojaned, lost, columns
        )
    if not _says_what_belongs_together(labelled):
        logger.warning(
            "no two networks are said to belong together (%s): those that began as copies of one may fall on both "
            "sides of a fold, which makes what is measured too good; name what must stay together in column %s",
            *(", ".join(GROUP_COLUMNS), GROUP_COLUMNS[0]),
        )


def _says_what_belongs_together(labelled: LabelledSet) -> bool:
    """Whether two networks share a group, or whoever wrote METADATA has said of some that they do not.

    Seeds of the training say nothing of that where each is another one: fine-tuned copies have their own, too.
    """
    told = [column for column in GROUP_COLUMNS if column != SEED_COLUMN]
    spoken = any(said(row.get(column, "")) for row in labelled.rows for column in told)
    return spoken or len(set(labelled.groups)) < len(labelled.names)
