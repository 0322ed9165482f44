"""The design of experiments: which network is which, from (seed, id) alone.

Ids run round-robin over the 23 architectures; an architecture's consecutive pairs hold one clean and one poisoned
network. A pair is the unit of balance:

==================  =========================================================  ======================================
drawn               from                                                       balance
==================  =========================================================  ======================================
class level         the pair (shared by clean and poisoned)                    each 12 pairs of an architecture: 6 + 6
all other factors   the id, before and apart from the label                    independent of the label
label               the pair                                                   one of each a pair; half of every round
trigger cell        the pair: {polygon, filter} x {1, 2, all} x class level    each 12 pairs: every cell once
sides, filter       the pair                                                   cycles of 10 and 5, offset a cell
trigger draws       the id, on a stream of their own                           as Round 2 draws them
==================  =========================================================  ======================================

A network that misses an accuracy gate is tried again with fresh trigger draws and fresh initial weights while its
other factors stay, so that gates cannot make clean and poisoned networks differ in those.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import count as naturals
from itertools import islice

import numpy as np

from weightfeat.zoo.architectures import ARCHITECTURES, architecture
from weightfeat.zoo.draws import draw_factors, draw_trigger
from weightfeat.zoo.presets import Preset
from weightfeat.zoo.specification import CELLS, FILTERS, SIDES, TRIGGER_TYPES, NetworkSpec, Stream, generator

VERSION = 1  # raise whenever the same (preset, seed, id) would give another network

_PER_BLOCK = len(CELLS)


def network_spec(preset: Preset, seed: int, id: int, attempt: int = 0) -> NetworkSpec:
    """The network of that id in the design of (preset, seed); `attempt` counts tries after a missed gate."""
    pair, member, slot = _place(id)
    cell = _cell(seed, slot, pair)
    factors = draw_factors(preset, seed, id, level=CELLS[cell][0])
    trigger = None
    if member == _poisoned_member(seed, slot, pair):
        option = _option(seed, slot, pair, CELLS[cell][1])
        trigger = draw_trigger(preset, seed, id, attempt, cell, option, factors.number_classes)
    return NetworkSpec(preset, seed, id, attempt, ARCHITECTURES[slot], cell, factors, trigger)


def select_ids(
    count: int | None, architectures: tuple[str, ...] = (), first: int = 0, last: int | None = None
) -> tuple[int, ...]:
    """The first `count` ids of the design from `first` to `last`, of the named architectures or of all.

    Either `count` or `last` must be given. Raises BadRound for an architecture Round 2 did not have.
    """
    wanted = {architecture(name).name for name in architectures} or {a.name for a in ARCHITECTURES}
    ids = naturals(first) if last is None else iter(range(first, last + 1))
    return tuple(islice((i for i in ids if ARCHITECTURES[i % len(ARCHITECTURES)].name in wanted), count))


def pair_number(id: int) -> int:
    """The number of a network's pair in the design: two ids have the same one, a clean and a poisoned network."""
    pair, _, slot = _place(id)
    return pair * len(ARCHITECTURES) + slot


def fingerprint(preset: Preset, seed: int) -> str:
    """A hash of everything that decides the networks of a design."""
    parts = {
        "version": VERSION,
        "seed": seed,
        "preset": asdict(preset),
        "architectures": [asdict(a) for a in ARCHITECTURES],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _place(id: int) -> tuple[int, int, int]:
    """Which pair of its architecture an id belongs to, as which of the two, and the architecture's slot."""
    round_, slot = divmod(id, len(ARCHITECTURES))
    return *divmod(round_, 2), slot


def _poisoned_member(seed: int, slot: int, pair: int) -> int:
    """Which of a pair is poisoned: half of the architectures in every round, shuffled."""
    return int(generator(seed, Stream.LABELS, pair).permutation(len(ARCHITECTURES))[slot] % 2)


def _cell(seed: int, slot: int, pair: int) -> int:
    """Index into CELLS of a pair: a block of 12 pairs visits every cell once, in an order shifted by architecture.

    Trigger types alternate, and each half of a block has every number of source classes with both types, so that
    short prefixes are balanced too.
    """
    block, place = divmod(pair, _PER_BLOCK)
    random = generator(seed, Stream.CELLS, block)
    orders = [_six(random) for _ in TRIGGER_TYPES]
    step = (place + 5 * slot) % _PER_BLOCK  # 5 is coprime to 12: neighbours start far apart
    kind = step % 2
    level, attacked = orders[kind][step // 2]
    return CELLS.index((level, kind, attacked))


def _six(random: np.random.Generator) -> list[tuple[int, int]]:
    """The six (class level, attacked) pairs: two passes over `attacked`, with opposite levels."""
    attacked = [int(a) for a in random.permutation(3)]
    first = int(random.integers(2))
    levels = [first, 1 - first, first]
    return [
        *zip(levels, attacked, strict=True),
        *((1 - lv, a) for lv, a in zip(levels, attacked, strict=True)),
    ]


def _option(seed: int, slot: int, pair: int, kind: int) -> int | str:
    """Sides or filter of a pair's trigger; the pair's number within its type is pair // 2."""
    start = int(generator(seed, Stream.CELLS).integers(10))
    if TRIGGER_TYPES[kind] == "polygon":
        return SIDES[(start + 3 * (pair // 2) + 7 * slot) % len(SIDES)]
    return FILTERS[(start + pair // 2 + 2 * slot) % len(FILTERS)]
