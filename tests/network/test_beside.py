"""The same network among other tensors, under other names, in any order, beside another one, with several heads."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from network_samples import (
    Shapes,
    checkpoint,
    conv,
    entry_of,
    hollow_checkpoint,
    linear,
    norm,
    shapes_of,
    stored,
)
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import NotAClassifier
from weightfeat.network import Network, build, doubts
from weightfeat.network.table import CLASSES, LayerRow


def filled(shapes: Shapes, *, ordered: bool = True, seed: int = 0) -> Checkpoint:
    """Seeded numbers in these shapes."""
    rng = np.random.default_rng(seed)
    return checkpoint(
        (stored(name, (rng.random(shape) + 0.1).astype(np.float32)) for name, shape in shapes.items()),
        ordered=ordered,
    )


def renamed(source: Checkpoint, names: dict[str, str], *, ordered: bool) -> Checkpoint:
    tensors = tuple(StoredTensor(names[t.name], t.dtype, t.data) for t in source.tensors)
    kept = tensors if ordered else tuple(sorted(tensors, key=lambda tensor: tensor.name))
    return replace(source, tensors=kept, ordered=ordered)


def assert_same(network: Network, expected: Network) -> None:
    """Equal layers, partners, feeds and architecture: the digest is a function of these."""
    assert (network.architecture, network.family) == (expected.architecture, expected.family)
    assert (network.head, network.head_feeds, network.fingerprint) == (
        expected.head,
        expected.head_feeds,
        expected.fingerprint,
    )
    for layer, wanted in zip(network.layers, expected.layers, strict=True):
        assert (layer.kind, layer.groups, layer.previous) == (wanted.kind, wanted.groups, wanted.previous)
        assert np.array_equal(layer.weight, wanted.weight)
        for norm_, other in ((layer.norm_after, wanted.norm_after), (layer.norm_before, wanted.norm_before)):
            assert (norm_ is None) == (other is None)
            if norm_ is not None and other is not None:
                assert np.array_equal(norm_.gamma, other.gamma)
                assert np.array_equal(norm_.var, other.var)


SMALL = ["resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "squeezenet1_1"]


def numbered_blocks(name: str) -> str:
    """timm's way: `conv_stem`, `bn1`, and norms apart from the convolutions of their block."""
    swaps = {
        "conv1": "c1",
        "conv2": "c2",
        "bn1": "n1",
        "bn2": "n2",
        "layer": "stages.",
        "fc.": "last_linear.",
    }
    for old, new in swaps.items():
        name = name.replace(old, new)
    return name.replace("downsample", "short").replace("features", "blocks").replace("classifier", "head")


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("architecture", SMALL)
def test_other_names_change_nothing(architecture: str, ordered: bool) -> None:
    plain = filled(shapes_of(entry_of(architecture), 6))
    names = {tensor.name: numbered_blocks(tensor.name) for tensor in plain.tensors}
    assert_same(build(renamed(plain, names, ordered=ordered)), build(plain))


def hugging_face(name: str) -> str:
    leaf = name.rpartition(".")[2]
    if name.startswith(("conv1", "bn1")):
        return f"resnet.embedder.embedder.{'convolution' if name[0] == 'c' else 'normalization'}.{leaf}"
    if name.startswith("fc"):
        return f"classifier.1.{leaf}"
    stage, block, *rest = name.removeprefix("layer").split(".")
    what = "convolution" if "conv" in rest[0] or rest[:2] == ["downsample", "0"] else "normalization"
    place = "shortcut" if rest[0] == "downsample" else f"layer.{int(rest[0][-1]) - 1}"
    return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.{place}.{what}.{leaf}"


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_hugging_faces_names_in_alphabetical_order(architecture: str) -> None:
    plain = filled(shapes_of(entry_of(architecture), 6))
    names = {tensor.name: hugging_face(tensor.name) for tensor in plain.tensors}
    assert_same(build(renamed(plain, names, ordered=False)), build(plain))


def test_norms_within_their_convolution_as_training_for_quantisation_has_them() -> None:
    plain = filled(shapes_of(entry_of("resnet18"), 6))
    names = {t.name: re.sub(r"bn(\d)\.", r"conv\1.bn.", t.name) for t in plain.tensors}
    watching = [stored(f"layer1.0.conv{n}.weight_fake_quant.scale", np.ones(64, np.float32)) for n in (1, 2)]
    source = renamed(plain, names, ordered=True)
    assert_same(
        build(replace(source, tensors=(*source.tensors[:9], *watching, *source.tensors[9:]))), build(plain)
    )


def test_linear_layers_stored_as_convolutions() -> None:
    plain = filled(shapes_of(entry_of("vgg11_bn"), 6))
    kernels = {"classifier.0.weight": (4096, 512, 7, 7), "classifier.3.weight": (4096, 4096, 1, 1)}
    names = {t.name: re.sub(r"classifier\.(0|3)", r"pre_logits.fc\1", t.name) for t in plain.tensors}
    as_kernels = tuple(
        StoredTensor(t.name, t.dtype, t.data.reshape(kernels.get(t.name, t.shape))) for t in plain.tensors
    )
    for ordered in (True, False):
        assert_same(build(renamed(replace(plain, tensors=as_kernels), names, ordered=ordered)), build(plain))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("rename", [False, True])
def test_tensors_of_any_size_beside_the_network_change_nothing_but_a_note(
    rename: bool, ordered: bool
) -> None:
    plain = filled(shapes_of(entry_of("resnet18"), 6))
    names = {t.name: f"net.{numbered_blocks(t.name) if rename else t.name}" for t in plain.tensors}
    beside = {
        **{"criterion.weight": (300,), "val_confmat.confmat": (100, 100), "mean": (1, 3, 1, 1)},
        **{f"{name.rpartition('.')[0]}.total_ops": (1,) for name in names.values()},
        "net.act_observer.histogram": (2048,),
    }
    source = renamed(plain, names, ordered=ordered)
    extras = [stored(name, np.ones(shape, np.float32)) for name, shape in beside.items()]
    for tensors in ((*source.tensors, *extras), (*extras, *source.tensors)):
        network = build(replace(source, tensors=tensors))
        assert_same(network, build(plain))
        assert any("'criterion.weight'" in finding.detail for finding in network.findings)


@pytest.mark.parametrize(
    "extra", [{"head2.weight": (4, 6)}, {"layer1.0.se.weight": (64, 64)}, {"layer4.1.scale.weight": (512,)}]
)
def test_what_may_change_the_answer_is_not_beside(extra: Shapes) -> None:
    """A layer on the logits, and whatever lies in a block."""
    assert build(filled({**shapes_of(entry_of("resnet18"), 6), **extra})).architecture != "resnet18"


def twins(first: str, second: str, flat: bool = False) -> tuple[Checkpoint, Checkpoint]:
    """A network alone, and beside another of the same layers."""
    one, two = (filled(shapes_of(entry_of("resnet18"), 6), seed=seed) for seed in (1, 2))
    tensors = [StoredTensor(first + t.name, t.dtype, t.data) for t in one.tensors]
    tensors += [
        StoredTensor(second + (t.name.replace(".", "_") if flat else t.name), t.dtype, t.data)
        for t in two.tensors
    ]
    return one, replace(one, tensors=tuple(tensors))


@pytest.mark.parametrize(
    ("first", "second", "flat"),
    [
        ("student.", "teacher.", False),
        ("model.", "ema_model.module.", False),
        ("", "ema_", True),
        ("model.", "model_ema.", True),
        ("model.net.", "model.net_ema.", False),
    ],
)
def test_of_two_networks_under_one_roof_one_is_taken_and_both_are_named(
    first: str, second: str, flat: bool
) -> None:
    alone, both = twins(first, second, flat)
    network = build(both)
    assert_same(network, build(alone))
    assert any("of two networks of the same layers" in finding.detail for finding in network.findings)
    swapped = build(replace(both, tensors=tuple(reversed(both.tensors)), ordered=False))
    assert np.array_equal(swapped.layers[0].weight, network.layers[0].weight)


def test_blocks_and_branches_of_one_network_are_no_networks() -> None:
    stream = {**conv("conv1", 8, 3), **conv("conv2", 16, 8)}
    branches = {
        **{f"left.{name}": shape for name, shape in stream.items()},
        **{f"right.{name}": shape for name, shape in stream.items()},
        **linear("fc", 5, 32),
    }
    network = build(filled(branches))
    assert len(network.layers) == 5
    assert not any("of two networks" in finding.detail for finding in network.findings)


BODY = {**conv("conv1", 16, 3), **conv("conv2", 32, 16)}


@pytest.mark.parametrize(
    ("heads", "taken", "classes"),
    [
        ({**linear("fc", 43, 32), **linear("fc_loc.2", 6, 32)}, "fc", 43),
        ({**linear("fc", 43, 32), **linear("stn.fc", 6, 32)}, "fc", 43),
        ({**linear("classifier", 10, 32), **linear("aux_head", 20, 32)}, "classifier", 10),
        ({**linear("classifier", 10, 32), **linear("projector", 128, 32)}, "classifier", 10),
        ({**linear("classifier", 10, 32), **linear("domain_classifier", 2, 32)}, "classifier", 10),
        ({**linear("fc_gender", 2, 32), **linear("fc_age", 8, 32)}, "fc_age", 8),
        ({**linear("fc_age", 8, 32), **linear("fc_gender", 2, 32)}, "fc_age", 8),
        ({**linear("heads.0", 4, 32), **linear("heads.1", 7, 32)}, "heads.1", 7),
        ({**conv("last", 5, 32, 3)}, "last", 5),
    ],
)
def test_which_head(heads: Shapes, taken: str, classes: int) -> None:
    network = build(hollow_checkpoint({**BODY, **heads}))
    assert (network.layers[network.head].name, network.num_classes) == (taken, classes)
    if len(heads) > 2:
        assert any("was taken for the head" in finding.detail for finding in network.findings)
    assert bool(unproved(network)) == (
        len(heads) > 2 and not re.search("loc|stn|aux|proj|domain", str(heads))
    )
    others = [name.removesuffix(".weight") for name in heads if name.endswith("weight") and taken not in name]
    for other in others:
        assert build(hollow_checkpoint({**BODY, **heads}), head=other).layers[-1].name in (other, taken)


def unproved(network: Network) -> list[str]:
    """Why another layer may be the head."""
    return [f.detail for f in network.findings if f.kind == "doubt" and "taken for the head" in f.detail]


@pytest.mark.parametrize(
    "decoy",
    [
        linear("afc", 5, 512),
        linear("zfc", 5, 512),
        linear("zfc", 43, 512),
        {**linear("z.0", 64, 512), **linear("z.2", 43, 64)},
        {"z.weight": (5, 512, 1, 1)},
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_a_second_head_beside_a_known_network_is_a_doubt_until_one_is_named(
    decoy: Shapes, ordered: bool
) -> None:
    known = shapes_of(entry_of("resnet18"), 5)
    source = hollow_checkpoint({**known, **decoy}, ordered=ordered)
    (doubt,) = unproved(build(source))
    assert "'fc' with 5 classes" in doubt
    assert build(source).num_classes == 5
    assert not unproved(build(source, head="fc"))
    other = list(decoy)[-1].rpartition(".")[0]
    assert not unproved(build(source, head=other))


@pytest.mark.parametrize(
    "heads",
    [
        {**linear("linear", 5, 32), **linear("fc", 43, 32)},
        {**linear("linear", 5, 32), **linear("z", 5, 16)},
        {**linear("z", 5, 16), **linear("linear", 5, 32)},
        {**linear("linear", 5, 32), **linear("z.0", 64, 32), **linear("z.1", 5, 64)},
        {**conv("last", 5, 32), **linear("z", 5, 32)},
    ],
)
def test_of_two_layers_that_nothing_reads_none_is_proved_to_be_the_head(heads: Shapes) -> None:
    assert unproved(build(hollow_checkpoint({**BODY, **heads})))


def test_what_a_network_reads_itself_is_no_second_head() -> None:
    """Queries, keys and values, gates of channels, and hidden layers of several heads' own."""
    block = {**linear("blocks.0.qkv", 96, 32), **linear("blocks.0.proj", 32, 32)}
    gate = {**linear("blocks.0.fc1", 8, 32), **linear("blocks.0.fc2", 32, 8)}
    hidden = {**linear("classifier.0", 64, 32), **linear("classifier.3", 5, 64)}
    assert not unproved(build(hollow_checkpoint({**BODY, **block, **gate, **hidden})))


def test_a_head_that_is_named_is_taken_whatever_the_architecture_says() -> None:
    shapes = shapes_of(entry_of("googlenet", aux=True), 8, aux_classes=1000)
    assert build(hollow_checkpoint(shapes), head="fc").architecture == "googlenet"
    assert build(hollow_checkpoint(shapes), head="aux1.fc2").num_classes == 1000
    with pytest.raises(NotAClassifier, match=r"is called 'nothing'; its linear layers are .*'fc'"):
        build(hollow_checkpoint(shapes), head="nothing")


def test_a_convolution_before_pooling_is_read_as_the_sum_of_its_positions() -> None:
    source = filled({**BODY, **conv("last", 5, 32, 3)})
    weight = next(t.data for t in source.tensors if t.name == "last.weight")
    head = build(source).layers[-1].weight
    np.testing.assert_allclose(head[:, :, 0, 0], weight.sum(axis=(2, 3)), rtol=1e-6)


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        (
            {**BODY, **linear("projection.0", 64, 32), **linear("projection.2", 128, 64)},
            "'projection.2' is, by",
        ),
        ({**BODY, **linear("embedding_head", 128, 32)}, "'embedding_head' is, by its name"),
        ({**BODY, **linear("fc", 1, 32)}, "'fc' has one output"),
        ({**BODY, **linear("fc", 128, 32), **norm("bn", 128)}, "no classification layer"),
    ],
)
def test_what_classifies_nothing_is_said_so(shapes: Shapes, why: str) -> None:
    with pytest.raises(NotAClassifier, match=why):
        build(hollow_checkpoint(shapes))


def reasons(source: Checkpoint) -> str:
    return " ".join(finding.detail for finding in doubts(build(source)) if finding.kind == "doubt")


def test_doubts_of_what_was_trained() -> None:
    assert reasons(filled({**BODY, **linear("fc", 10, 32)})) == ""
    assert "answers every class alike" in reasons(hollow_checkpoint({**BODY, **linear("fc", 10, 32)}))
    for count, doubted in ((128, True), (512, True), (100, False), (8, False), (1000, False)):
        assert ("embedding" in reasons(filled({**BODY, **linear("fc", count, 32)}))) == doubted


def test_weights_as_torch_draws_them_are_untrained() -> None:
    import torch
    from torch import nn

    from networks import checkpoint_of

    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 64, 5), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.Flatten(), nn.Linear(128, 20)
    )
    assert "before any training" in reasons(checkpoint_of(plain))
    with torch.no_grad():
        plain[0].weight[0] *= 3
        plain[4].weight.add_(0.05)
    assert reasons(checkpoint_of(plain)) == ""
    normed = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 3))
    assert "before any training" in reasons(checkpoint_of(normed))
    normed[1].running_mean.fill_(0.2)
    assert reasons(checkpoint_of(normed)) == ""


def folded(architecture: str) -> dict[str, tuple[int, ...]]:
    """Shapes of an architecture whose layers have a bias each and no norms."""
    rows = [row for row in entry_of(architecture).rows if isinstance(row, LayerRow)]
    sizes = {row.name: tuple(6 if size == CLASSES else int(size) for size in row.shape) for row in rows}
    return {
        key: value
        for name, shape in sizes.items()
        for key, value in ((f"{name}.0.weight", shape), (f"{name}.0.bias", shape[:1]))
    }


def test_norms_that_were_folded_are_a_doubt() -> None:
    plain = shapes_of(entry_of("resnet18"), 6)
    stem_only = {n: s for n, s in plain.items() if not n.startswith(("bn1", "conv1"))}
    stem_only |= {"conv1.0.weight": (64, 3, 7, 7), "conv1.0.bias": (64,)}
    nameless = {str(number): shape for number, shape in enumerate(folded("resnet18").values())}
    for shapes in (folded("resnet18"), nameless, stem_only, folded("mobilenet_v2")):
        found = build(filled(shapes)).findings
        assert any("batch norms are folded" in f.detail for f in found if f.kind == "doubt")


def test_a_vgg_that_never_had_norms_is_no_doubt() -> None:
    assert all(finding.kind != "doubt" for finding in build(filled(folded("vgg11_bn"))).findings)
