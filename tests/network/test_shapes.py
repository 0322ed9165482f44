"""Unknown networks are read from shapes, and what is no classifier is refused in one line."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network_samples import (
    Shapes,
    checkpoint,
    conv,
    entry_of,
    hollow,
    hollow_checkpoint,
    linear,
    norm,
    shapes_of,
    stored,
)
from weightfeat.checkpoint import read
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import HostileFile, NotAClassifier, UnsupportedLayout, WeightfeatError
from weightfeat.network import Feed, Network, build
from weightfeat.network.tensors import numeric

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "checkpoints"

SMALL = {
    **conv("conv1", 16, 3),
    **norm("bn1", 16),
    **conv("conv2", 32, 16),
    **norm("bn2", 32),
    **linear("fc1", 64, 32 * 49),
    **linear("fc2", 10, 64),
}


def names(network: Network) -> list[str]:
    return [layer.name for layer in network.layers]


def norms(network: Network) -> list[str | None]:
    return [layer.norm_after.name if layer.norm_after else None for layer in network.layers]


@pytest.mark.parametrize("ordered", [True, False])
def test_small_network(ordered: bool) -> None:
    network = build(hollow_checkpoint(SMALL, ordered=ordered))
    assert (network.architecture, network.family, network.num_classes) == ("unknown", "unknown", 10)
    assert names(network) == ["conv1", "conv2", "fc1", "fc2"]
    assert [layer.role for layer in network.layers] == ["stem", "body", "body", "head"]
    assert [layer.depth for layer in network.layers] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert norms(network) == ["bn1", "bn2", None, None]
    assert [layer.previous for layer in network.layers] == [None, 0, None, 2]
    assert network.head_feeds == (Feed(2, 0, 64),)
    assert [layer.pairing for layer in network.layers] == ["shape", "shape", "none", "shape"]
    assert "read from shapes" in network.findings[-1].detail


def test_norms_declared_behind_all_convolutions_pair_in_order() -> None:
    shapes = {
        **conv("c1", 8, 3),
        **conv("c2", 8, 8),
        **norm("n1", 8),
        **norm("n2", 8),
        **linear("out", 3, 8),
    }
    assert norms(build(hollow_checkpoint(shapes))) == ["n1", "n2", None]


def test_numbered_tensors_without_telling_names() -> None:
    """One vector behind a weight is its bias, four are a norm's, five both."""
    vectors = [(32, 3, 3, 3), *[(32,)] * 5, (48, 32, 3, 3), *[(48,)] * 4, (6, 48), (6,)]
    network = build(hollow_checkpoint({str(number): shape for number, shape in enumerate(vectors)}))
    assert [layer.kind for layer in network.layers] == ["conv", "conv", "linear"]
    assert [layer.bias is not None for layer in network.layers] == [True, False, True]
    assert [norm.var is not None for norm in network.norms] == [True, True]
    assert norms(network) == [norm.name for norm in network.norms] + [None]
    assert network.head_feeds == (Feed(1, 0, 48),)


def test_depthwise_and_grouped_layers_are_told_by_shape() -> None:
    shapes = {
        **conv("stem", 32, 3),
        **{"dw.weight": (32, 1, 3, 3)},
        **conv("pw", 64, 32, 1),
        **{"grouped.weight": (64, 4, 3, 3)},
        **conv("branch", 16, 32, 1),
        **linear("head", 5, 16),
    }
    network = build(hollow_checkpoint(shapes))
    assert [(layer.kind, layer.groups) for layer in network.layers] == [
        ("conv", 1),
        ("depthwise", 32),
        ("conv", 1),
        ("grouped", 16),
        ("conv", 1),
        ("linear", 1),
    ]
    assert network.layers[2].previous == 0  # past the depthwise layer


def test_a_grey_image_does_not_make_the_stem_depthwise() -> None:
    shapes = {**conv("a", 20, 1, 5), **conv("b", 50, 20, 5), **linear("fc", 10, 800)}
    for ordered in (True, False):
        assert [layer.kind for layer in build(hollow_checkpoint(shapes, ordered=ordered)).layers][:2] == [
            "conv"
        ] * 2


def test_transformer() -> None:
    block = {
        **{f"encoder.b{n}.ln.{leaf}": (24,) for n in range(2) for leaf in ("weight", "bias")},
        **{f"encoder.b{n}.attn.in_proj_weight": (72, 24) for n in range(2)},
        **{f"encoder.b{n}.attn.in_proj_bias": (72,) for n in range(2)},
        **{k: v for n in range(2) for k, v in linear(f"encoder.b{n}.attn.out_proj", 24, 24).items()},
    }
    shapes = {
        "class_token": (1, 1, 24),
        **conv("conv_proj", 24, 3, 16),
        "encoder.pos_embedding": (1, 5, 24),
        **block,
        **linear("heads.head", 6, 24),
    }
    network = build(hollow_checkpoint(shapes))
    assert network.layers[network.head].name == "heads.head"
    attention = next(layer for layer in network.layers if layer.name == "encoder.b0.attn.in_proj")
    assert (attention.kind, attention.bias is not None) == ("linear", True)
    assert {name for name, _ in network.extras} == {"class_token", "encoder.pos_embedding"}
    assert all(layer.norm_after is None for layer in network.layers)  # LayerNorms follow additions
    assert len(network.norms) == 2


def test_logistic_regression_is_all_head() -> None:
    network = build(hollow_checkpoint(linear("fc", 10, 784)))
    assert (network.head, network.layers[0].depth, network.layers[0].role) == (0, 1.0, "head")
    assert network.head_feeds == ()


def test_convolutional_head() -> None:
    shapes = {**conv("a", 32, 3), **conv("b", 64, 32), **conv("last", 3, 64, 1)}
    network = build(hollow_checkpoint(shapes))
    assert (network.layers[network.head].name, network.num_classes) == ("last", 3)


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        (
            "resnet",
            {
                **conv("conv1", 16, 3),
                **conv("blocks.0.conv1", 16, 16),
                **conv("blocks.0.conv2", 16, 16),
                **conv("blocks.1.conv1", 16, 16),
                **conv("blocks.1.conv2", 16, 16),
                **conv("blocks.2.conv1", 16, 16),
                **conv("blocks.2.conv2", 16, 16),
                **linear("linear", 10, 16),
            },
        ),
        (
            "vgg",
            {
                **conv("f.0", 32, 3),
                **conv("f.1", 32, 32),
                **conv("f.2", 64, 32),
                **conv("f.3", 64, 64),
                **conv("f.4", 128, 64),
                **linear("fc", 10, 128),
            },
        ),
        (
            "squeezenet",
            {**conv("a.expand1x1", 16, 3, 1), **conv("a.expand3x3", 16, 3), **linear("fc", 4, 32)},
        ),
    ],
)
def test_family_of_an_unknown_network(family: str, shapes: Shapes) -> None:
    network = build(hollow_checkpoint(shapes))
    assert (network.architecture, network.family) == (family, family)


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param({"mask": (12,)}, id="one vector"),
        pytest.param({**conv("a", 16, 3), **conv("b", 32, 16)}, id="only convolutions"),
        pytest.param(
            {**conv("enc", 16, 3), **conv("mid", 8, 16), **conv("dec", 3, 8, 1)},
            id="convolutional autoencoder",
        ),
        pytest.param(
            {
                **conv("enc", 32, 1),
                **linear("z", 16, 1568),
                **linear("up", 1568, 16),
                "dec.weight": (32, 1, 3, 3),
                "dec.bias": (1,),
            },
            id="transposed decoder",
        ),
        pytest.param(
            {
                **linear("e1", 128, 784),
                **linear("e2", 16, 128),
                **linear("d1", 128, 16),
                **linear("d2", 784, 128),
            },
            id="linear autoencoder",
        ),
        pytest.param({**conv("a", 16, 3), **linear("fc", 1, 16)}, id="one output"),
        pytest.param(
            {name: s for name, s in shapes_of(entry_of("resnet50"), 5).items() if not name.startswith("fc.")},
            id="resnet50 without its head",
        ),
        pytest.param(
            {
                n: s
                for n, s in shapes_of(entry_of("densenet121"), 5).items()
                if not n.startswith("classifier")
            },
            id="densenet121 without its head",
        ),
    ],
)
def test_no_head_no_classifier(shapes: Shapes) -> None:
    with pytest.raises(NotAClassifier, match="no classification layer") as caught:
        build(hollow_checkpoint(shapes))
    assert "model.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tensors", [[], [stored("codes", np.zeros((4, 4), np.int8))]])
def test_nothing_to_analyse(tensors: list[object]) -> None:
    with pytest.raises(UnsupportedLayout, match="floating-point"):
        build(checkpoint(tensors))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["conv2.weight", "fc2.bias", "bn1.running_var"])
def test_non_finite_weights_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UnsupportedLayout, match=rf"NaN or infinite weights in {name.rpartition('.')[0]}"):
        build(_spoilt(name, value))


def test_a_float64_beyond_float32_counts_as_infinite() -> None:
    tensors = [*hollow_checkpoint(linear("a", 4, 8)).tensors, stored("b.weight", np.full((3, 4), 1e300))]
    with pytest.raises(UnsupportedLayout, match="in b;"):
        build(checkpoint(tensors))


@pytest.mark.parametrize("value", [3.4e38, -1e20])
@pytest.mark.parametrize("name", ["conv2.weight", "fc2.bias", "bn1.running_mean"])
def test_weights_too_large_to_compute_with_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UnsupportedLayout, match=rf"larger than 1e\+15 in {name.rpartition('.')[0]};"):
        build(_spoilt(name, value))


def test_large_weights_that_can_be_computed_with_pass() -> None:
    assert build(_spoilt("fc2.weight", -1e14)).num_classes == 10


def test_negative_running_variances_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedLayout, match="variances below zero in bn2;"):
        build(_spoilt("bn2.running_var", -1e-5))


@pytest.mark.parametrize(
    ("classes", "inputs", "analysed"),
    [
        (2048, 512, True),
        (2049, 512, False),
        (151_936, 64, False),
        (2, 1 << 16, True),
        (2, (1 << 16) + 1, False),
        (1000, 16778, False),
    ],
)
def test_a_head_is_refused_whose_statistics_would_exhaust_memory(
    classes: int, inputs: int, analysed: bool
) -> None:
    given = hollow_checkpoint({**conv("conv", inputs, 3, 1), **linear("fc", classes, inputs)})
    if analysed:
        assert build(given).num_classes == classes
    else:
        with pytest.raises(
            UnsupportedLayout, match=f"{classes:,} classes apart by {inputs:,} inputs; expected at most"
        ):
            build(given)


def test_more_tensors_than_any_network_has_are_hostile() -> None:
    with pytest.raises(HostileFile, match="10,001 tensors"):
        build(hollow_checkpoint({f"l{n}.weight": (2, 2) for n in range(10_001)}))


@pytest.mark.parametrize("ordered", [True, False])
def test_time_grows_with_the_layers_and_not_with_their_square(ordered: bool) -> None:
    layers = {f"a{n}x.weight": (7, 9) for n in range(3000)}
    vectors = {f"b{n}x.{leaf}": (8,) for n in range(1500) for leaf in ("weight", "running_var")}
    started = process_time()
    network = build(hollow_checkpoint({**layers, **vectors, "z.weight": (3, 7)}, ordered=ordered))
    assert process_time() - started < 3
    assert network.layers[network.head].name == "z"


LARGE = {**conv("conv1", 16, 3), **conv("conv2", 32, 16), **linear("fc", 10, 32)}


def replaced(stem: str, *parts: StoredTensor) -> Checkpoint:
    """The tensors of LARGE, others in the place of one weight."""
    tensors: list[StoredTensor] = []
    for name, shape in LARGE.items():
        tensors += parts if name == f"{stem}.weight" else [hollow(name, shape)]
    return checkpoint(tensors)


def parts(stem: str, *leaves: str) -> list[StoredTensor]:
    return [hollow(f"{stem}.{leaf}", LARGE[f"{stem}.weight"]) for leaf in leaves]


@pytest.mark.parametrize(
    ("leaves", "refusal"),
    [
        (("weight_g", "weight_v"), "2 of its weights are kept in a way that is not read: 'conv1.weight_g'"),
        (("parametrizations.weight.original",), "1 of its weights are kept in a way that is not read"),
        (("kernel",), "the first of its convolutions, 'conv2', takes 16 channels"),
    ],
)
def test_a_weight_of_no_layer_is_refused_however_small(leaves: tuple[str, ...], refusal: str) -> None:
    """Parts in shapes that no rule makes a weight of, and a weight by a name that no layer has."""
    with pytest.raises(WeightfeatError, match=refusal):
        build(replaced("conv1", *parts("conv1", *leaves)))
    with pytest.raises(UnsupportedLayout, match=f"belong to no layer analysed: 'conv2.{leaves[0]}'"):
        build(replaced("conv2", *parts("conv2", *leaves)))


@pytest.mark.parametrize("dtype", ["int8", "complex64"])
def test_weights_that_are_no_floats_count_as_weights(dtype: str) -> None:
    def changed(stem: str) -> Checkpoint:
        name = f"{stem}.weight"
        return replaced(stem, stored(name, np.zeros(LARGE[name], dtype)))

    with pytest.raises(UnsupportedLayout, match=f"not read: 'conv1.weight' \\({dtype}\\)"):
        build(changed("conv1"))
    with pytest.raises(UnsupportedLayout, match="quantisation"):
        build(changed("conv2"))


def test_names_like_those_of_parts_are_weights_where_their_partners_are_absent() -> None:
    shapes = {"attention_v.weight": (8, 8), "a.weight_v": (8, 8), "a.weight_u": (8, 8), **linear("fc", 3, 8)}
    tensors = hollow_checkpoint(shapes).tensors
    assert numeric(checkpoint(tensors)) == tensors


def test_small_constants_and_counters_are_not_noted() -> None:
    beside = {"mean": (1, 3, 1, 1), "scale": (16,), "bn1.num_batches_tracked": ()}
    network = build(hollow_checkpoint({**SMALL, **beside}))
    assert [finding.detail for finding in network.findings] == [
        "unknown architecture: layers and partners read from shapes"
    ]


@pytest.mark.parametrize(("share", "noted"), [(0.0, False), (0.05, False), (0.5, True), (0.9, True)])
def test_pruned_weights_are_noted(share: float, noted: bool) -> None:
    rng = np.random.default_rng(1)
    sizes = [(64, 3, 3, 3), (64, 64, 3, 3), (10, 64)]
    tensors = []
    for number, shape in enumerate(sizes):
        kept = rng.random(shape) >= share
        tensors.append(stored(f"layer{number}.weight", (rng.normal(size=shape) * kept).astype(np.float32)))
    details = [finding.detail for finding in build(checkpoint(tensors)).findings]
    assert any("exactly zero" in detail for detail in details) == noted
    if noted:
        found = next(float(d.split("%")[0].split()[-1]) for d in details if "exactly zero" in d)
        assert abs(found / 100 - share) < 0.05


def test_the_files_own_findings_are_carried_over() -> None:
    finding = Finding("foreign-callable", "os.system")
    source = hollow_checkpoint(SMALL)
    carrying = Checkpoint(source.path, source.format, source.sha256, source.tensors, findings=(finding,))
    assert build(carrying).findings[0] is finding


_shape = st.lists(st.integers(0, 40), min_size=0, max_size=6).map(tuple)
_name = st.one_of(
    st.sampled_from(
        ["fc.weight", "fc.bias", "a.weight", "a.running_var", "a.running_mean", "b", "conv1.weight"]
    ),
    st.text(max_size=6),
)


@given(st.dictionaries(_name, _shape, max_size=8), st.booleans())
def test_any_shapes_give_a_network_or_a_named_error(
    shapes: dict[str, tuple[int, ...]], ordered: bool
) -> None:
    try:
        network = build(hollow_checkpoint(shapes, ordered=ordered))
    except WeightfeatError:
        return
    assert network.layers[network.head].weight.shape[0] == network.num_classes >= 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
@pytest.mark.parametrize(
    ("file", "family", "layers", "head"),
    [
        ("akamaster__pytorch_resnet_cifar10__resnet20-12fca82f.th", "resnet", 20, "linear"),
        ("akamaster__pytorch_resnet_cifar10__resnet56-4bfd9763.th", "resnet", 56, "linear"),
        ("verazuo__badnets-pytorch__badnet-CIFAR10.pth", "unknown", 4, "fc2.0"),
        ("R4hulR__mnistCNN-pytorch__mnist_cnn.pt", "unknown", 5, "fc3"),
        ("BenjiDayan__pytorch_learning__cifar_net.pth", "unknown", 5, "fc3"),
        ("YiZeng623__I-BAU__badnets_8_02_ckpt.pth", "vgg", 7, "classifier"),
        ("atreides-K__Basic-Image-Classification-ML__resnet20.pth", "resnet", 20, "fc"),
        ("GuanZihan__Deep-Backdoor-Attack__ResNet34-clean-91.tar", "resnet", 50, "fc"),
    ],
)
def test_third_party_checkpoints(file: str, family: str, layers: int, head: str) -> None:
    network = build(read(SHARED / file))
    found = (network.family, len(network.layers), network.layers[network.head].name, network.num_classes)
    assert found == (family, layers, head, 10)


def _spoilt(name: str, value: float) -> Checkpoint:
    tensors = []
    for tensor in hollow_checkpoint(SMALL).tensors:
        data = tensor.data.copy()
        if tensor.name == name:
            data.flat[-1] = value
        tensors.append(stored(tensor.name, data))
    return checkpoint(tensors)
