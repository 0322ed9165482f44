"""Architectures are recognised from shapes at any class count, whatever a file calls its tensors."""

from __future__ import annotations

from hashlib import sha1

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network_samples import (
    checkpoint,
    entry_of,
    hollow,
    hollow_checkpoint,
    shapes_of,
    stored,
    with_counters,
)
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.errors import HostileFile, NotAClassifier
from weightfeat.network import ALIASES, ARCHITECTURES, Network, build, canonical_architecture, family_of

HEADS = {
    "densenet": "classifier",
    "squeezenet": "classifier.1",
    "mobilenet": "classifier.1",
    "vgg": "classifier.6",
}


@pytest.mark.parametrize("num_classes", [2, 5, 13, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_at_every_class_count(architecture: str, num_classes: int) -> None:
    shapes = with_counters(shapes_of(entry_of(architecture), num_classes))
    network = build(hollow_checkpoint(shapes))
    head = network.layers[network.head]
    family = family_of(architecture)
    assert (network.architecture, network.family) == (architecture, family)
    assert network.num_classes == head.weight.shape[0] == num_classes
    assert (head.name, head.role, head.depth) == (HEADS.get(family, "fc"), "head", 1.0)
    assert [layer.role for layer in network.layers].count("head") == 1
    assert network.layers[0].role == "stem"
    assert network.findings == ()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_do_not_matter_in_file_order(architecture: str) -> None:
    """Numbered names, names that lie (each tensor under another one's), and torchvision's give one Network."""
    shapes = shapes_of(entry_of(architecture), 9)
    numbered = {f"p{number}": shape for number, shape in enumerate(shapes.values())}
    lying = dict(zip(reversed(list(shapes)), shapes.values(), strict=True))
    described = {describe(build(hollow_checkpoint(each))) for each in (shapes, numbered, lying)}
    assert len(described) == 1
    assert architecture in described.pop()


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
@pytest.mark.parametrize("architecture", ["resnet34", "densenet121", "squeezenet1_0", "shufflenet_v2_x1_5"])
def test_torchvisions_names_map_in_any_order_and_under_a_prefix(architecture: str, prefix: str) -> None:
    shapes = {f"{prefix}{name}": shape for name, shape in shapes_of(entry_of(architecture), 6).items()}
    network = build(hollow_checkpoint(shapes, ordered=False))
    assert network.architecture == architecture
    assert describe(network) == describe(build(hollow_checkpoint(shapes_of(entry_of(architecture), 6))))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_neither_names_nor_order_still_tell_the_architecture(architecture: str) -> None:
    shapes = {
        sha1(name.encode()).hexdigest(): shape for name, shape in shapes_of(entry_of(architecture), 6).items()
    }
    network = build(hollow_checkpoint(shapes, ordered=False))
    assert (network.architecture, network.num_classes) == (architecture, 6)
    assert all(layer.pairing != "graph" for layer in network.layers)
    assert ["another order" in finding.detail for finding in network.findings if finding.kind == "doubt"] == [
        True
    ]


def test_fingerprints_tell_architectures_apart_and_ignore_the_class_count() -> None:
    fingerprints = {
        architecture: {
            build(hollow_checkpoint(shapes_of(entry_of(architecture), count))).fingerprint
            for count in (4, 20)
        }
        for architecture in ARCHITECTURES
    }
    assert all(len(found) == 1 for found in fingerprints.values())
    assert len({found.pop() for found in fingerprints.values()}) == len(ARCHITECTURES)


@pytest.mark.parametrize(
    ("architecture", "aux"), [("googlenet", "aux1, aux2"), ("inception_v3", "AuxLogits")]
)
def test_auxiliary_heads_are_left_out_and_said_so(architecture: str, aux: str) -> None:
    plain = build(hollow_checkpoint(shapes_of(entry_of(architecture), 8)))
    shapes = shapes_of(entry_of(architecture, aux=True), 8, aux_classes=1000)
    network = build(hollow_checkpoint(shapes))
    assert describe(network) == describe(plain)
    assert len(network.norms) == len(plain.norms)
    assert aux in network.findings[-1].detail


def test_densenets_old_names_map() -> None:
    shapes = shapes_of(entry_of("densenet121"), 5)
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): shape
        for name, shape in shapes.items()
    }
    assert old != shapes
    network = build(hollow_checkpoint(old, ordered=False))
    assert network.architecture == "densenet121"
    assert network.layers[1].pairing == "graph"


def test_an_old_and_a_modern_name_for_one_place_are_hostile() -> None:
    shapes = shapes_of(entry_of("densenet121"), 5)
    name = "features.denseblock1.denselayer1.conv1.weight"
    with pytest.raises(HostileFile, match=name):
        build(hollow_checkpoint({**shapes, name.replace("conv1", "conv.1"): shapes[name]}))


def test_one_class_is_no_classifier() -> None:
    with pytest.raises(NotAClassifier, match="head"):
        build(hollow_checkpoint(shapes_of(entry_of("resnet18"), 1)))


def test_an_input_normaliser_beside_the_network_is_an_extra() -> None:
    shapes = {"mean": (1, 3, 1, 1), **{f"net.{n}": s for n, s in shapes_of(entry_of("resnet18"), 5).items()}}
    network = build(hollow_checkpoint(shapes))
    assert network.architecture == "resnet18"
    assert [name for name, _ in network.extras] == ["mean"]


def test_a_longer_network_is_not_taken_for_the_shorter_one_in_it() -> None:
    shapes = shapes_of(entry_of("resnet18"), 5)
    longer = {**shapes, **{name.replace("layer4.1", "layer4.2"): shape for name, shape in shapes.items()}}
    network = build(hollow_checkpoint(longer))
    assert (network.architecture, network.family) == ("resnet", "resnet")
    assert len(network.layers) == 23


@pytest.mark.parametrize(
    ("architecture", "changes", "family"),
    [
        ("resnet50", {"conv1.weight": (64, 3, 3, 3)}, "resnet"),
        ("wide_resnet50_2", {"conv1.weight": (64, 1, 3, 3)}, "wide_resnet"),
        ("vgg16_bn", {"classifier.0.weight": (4096, 512)}, "vgg"),
        ("mobilenet_v2", {"features.0.0.weight": (32, 1, 3, 3)}, "mobilenet"),
        ("densenet121", {"features.conv0.weight": (64, 1, 3, 3)}, "densenet"),
    ],
)
def test_a_variant_keeps_its_familys_wiring(
    architecture: str, changes: dict[str, tuple[int, ...]], family: str
) -> None:
    """Torchvision's names over other shapes: the family is known and partners still come from the graph."""
    original = build(hollow_checkpoint(shapes_of(entry_of(architecture), 10)))
    network = build(hollow_checkpoint({**shapes_of(entry_of(architecture), 10), **changes}))
    assert (network.architecture, network.family) == (family, family)
    assert all(layer.pairing == "graph" for layer in network.layers)
    assert network.head_feeds == original.head_feeds
    assert network.fingerprint != original.fingerprint


def test_a_grouped_variant_of_resnet_gets_its_groups() -> None:
    """ResNeXt-50 32x4d has ResNet-50's names; its 3 x 3 layers take 32 groups."""
    shapes = shapes_of(entry_of("wide_resnet50_2"), 10)
    grouped = {
        name: (shape[0], shape[1] // 32, 3, 3) if name.startswith("layer") and "conv2" in name else shape
        for name, shape in shapes.items()
    }
    network = build(hollow_checkpoint(grouped))
    assert network.family == "resnet"
    assert {(layer.kind, layer.groups) for layer in network.layers if "conv2" in layer.name} == {
        ("grouped", 32)
    }


def test_contradictory_shapes_under_known_names_are_not_wired_by_the_graph() -> None:
    shapes = {**shapes_of(entry_of("resnet18"), 10), "layer2.0.conv1.weight": (96, 64, 3, 3)}
    network = build(hollow_checkpoint(shapes))
    assert all(layer.pairing != "graph" for layer in network.layers)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_precisions_become_float32(dtype: str) -> None:
    shapes = shapes_of(entry_of("squeezenet1_1"), 4)
    value = np.uint16(0x3FC0) if dtype == "bfloat16" else np.dtype(dtype).type(1.5)  # bfloat16's bits of 1.5
    tensors = [StoredTensor(name, dtype, np.broadcast_to(value, shape)) for name, shape in shapes.items()]
    network = build(checkpoint(tensors))
    assert network.architecture == "squeezenet1_1"
    assert all(layer.weight.dtype == np.float32 and (layer.weight == 1.5).all() for layer in network.layers)


def test_float32_weights_stay_where_they_are_stored() -> None:
    tensors = [hollow(name, shape) for name, shape in shapes_of(entry_of("vgg11_bn"), 5).items()]
    by_name = {tensor.name: tensor.data for tensor in tensors}
    network = build(checkpoint(tensors))
    assert all(layer.weight is by_name[f"{layer.name}.weight"] for layer in network.layers)


@pytest.mark.parametrize("rename", [False, True])
def test_batch_counters_reach_their_norms(rename: bool) -> None:
    tensors: list[StoredTensor] = []
    expected: list[int] = []
    number = 0
    for name, shape in with_counters(shapes_of(entry_of("resnet18"), 5)).items():
        shown = f"t{len(tensors)}" if rename else name
        if name.endswith("num_batches_tracked"):
            number += 7
            expected.append(number)
            tensors.append(stored(shown, np.array(number, dtype=np.int64)))
        else:
            tensors.append(hollow(shown, shape))
    network = build(checkpoint(tensors))
    assert [norm.batches for norm in network.norms] == expected


def test_files_without_counters_leave_them_unknown() -> None:
    network = build(hollow_checkpoint(shapes_of(entry_of("resnet18"), 5)))
    assert {norm.batches for norm in network.norms} == {None}


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_permuting_hidden_channels_permutes_weights_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = shapes_of(entry_of("squeezenet1_1"), 5)
    original = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    order = rng.permutation(shapes["features.4.squeeze.bias"][0])
    permuted = dict(original)
    for name in ("features.4.squeeze.weight", "features.4.squeeze.bias"):
        permuted[name] = original[name][order]
    for name in ("features.4.expand1x1.weight", "features.4.expand3x3.weight"):
        permuted[name] = original[name][:, order]
    before = build(checkpoint(stored(name, data) for name, data in original.items()))
    after = build(checkpoint(stored(name, data) for name, data in permuted.items()))
    assert describe(after) == describe(before)
    for one, other in zip(before.layers, after.layers, strict=True):
        np.testing.assert_array_equal(np.sort(one.weight, axis=None), np.sort(other.weight, axis=None))


@pytest.mark.parametrize(("alias", "name"), sorted(ALIASES.items()))
def test_aliases_lead_to_torchvisions_names(alias: str, name: str) -> None:
    assert name in ARCHITECTURES
    assert canonical_architecture(alias) == name
    assert canonical_architecture(f"classification:{alias.upper()}") == name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_torchvisions_names_are_canonical(name: str) -> None:
    assert canonical_architecture(name) == canonical_architecture(f"classification:{name}") == name
    assert family_of(name) == family_of(family_of(name)) != "unknown"


def test_names_of_other_networks_come_back_as_they_are() -> None:
    assert canonical_architecture("classification:vit_base_patch32_224") == "vit_base_patch32_224"
    assert family_of("vit_base_patch32_224") == "unknown"


def describe(network: Network) -> str:
    """All of a network that does not depend on its numbers."""
    layers = [
        (
            layer.name,
            layer.kind,
            layer.role,
            layer.weight.shape,
            layer.groups,
            layer.depth,
            layer.norm_after and layer.norm_after.name,
            layer.norm_before and layer.norm_before.name,
            layer.previous,
            layer.pairing,
        )
        for layer in network.layers
    ]
    norms = [norm.name for norm in network.norms]
    whole = (network.architecture, network.family, network.fingerprint, network.num_classes)
    return repr((whole, network.head, network.head_feeds, layers, norms))
