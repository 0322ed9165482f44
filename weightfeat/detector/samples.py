"""Samples: networks with labels, all that learning and measuring ever get.

They are digests, from which features and rows of classes are computed once, or a plain table of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat import features
from weightfeat.detector.classes.rows import ClassRows, class_rows
from weightfeat.detector.classes.targets import Target, check
from weightfeat.detector.general.standing import Standing, standing
from weightfeat.features.summaries import Array
from weightfeat.features.training import training_numbers

if TYPE_CHECKING:
    from weightfeat.digest import Digest

__all__ = ["ONE_POPULATION", "Network", "Rows", "Samples"]

ONE_POPULATION = "all"
"""Stands for architecture and family where the caller names none."""


@dataclass(frozen=True, eq=False)
class Network:
    """A network's digest, and what was computed of it: each thing once, however many folds ask for it."""

    digest: Digest
    _features: dict[str, list[float]] = field(default_factory=dict, repr=False)

    def features(self, blocks: Sequence[str]) -> list[float]:
        """In the order of `features.names`."""
        for block in blocks:
            if block not in self._features:
                self._features[block] = list(features.row(self.digest, (block,)).values())
        return [value for block in features.BLOCKS if block in blocks for value in self._features[block]]

    @cached_property
    def class_rows(self) -> ClassRows:
        """Its classes as rows of statistics."""
        return class_rows(self.digest)

    @cached_property
    def standing(self) -> Standing:
        """Its classes measured by each other alone."""
        return standing(self.class_rows)

    @cached_property
    def training(self) -> Array:
        """How it was trained, (len(TRAINING),)."""
        return training_numbers(self.digest)


@dataclass(frozen=True, eq=False)
class Rows:
    """Feature rows with the population each belongs to; values are (rows, columns), never infinite. `training` is
    (rows, len(TRAINING)), how each was trained, where that is known."""

    names: tuple[str, ...]
    values: Array
    architecture: tuple[str, ...]
    family: tuple[str, ...]
    training: Array | None = None

    def __post_init__(self) -> None:
        """ValueError where lengths disagree or a name comes twice."""
        shape = self.values.shape
        if len(shape) != 2 or shape[1] != len(self.names) or len(set(self.names)) != len(self.names):
            raise ValueError(f"{len(self.names)} distinct column names do not fit an array of shape {shape}")
        if not shape[0] == len(self.architecture) == len(self.family):
            raise ValueError(
                f"{shape[0]} rows, {len(self.architecture)} architectures and {len(self.family)} families"
            )

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        values: ArrayLike,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> Rows:
        """From numbers; infinities become NaN.

        Without an architecture all rows form one population; without a family each architecture is its own.
        """
        array = np.array(values, dtype=np.float64, ndmin=2)
        array[np.isinf(array)] = np.nan
        where = (ONE_POPULATION,) * len(array) if architecture is None else tuple(map(str, architecture))
        return cls(tuple(names), array, where, where if family is None else tuple(map(str, family)))


@dataclass(frozen=True, eq=False)
class Samples:
    """Labelled networks in one order throughout.

    Attributes
    ----------
    names : one a network; a report's rows are called so.
    y : (n,); 1 means trojaned.
    architecture, family : the populations that features are normalised within.
    group : networks of one group never fall on both sides of a fold.
    networks : their digests; empty where `table` is given.
    targets : the target class of a trojan where it is known.
    recipe : where a network of another recipe than the population's comes from, "" for the population's own; empty:
        all are the population's. For folds and balance only, never a feature.
    levels : of each network, a level for every factor of how it was made, as far as that is known; empty: nothing is.
        For the doubt about recipes only, never a feature.
    table : rows of numbers in the place of digests, and which of its columns mean the same in every architecture.
    """

    names: tuple[str, ...]
    y: NDArray[np.int64]
    architecture: tuple[str, ...]
    family: tuple[str, ...]
    group: tuple[str, ...]
    networks: tuple[Network, ...] = ()
    targets: tuple[Target | None, ...] = ()
    recipe: tuple[str, ...] = ()
    levels: tuple[Mapping[str, str], ...] = ()
    table: Rows | None = None
    relative_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError where lengths differ, a label is neither 0 nor 1, or a target is none of its network's classes."""
        rows = self.networks if self.table is None else self.table.values
        every: dict[str, Sized] = {
            "labels": self.y,
            "architectures": self.architecture,
            "families": self.family,
        }
        every |= {"groups": self.group, "rows": rows, "targets": self.targets}
        every |= {"recipes": self.recipe} if self.recipe else {}
        every |= {"levels": self.levels} if self.levels else {}
        wrong = {name: len(values) for name, values in every.items() if len(values) != len(self.names)}
        if wrong:
            raise ValueError(f"{len(self.names)} names do not fit {wrong}")
        if not np.isin(self.y, (0, 1)).all():
            raise ValueError("labels must be 0 or 1")
        if any(target is not None and not label for target, label in zip(self.targets, self.y, strict=True)):
            raise ValueError("a clean network has a target")
        if self.networks:
            check([network.digest.num_classes for network in self.networks], self.targets)

    @classmethod
    def of_digests(cls, digests: Sequence[Digest], y: ArrayLike, **known: Any) -> Samples:
        """From digests, which name their architecture and family; `known` are `names`, `group`, `targets`, `recipe`,
        `levels`."""
        architecture = tuple(digest.architecture for digest in digests)
        family = tuple(digest.family for digest in digests)
        networks = tuple(Network(digest) for digest in digests)
        return cls._of(y, architecture=architecture, family=family, networks=networks, **known)

    @classmethod
    def of_table(cls, table: Rows, y: ArrayLike, **known: Any) -> Samples:
        """From rows of numbers; `known` are `names`, `group`, `recipe`, `relative_columns`."""
        return cls._of(y, architecture=table.architecture, family=table.family, table=table, **known)

    @classmethod
    def _of(cls, y: ArrayLike, **known: Any) -> Samples:
        count = len(known["architecture"])
        names = tuple(known.pop("names", None) or map(str, range(count)))
        group = tuple(known.pop("group", None) or names)
        targets = tuple(known.pop("targets", None) or (None,) * count)
        return cls(names=names, y=np.asarray(y).astype(np.int64), group=group, targets=targets, **known)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """The networks at these positions, in this order; what was computed of them stays computed."""
        at = [int(row) for row in rows]

        def chosen(values: tuple[Any, ...]) -> Any:
            return tuple(values[i] for i in at) if values else ()

        names = ("names", "architecture", "family", "group", "networks", "targets", "recipe", "levels")
        parts = {name: chosen(getattr(self, name)) for name in names}
        if self.table is not None:
            columns = self.table.names
            parts["table"] = Rows(columns, self.table.values[at], parts["architecture"], parts["family"])
        return replace(self, y=self.y[at], **parts)

    @property
    def population(self) -> Samples:
        """The networks of no named recipe: whose recipe is to be known well."""
        return self.take(np.flatnonzero([not name for name in self.recipe])) if any(self.recipe) else self

    def beside(self, others: Samples) -> Samples:
        """These and others of digests, whose groups are apart; recipes that are not said are the population's."""
        parts: dict[str, Any] = {
            name: (*getattr(self, name), *getattr(others, name))
            for name in ("names", "architecture", "family", "networks", "targets")
        }
        parts["group"] = (*self.group, *(f"beside {group}" for group in others.group))
        recipe = (*(self.recipe or ("",) * len(self)), *(others.recipe or ("",) * len(others)))
        levels = (*(self.levels or ({},) * len(self)), *(others.levels or ({},) * len(others)))
        parts |= {"recipe": recipe, "levels": levels if any(levels) else ()}
        return replace(self, y=np.concatenate([self.y, others.y]), **parts)

    def with_table(self, columns: Sequence[str], values: ArrayLike) -> Samples:
        """The same networks, known by other numbers than their digests."""
        table = Rows.of(columns, values, self.architecture, self.family)
        return replace(self, networks=(), table=table, relative_columns=())

    def rows(self, blocks: Sequence[str]) -> Rows:
        """Features of the given blocks; the table as it is where there is one."""
        if self.table is not None:
            return self.table
        values = [network.features(blocks) for network in self.networks]
        rows = Rows.of(features.names(blocks), values, self.architecture, self.family)
        return replace(rows, training=np.array([network.training for network in self.networks]))

    def relative(self, blocks: Sequence[str]) -> tuple[str, ...]:
        """The columns of `rows` that mean the same in every architecture."""
        return self.relative_columns if self.table is not None else features.relative_names(blocks)

    @property
    def class_rows(self) -> tuple[ClassRows, ...]:
        """Every network's classes as rows of statistics; empty for a table."""
        return tuple(network.class_rows for network in self.networks)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Every network's classes measured by each other alone; empty for a table."""
        return tuple(network.standing for network in self.networks)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """How many classes each network has; empty for a table."""
        return tuple(network.digest.num_classes for network in self.networks)

    def computed(self, blocks: Sequence[str]) -> Samples:
        """Itself, with these features and all rows of classes computed: before copies are sent to other processes."""
        for network in self.networks:
            network.features(blocks)
            _ = network.class_rows.learned_pairs, network.training, network.standing
        return self
