"""TorchScript: what its code computes with is what is read, or the file is refused.

torch loads and runs each deceit in a process of its own, to prove that it computes with the hidden weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from checkpoint_files import records, rewrite
from torch_child import TorchChild, image, torch_child
from weightfeat.checkpoint import read
from weightfeat.errors import WeightfeatError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def child() -> Iterator[TorchChild]:
    with torch_child() as running:
        yield running


def body() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def head(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(16, 5)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.fc = head(2)


class InAList(Base):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = [float(value) for value in head(3).weight.detach().ravel()]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.body(x), torch.tensor(self.numbers).view(5, 16))


class InATuple(Base):
    def __init__(self) -> None:
        super().__init__()
        self.kept = (head(3).weight.detach(), [1] * 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.body(x), self.kept[0])


class Changed(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.body(x), self.fc.weight * -3.0 + 0.1)


class ChangedForAProduct(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.fc.weight * -3.0
        return torch.matmul(self.body(x), weight.t())


class ChangedForAFunction(Base):
    def apply(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = x.sum() * 0.0
        return self.apply(self.body(x), self.fc.weight * -3.0 + nothing)


class MixedWithData(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        return torch.matmul(features, (self.fc.weight * features.mean()).t())


class MixedInSteps(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        one = features.sum() * 0.0 + 1.0
        turned = torch.flip(self.fc.weight, [0]) * one
        shifted = (turned + one).t().contiguous()
        return features @ shifted


class Standardised(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.fc.weight
        return nn.functional.linear(self.body(x), weight - weight.mean(dim=1, keepdim=True))


class Normalised(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) @ nn.functional.normalize(self.fc.weight).t()


class MadeByMethod(Base):
    def weight(self) -> torch.Tensor:
        return self.fc.weight * -3.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.body(x), self.weight())


class MadeByMethodForAProduct(MadeByMethod):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight()
        return torch.matmul(self.body(x), weight.t())


class MadeWithin(Base):
    def apply(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, weight * -3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply(self.body(x), self.fc.weight)


def negated(weight: torch.Tensor) -> torch.Tensor:
    return -weight


class MadeByFunction(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) @ negated(self.fc.weight).t()


class MadeInOneBranch(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.fc.weight * -3.0 if x.numel() > 0 else self.fc.weight
        return nn.functional.linear(self.body(x), weight)


class MadeInALoop(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, out = self.fc.weight, torch.zeros(1)
        for _ in range(2):
            out = nn.functional.linear(self.body(x), weight)
            weight = weight * -3.0
        return out


class Written(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.fc.weight
        weight.mul_(-1.0)
        return self.fc(self.body(x))


class Replaced(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", head(3).weight.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kernel = torch.ones(5, 16)
        return nn.functional.linear(self.body(x), self.kernel)


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", head(2).weight.detach())
        self.register_buffer("change", head(3).weight.detach() - head(2).weight.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight)

    @torch.jit.export
    def __getstate__(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "change": self.change}

    @torch.jit.export
    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self.weight = state["weight"] + state["change"]
        self.change = state["change"]
        self.training = False


class WithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.fc = Stateful()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))  # type: ignore[no-any-return]


def shown(module: nn.Module) -> bytes:
    """What the network would compute if its stored head were what it uses."""
    with torch.no_grad():
        features = body()(torch.from_numpy(image()))
        return head(2)(features).numpy().tobytes()


DECEITS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "in a list of numbers": (InAList, "computes the weights"),
    "in a tuple": (InATuple, "holds weights outside"),
    "made by arithmetic": (Changed, "computes the weights that it gives to linear"),
    "made by arithmetic for a product": (ChangedForAProduct, "gives to matmul"),
    "made for a function": (ChangedForAFunction, "gives to apply"),
    "mixed with data for a product": (MixedWithData, "gives to matmul"),
    "mixed with data step by step": (MixedInSteps, "gives to matmul"),
    "standardised": (Standardised, "gives to linear"),
    "normalised for a product": (Normalised, "gives to matmul"),
    "made by a method": (MadeByMethod, "gives to linear"),
    "made by a method for a product": (MadeByMethodForAProduct, "gives to matmul"),
    "made within the function that takes it": (MadeWithin, "gives to linear"),
    "made by a function": (MadeByFunction, "gives to matmul"),
    "made in one branch": (MadeInOneBranch, "gives to linear"),
    "made in a loop": (MadeInALoop, "gives to linear"),
    "changed in place": (Written, "changes a stored tensor"),
    "put in another's place": (Replaced, "in the place of 'kernel'"),
    "made by __setstate__": (WithState, "__setstate__"),
}


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(module.eval()), path)
    return path


@pytest.mark.parametrize("name", DECEITS)
def test_code_that_computes_with_other_weights_is_refused(
    tmp_path: Path, child: TorchChild, name: str
) -> None:
    make, reason = DECEITS[name]
    path = scripted(make(), tmp_path / "network.pt")
    (answer,) = child.ask([path], "script")
    assert answer.tensors is not None, answer.said
    assert answer.tensors["output"][2] != shown(make())
    with pytest.raises(WeightfeatError, match=reason):
        read(path)


class Plain(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))  # type: ignore[no-any-return]


def edited(path: Path, change: Callable[[bytes], bytes], name: str) -> Path:
    contents = {key: change(raw) if re.search(name, key) else raw for key, raw in records(path).items()}
    assert contents != records(path)
    return rewrite(path, contents)


LINEAR = r"linear(/___torch_mangle_\d+)?\.py$"


def test_weights_in_the_code_itself_are_refused(tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    numbers = ", ".join(map(repr, np.linspace(-1, 1, 80).tolist()))
    source = f"weight = torch.view(torch.tensor([{numbers}]), [5, 16])".encode()
    with pytest.raises(WeightfeatError, match="long lists of numbers"):
        read(edited(path, lambda raw: raw.replace(b"weight = self.weight", source), LINEAR))


@pytest.mark.parametrize(
    "broken", [b"torch.t(weight]", b"torch.t((weight)", b"weight = x(y)", b"t(", b")(", b"torch.t()"]
)
def test_code_whose_brackets_do_not_match_is_no_crash(tmp_path: Path, broken: bytes) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    source = b"weight = " + broken
    try:
        read(edited(path, lambda raw: raw.replace(b"weight = self.weight", source), LINEAR))
    except WeightfeatError:
        return


def test_attributes_that_a_class_does_not_declare_are_refused(tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    with pytest.raises(WeightfeatError, match="does not declare"):
        read(edited(path, lambda raw: raw.replace(b"  fc : ", b"  zz : "), r"compute_with\.py$"))


def test_objects_of_classes_that_the_code_lacks_are_refused(tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    with pytest.raises(WeightfeatError, match="does not define"):
        read(edited(path, lambda raw: raw.replace(b"class Linear(", b"class Other("), LINEAR))


def test_a_description_of_the_oldest_layout_beside_the_newer_is_refused(tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    contents = records(path)
    top = next(iter(contents)).split("/")[0]
    with pytest.raises(WeightfeatError, match=r"model\.json"):
        read(rewrite(path, {**contents, f"{top}/model.json": b"{}"}))


class Unread(Base):
    def __init__(self) -> None:
        super().__init__()
        self.aux = head(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["script", "trace"])
def test_a_layer_that_the_code_never_reads_is_left_out_and_named(tmp_path: Path, way: str) -> None:
    path, module = tmp_path / "network.pt", Unread().eval()
    made = torch.jit.script(module) if way == "script" else torch.jit.trace(module, torch.from_numpy(image()))
    torch.jit.save(made, path)
    found = read(path)
    assert [tensor.name for tensor in found.tensors] == [
        "body.0.weight",
        "body.0.bias",
        "fc.weight",
        "fc.bias",
    ]
    assert ["'aux'" in finding.detail for finding in found.findings] == [True]


class Saves(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "canary")
        return self.fc(self.body(x))  # type: ignore[no-any-return]


class Opens(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.from_file("canary", False, 4, dtype=torch.uint8)
        return self.fc(self.body(x)) + y.sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("make", "name"), [(Saves, "torch.save"), (Opens, "torch.from_file")])
def test_code_that_reaches_for_files_is_a_finding(tmp_path: Path, make: type[Base], name: str) -> None:
    (finding,) = read(scripted(make(), tmp_path / "network.pt")).findings
    assert finding.kind == "foreign-callable"
    assert name in finding.detail


class Composed(Base):
    """Weight norm as traced: torch's own function of the two parts, which are composed as it does."""

    def __init__(self) -> None:
        super().__init__()
        with pytest.warns(FutureWarning):
            self.fc = nn.utils.weight_norm(self.fc)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))  # type: ignore[no-any-return]


def test_weight_norm_in_code_is_read_as_its_parts(tmp_path: Path) -> None:
    path, module = tmp_path / "network.pt", Composed().eval()
    torch.jit.save(torch.jit.trace(module, torch.from_numpy(image())), path)
    found = {tensor.name for tensor in read(path).tensors}
    assert found == module.state_dict().keys()


class Scaled(nn.Module):
    """What computes with a parameter of its own, as layer scale and position embeddings do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = body()
        self.gain = nn.Parameter(torch.full((16,), 0.1))
        self.place = nn.Parameter(torch.ones(1, 3, 12, 12))
        self.query = nn.Parameter(torch.ones(16, 16))
        self.fc = head(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x + self.place) * self.gain
        return self.fc(x @ self.query)  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["script", "trace"])
def test_parameters_of_its_own_are_read(tmp_path: Path, way: str) -> None:
    path, module = tmp_path / "network.pt", Scaled().eval()
    made = torch.jit.script(module) if way == "script" else torch.jit.trace(module, torch.from_numpy(image()))
    torch.jit.save(made, path)
    found = read(path)
    assert {tensor.name for tensor in found.tensors} == module.state_dict().keys()
    assert not found.findings


def test_a_network_optimised_for_inference_is_refused(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(Plain().eval()))
    torch.jit.save(torch.jit.optimize_for_inference(frozen), tmp_path / "network.pt")
    with pytest.raises(WeightfeatError, match=r"optimised for inference|multiplies by constants"):
        read(tmp_path / "network.pt")


def test_constants_that_are_multiplied_by_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(Plain().eval())), tmp_path / "network.pt")
    path = edited(
        tmp_path / "network.pt", lambda raw: raw.replace(b"torch.linear(", b"torch.addmm("), r"code/.*\.py$"
    )
    with pytest.raises(WeightfeatError, match="multiplies by constants"):
        read(path)


def test_code_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = scripted(Plain(), tmp_path / "network.pt")
    with pytest.raises(WeightfeatError, match="its code has"):
        read(edited(path, lambda raw: raw + b"#" * (5 << 20), LINEAR))
