"""PEFT's `adapter_config.json`: by what factor a low-rank update is a part of the weight that it adapts.

The factor is alpha / r, or alpha / sqrt(r) with `use_rslora`; `alpha_pattern` and `rank_pattern` give single modules
their own. Source: peft/tuners/lora/layer.py (`update_layer`), peft/tuners/lora/config.py, peft/utils/other.py
(`get_pattern_key`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from pathlib import Path

from weightfeat.checkpoint.faults import Malformed, Unsupported
from weightfeat.checkpoint.nodes import describe

CONFIG = "adapter_config.json"
PART = re.compile(r"(?P<module>.+)[._]lora[._](?P<part>[ABab]|down|up)((\.(?P<adapter>[^.]+))?\.weight)?$")
"""The name of a matrix of an update: PEFT's, with the adapter's name or without, loralib's or torchtune's."""
FIRST = frozenset({"A", "a", "down"})
"""The parts that read what the layer reads; the others give what it gives."""
MERGE = "merge it (merge_and_unload) and save the network again"
_LARGEST = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_.]+")
# Initialisations that leave the weights adapted as they are; others (pissa, olora, loftq, ...) change these too.
_HARMLESS = (True, False, "gaussian", "eva", "orthogonal")
# Varieties that compute something else than W + s B A, or with other tensors.
_OTHER_RULES = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "target_parameters"),
    *(
        "trainable_token_indices",
        "alora_invocation_tokens",
        "arrow_config",
        "monteclora_config",
        "kasa_config",
    ),
    "velora_config",
)


@dataclass(frozen=True)
class LowRank:
    """How updates are scaled, and which modules have one: names, or what they end with; None where the config does not
    list them. `inputs_first`: the weights adapted are (inputs, outputs)."""

    alpha: float
    rank: float
    by_root: bool = False
    inputs_first: bool = False
    alphas: Mapping[str, float] | None = None
    ranks: Mapping[str, float] | None = None
    targets: tuple[str, ...] | None = None

    def factor(self, module: str, rank: int) -> float:
        """What the update of a module is multiplied by. Raises Unsupported for a rank that is not the config's, or a
        module that the config does not adapt.

        >>> LowRank(16, 4).factor("fc", 4), LowRank(16, 4, by_root=True).factor("fc", 4)
        (4.0, 8.0)
        """
        expected = _of_module(self.ranks, module, self.rank)
        if rank != expected:
            raise Unsupported(
                f"the update of {describe(module)} has rank {rank}, and {CONFIG} says {expected:g}", MERGE
            )
        if self.targets is not None and not any(_ends(module, name) for name in self.targets):
            raise Unsupported(f"{describe(module)} is updated, and {CONFIG} does not name it", MERGE)
        alpha = _of_module(self.alphas, module, self.alpha)
        return alpha / (sqrt(rank) if self.by_root else rank)


def _ends(module: str, name: str) -> bool:
    """Whether a module's name is another one or ends with it."""
    return f".{module}".endswith(f".{name}")


def _of_module(patterns: Mapping[str, float] | None, module: str, usual: float) -> float:
    """The first value whose pattern a module's name ends with, else the usual one."""
    return next((value for name, value in (patterns or {}).items() if _ends(module, name)), usual)


def low_rank_of(path: Path) -> LowRank:
    """The rule that a config states.

    Raises Malformed for a file that is none, Unsupported for an adapter that is no plain low-rank update.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise Malformed(f"its {CONFIG} is no file of at most {_LARGEST:,} bytes")
        held = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Malformed(f"its {CONFIG} cannot be read ({type(error).__name__})") from None
    if not isinstance(held, dict):
        raise Malformed(f"its {CONFIG} is no table of settings")
    kind = held.get("peft_type", "LORA")
    if kind != "LORA":
        raise Unsupported(
            f"its adapter is of the kind {describe(str(kind))}, and LORA alone is merged", MERGE
        )
    others = [name for name in _OTHER_RULES if held.get(name)]
    start = held.get("init_lora_weights", True)
    if start not in _HARMLESS:
        others.append(f"init_lora_weights={start!s}")
    if others:
        raise Unsupported(f"its adapter has {describe(others[0])}, which is not merged", MERGE)
    targets = held.get("target_modules")
    listed = isinstance(targets, list) and all(isinstance(name, str) for name in targets)
    return LowRank(
        alpha=_number(held.get("lora_alpha", 8), "lora_alpha"),
        rank=_number(held.get("r", 8), "r"),
        by_root=held.get("use_rslora") is True,
        inputs_first=held.get("fan_in_fan_out") is True,
        alphas=_patterns(held, "alpha_pattern"),
        ranks=_patterns(held, "rank_pattern"),
        targets=tuple(targets) if isinstance(targets, list) and listed else None,
    )


def _patterns(held: Mapping[str, object], name: str) -> Mapping[str, float]:
    """Values by the ends of modules' names. A pattern that is more than a name is refused, as it may run for ever."""
    found = held.get(name) or {}
    if not isinstance(found, dict) or not all(_PLAIN.fullmatch(key) for key in found):
        raise Unsupported(f"the {name} of its {CONFIG} has patterns that are no plain names", MERGE)
    return {key: _number(value, name) for key, value in found.items()}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise Malformed(f"the {name} of its {CONFIG} is no number above zero")
    return float(value)
