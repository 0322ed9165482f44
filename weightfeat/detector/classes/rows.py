"""Every class of a network as a row of statistics, and what the rows of its pairs are made from. No label is seen here.

A row holds differences from the network's mean class. Statistics that grow with the head are measured in the
head's own unit (`statistics.unit`): a head multiplied by a number answers as before, and has the same rows. What a
large difference is, `scales` decides: among the few classes of one network their own spread is too uncertain a measure.

Columns of a class are those of `features.classes` and:

- the head table's remaining statistics; latents: log second-place shares, deviations of the logit, and for `through`
  the winning margin (of the other kinds it is a mean of few draws that a second draw does not confirm: experiment 24)
- `exclusive`: how much more the channels of most evidence weigh for the class than for its nearest rival;
  `carrier`: largest Lipschitz constant among them; `threshold`: least centre / spread among them
- `rare`: share of the evidence through channels seldom active (P < 0.15): a trigger is seldom there;
  `rare_peak`: the largest weight x spread x P(inactive) of one channel
- `through_mean`, `through_positive`, `through_carriers`: of the class's row of the head multiplied with the layer that
  feeds it: mean, share of inputs that speak for the class, log of the number of inputs that carry what speaks for it;
  unknown where several layers feed the head
- `tie`, `tie_composed`, `tie_active`: first less second cosine with the other classes' centred rows, of the head,
  through the feeding layer, through its usually active channels
- `switch`, `rare_switch`: largest over other classes of the pair columns (`pairs`)

and `log_classes`, which is no difference and has the scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from weightfeat.detector.classes import statistics
from weightfeat.detector.classes.pairs import PAIR_COLUMNS, PAIR_OWN, SWITCHES, Pairs, spread_targets
from weightfeat.digest import Digest
from weightfeat.digest.head import STATISTICS
from weightfeat.digest.latent_law import LatentLaw
from weightfeat.digest.latents import KINDS
from weightfeat.features.classes import COLUMNS, TARGETWARD, centred_cosines, raw_table
from weightfeat.features.cycles import CYCLE_COLUMNS, cycle_numbers
from weightfeat.features.places import place_table
from weightfeat.features.summaries import Array, centred, robust_scale

_HALF = 2e-3
"""Relative difference that half precision leaves."""
_HEAD = ("min", "kurtosis", "negative_sum", "top_share", "cosine_min", "evidence_top_share")
_TOP = ("exclusive", "carrier", "threshold")
_RARE = ("rare", "rare_peak")
_THROUGH = ("through_mean", "through_positive", "through_carriers")
_GRAMS = ("gram", "composed", "composed_active")
_TIES = ("tie", "tie_composed", "tie_active")
CLASS_COLUMNS = (
    *COLUMNS,
    *_HEAD,
    *(f"second.{kind}" for kind in KINDS),
    "margin.through",
    *(f"deviation.{kind}" for kind in KINDS),
    *_TOP,
    *_RARE,
    *_THROUGH,
    *_TIES,
    *SWITCHES,
    "log_classes",
)
_GROWS = (
    "mean", "norm", "centred_norm", "std", "max", "min", "bias", "positive_sum", "negative_sum", "evidence",
    "inhibition", "composed_norm", "composed_active_norm", "through_mean",
    *(f"{moment}.{kind}" for moment in ("logit", "deviation") for kind in KINDS),
)  # fmt: skip
_GROWING = [CLASS_COLUMNS.index(name) for name in _GROWS]
_TARGETWARD = [CLASS_COLUMNS.index(name) for name in TARGETWARD]


@dataclass(frozen=True, eq=False)
class ClassRows:
    """What class models are learned from and judge.

    Attributes
    ----------
    architecture, family : whose networks' scales these rows are measured with, and whose coefficients.
    normed : whether the law of the head's inputs is a batch norm's.
    classes : (C, len(CLASS_COLUMNS)), finite.
    class_scale : robust scales, within this network alone, of these columns; 0 where all values are alike.
    pairs : what rows of ordered pairs are made from.
    places : (C, len(PLACE_COLUMNS)), of every class by what speaks for it at single places of the image.
    cycle : (len(CYCLE_COLUMNS),), how far each class is tied to the next.
    """

    architecture: str
    family: str
    normed: bool
    classes: Array
    class_scale: Array
    pairs: Pairs
    places: Array
    cycle: Array = field(default_factory=lambda: np.zeros(len(CYCLE_COLUMNS)))

    @property
    def count(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def pair_rows(self, targets: list[int]) -> Array:
        """(targets, C, len(PAIR_COLUMNS)), finite; zeros for a class with itself."""
        own = self.pairs.differences(targets)
        rows = np.zeros((len(targets), self.count, len(PAIR_COLUMNS)))
        at, wide = len(PAIR_OWN), len(TARGETWARD)
        rows[:, :, :at] = own
        rows[:, :, at : at + wide] = self.classes[targets][:, None, _TARGETWARD]
        rows[:, :, at + wide : -1] = self.classes[None, :, _TARGETWARD]
        rows[:, :, -1] = np.log(self.count)
        rows[np.arange(len(targets)), targets] = 0.0
        return rows

    @cached_property
    def learned_pairs(self) -> Array:
        """`pair_rows` of the targets that are learned from, `spread_targets`: kept, for every fold asks for them."""
        return self.pair_rows(spread_targets(self.count))


def class_rows(digest: Digest) -> ClassRows:
    """From a digest alone."""
    head = digest.blocks["head"]
    centre, spread = head["centre"].astype(np.float64), head["spread"].astype(np.float64)
    law = LatentLaw(centre, spread, np.ones(len(centre), np.bool_))
    inactive = 1 - law.active
    matrix = head["matrix"].astype(np.float64)
    unit = statistics.unit(matrix * spread)
    matrix /= unit
    switches = statistics.switches(matrix, inactive)
    raw = np.concatenate(
        [
            raw_table(digest),
            head["table"][:, [STATISTICS.index(name) for name in _HEAD]],
            statistics.latents(digest),
            statistics.top(head["top"].astype(np.float64)),
            statistics.rare(matrix, law.mean, inactive, spread),
            statistics.through(head["through"].astype(np.float64)),
            np.stack(
                [statistics.tie(centred_cosines(head[name])) for name in _GRAMS],
                1,
            ),
            np.stack([statistics.off_diagonal(s).max(axis=1, initial=-1e3) for s in switches], 1),
        ],
        axis=1,
    )
    raw[:, _GROWING] /= unit
    differences, scale = _differences(raw)
    classes = np.pad(differences, ((0, 0), (0, 1)), constant_values=np.log(digest.num_classes))
    # Without a batch norm a channel's spread is that of its row: `digest.latent_law`.
    normed = not np.allclose(head["spread"], head["row_norm"], rtol=_HALF)
    grams = [head[name] for name in _GRAMS]
    pairs = Pairs.of(grams, digest.blocks["latents"]["runner_up"], switches)
    own, scales = (digest.architecture, digest.family, normed), np.append(scale, 1.0)
    return ClassRows(*own, classes, scales, pairs, place_table(digest), cycle_numbers(digest))


def full_pair_scale(own: Array, class_scale: Array) -> Array:
    """One scale for each of `PAIR_COLUMNS`, from those of the pairs' own columns and those of `CLASS_COLUMNS`."""
    targetward = class_scale[_TARGETWARD]
    return np.concatenate([own, targetward, targetward, [1.0]])


def _differences(raw: Array) -> tuple[Array, Array]:
    """Columns less their means, and their robust scales; what is unknown of a row is its column's lowest known value,
    a column unknown is 0.

    The mean, because where scales come from many networks an outlier moves it by a known and small amount, while the
    median of nine classes wanders by as much as the classes differ.
    """
    if not len(raw):
        return raw, np.zeros(raw.shape[1])
    known = np.isfinite(raw)
    lowest = np.where(known, raw, np.inf).min(axis=0, initial=np.inf)
    filled = np.where(known, raw, np.where(np.isfinite(lowest), lowest, 0.0))
    return filled - filled.mean(axis=0), robust_scale(centred(filled))
