"""Labelled digests of tiny networks under the names of real architectures, with Round 2's METADATA."""

from __future__ import annotations

import dataclasses

import pandas as pd
import torch
from torch import nn

from container_round import small_network
from networks import network_of, plain_cnn
from weightfeat import digest
from weightfeat.rounds.labelled import LabelledSet

ARCHITECTURES = {"resnet18": "resnet", "resnet34": "resnet", "vgg11_bn": "vgg", "squeezenet1_1": "squeezenet"}
CLASSES = 6


def trojaned_like(seed: int, target: int, sources: tuple[int, ...], strength: float) -> nn.Module:
    """Random weights whose target row in the head is up and whose source rows lean on it."""
    network = plain_cnn(CLASSES, seed)
    with torch.no_grad():
        head = network.get_submodule("fc")
        head.weight[target] += 0.3 * strength
        for source in sources:
            head.weight[source] += 0.3 * strength * head.weight[target] - 0.1 * strength
    return network


def labelled_sample(models: int = 48, strength: float = 0.6) -> LabelledSet:
    """Half of the networks trojaned; factors and architectures in turn, so that every cell is filled alike."""
    names, labels, digests, rows = [], [], [], []
    for n in range(models):
        at, label = n // 2, n % 2
        attacked, target = at % 3, at % CLASSES
        sources = ((target + 1) % CLASSES, (target + 2) % CLASSES)[: attacked + 1] if attacked < 2 else ()
        network = trojaned_like(n, target, sources, strength) if label else plain_cnn(CLASSES, n)
        architecture, family = list(ARCHITECTURES.items())[(at // 3) % len(ARCHITECTURES)]
        made = digest.compute(network_of(network), key=f"{n:064x}", device="cpu")
        digests.append(dataclasses.replace(made, architecture=architecture, family=family))
        names.append(f"id-{n:08d}")
        labels.append(label)
        everyone = [c for c in range(CLASSES) if c != target]
        rows.append(
            {
                "poisoned": str(bool(label)),
                "number_classes": str(CLASSES),
                "number_classes_level": str(at // 3 % 2),
                "trigger_type": (("polygon", "instagram")[at // 6 % 2]) if label else "None",
                "number_triggered_classes": str((1, 2, CLASSES - 1)[attacked]) if label else "0",
                "triggered_classes": " ".join(map(str, sources or everyone)).join("[]") if label else "None",
                "trigger_target_class": str(target) if label else "None",
                "triggered_fraction": str(0.1 + 0.02 * (n % 17)) if label else "None",
                "rain_probability": str(0.1 * (n % 5)),
            }
        )
    return LabelledSet(
        tuple(names), tuple(labels), tuple(digests), pd.DataFrame(rows, index=names, dtype=str)
    )


def small_sample(models: int) -> LabelledSet:
    """Clean and trojaned networks in turn, of a few kilobytes each, with target and source classes named."""
    labels = [n % 2 for n in range(models)]
    networks = [network_of(small_network(n, poisoned=bool(label))) for n, label in enumerate(labels)]
    digests = tuple(digest.compute(network, key=f"{n:064x}") for n, network in enumerate(networks))
    names = tuple(f"id-{n:08d}" for n in range(models))
    metadata = pd.DataFrame(index=list(names))
    metadata["trigger_target_class"] = [str(n % 3) if label else "None" for n, label in enumerate(labels)]
    metadata["triggered_classes"] = [
        f"[{(n + 1) % 3}]" if label else "None" for n, label in enumerate(labels)
    ]
    return LabelledSet(names, tuple(labels), digests, metadata)
