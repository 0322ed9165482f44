"""Run as a program of its own: lists what a Keras HDF5 file holds and where its values lie, as JSON on stdout.

The HDF5 library walks the file's groups in C and was not written for hostile files: flipping single bytes made it
loop for ever. So it runs here, in a process with limits that may die, and never reads a value: whoever started it takes
those from the file by the places listed. This file imports nothing of weightfeat. Format: HDF5 File Format
Specification 3.0.

Usage: python hdf5_listing.py FILE CPU_SECONDS MEMORY_BYTES
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from itertools import count
from math import prod
from typing import Any

_WHOLE_MODEL = "model_weights"
_LOOSE = "top_level_model_weights"  # variables of the model itself, beside its layers'
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_NUMBERED = "vars"
_TEXTS = ("model_config", "training_config")
_MOST_MEMBERS = 100_000
_MOST_PIECES = 20_000
_DEEPEST = 100


class Refused(Exception):
    """The file cannot be listed; its arguments are the name of a fault of this room, and the reason."""


class Skipped(Exception):
    """One variable's values are not to be had."""


def main(path: str, seconds: str, memory: str) -> None:
    for limit, value in (
        (resource.RLIMIT_CPU, int(seconds)),
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    json.dump(answer(path), sys.stdout)


def answer(path: str) -> dict[str, Any]:
    """The listing, or {"fault": [kind, reason]}."""
    import h5py

    try:
        # Unlocked: a file on a read-only disk, or one that is being copied, can be read all the same.
        with h5py.File(path, "r", locking=False) as file:
            return listing(file)
    except Refused as refusal:
        return {"fault": list(refusal.args)}
    except (
        Exception
    ) as error:  # the library has no class of its own: OSError, KeyError, RuntimeError, TypeError...
        return {"fault": ["Malformed", f"the HDF5 library refuses it ({str(error) or type(error).__name__})"]}


def listing(file: Any) -> dict[str, Any]:
    """The texts that describe the network, and its layers with their variables; `ordered` as the network has them."""
    texts = [text(file, name) for name in _TEXTS]
    refuse_two_networks(file)
    holder = member(file, _WHOLE_MODEL) if _WHOLE_MODEL in links(file) else file
    names = strings(holder, "layer_names") if is_group(holder) else None
    if names is not None:
        return {"texts": texts, "ordered": True, "layers": list(listed_layers(holder, names))}
    if any(name in links(file) for name in _CONTAINERS):
        return {"texts": texts, "ordered": False, "layers": list(numbered_layers(file))}
    raise Refused("Unsupported", "it is an HDF5 file without a Keras network")


def refuse_two_networks(file: Any) -> None:
    """Keras takes the first layout it finds, and which it looks for first depends on the function called."""
    inside = set(links(file))
    found = [name for name in (_WHOLE_MODEL, *_CONTAINERS) if name in inside and holds_anything(file, name)]
    found += ["layer_names"] if any(name.startswith("layer_names") for name in file.attrs) else []
    if len(found) > 1:
        raise Refused("Abuse", f"it has two networks, one in {found[0]} and one in {found[1]}")


def holds_anything(file: Any, name: str) -> bool:
    group = member(file, name)
    return not is_group(group) or bool(links(group))


def listed_layers(holder: Any, names: list[str]) -> Iterator[dict[str, Any]]:
    """Keras 1 and 2, and 3's .h5: layers in the order of the network, variables in that of the layer."""
    visits = 0
    for layer in [*names, *([_LOOSE] if _LOOSE in links(holder) and _LOOSE not in names else [])]:
        group = member(holder, layer)
        inside = (strings(group, "weight_names") if is_group(group) else None) or []
        visits += 1 + len(inside)
        if visits > _MOST_MEMBERS:
            raise Refused("Abuse", f"it lists more than {_MOST_MEMBERS:,} variables")
        loose = layer == _LOOSE
        yield {"name": layer, "loose": loose, "variables": [variable(group, name) for name in inside]}


def numbered_layers(file: Any) -> Iterator[dict[str, Any]]:
    """Keras 3's .weights.h5: groups named after classes, without order, their variables in a group "vars"."""
    visits = 0
    stack: list[tuple[Any, str, tuple[str, ...]]] = [
        (file, name, ()) for name in reversed(_CONTAINERS) if name in links(file)
    ]
    while stack:
        parent, name, path = stack.pop()
        group = member(parent, name)
        inside = links(group) if is_group(group) else []
        visits += 1 + len(inside)
        if visits > _MOST_MEMBERS or len(path) > _DEEPEST:
            raise Refused("Abuse", "its groups have too many members or are nested too deep")
        if name == _NUMBERED:
            ordered = sorted(inside, key=lambda number: (len(number), number))
            title = text(group, "name")  # the layer's own, since Keras 3.5
            found = [variable(group, number) for number in ordered]
            yield {"name": ".".join(path), "title": title, "variables": found}
            continue
        own = () if name in _CONTAINERS else (name,)
        stack.extend((group, child, (*path, *own)) for child in reversed(inside))


def is_group(node: Any) -> bool:
    import h5py

    return isinstance(node, h5py.Group)


def links(group: Any) -> list[str]:
    """Names of a group's members."""
    if len(group) > _MOST_MEMBERS:
        raise Refused("Abuse", f"a group has {len(group):,} members")
    return list(group)


def member(group: Any, path: str) -> Any:
    """What lies at a relative path, by hard links only: Keras writes no others, and they may leave the file."""
    import h5py

    found = group
    for part in path.split("/"):
        name = part.encode("utf-8", "surrogateescape")
        if part in ("", ".") or not is_group(found) or not found.id.links.exists(name):
            raise Refused("Malformed", f"it lacks {path[:80]!r}")
        if found.id.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise Refused("Abuse", f"{path[:80]!r} is a link that may lead out of the file")
        found = found[part]
    return found


def text(group: Any, name: str) -> str | None:
    """A text attribute; None where there is none of that name."""
    if name not in group.attrs:
        return None
    check_text(group, name)
    return decoded(group.attrs[name])


def strings(group: Any, name: str) -> list[str] | None:
    """An attribute that lists texts, or its parts name0, name1, ... where Keras had to split it; None where absent."""
    if name in group.attrs:
        return list(texts_of(group, name))
    parts: list[str] = []
    for number in count():
        if f"{name}{number}" not in group.attrs:
            break
        parts += texts_of(group, f"{name}{number}")
    return parts or None


def texts_of(group: Any, name: str) -> Iterator[str]:
    shape = group.attrs.get_id(name).shape
    if shape == (0,):  # an empty list, which Keras writes as one of numbers
        return
    check_text(group, name)
    if len(shape) != 1 or shape[0] > _MOST_MEMBERS:
        raise Refused("Malformed", f"its attribute {name} is no list of names")
    yield from map(decoded, group.attrs[name])


def check_text(group: Any, name: str) -> None:
    import h5py

    attribute = group.attrs.get_id(name)
    if not isinstance(attribute.get_type(), h5py.h5t.TypeStringID) or attribute.shape is None:
        raise Refused("Malformed", f"its attribute {name} is no text")


def decoded(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise Refused("Malformed", "one of its names is a list")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def variable(group: Any, name: str) -> dict[str, Any]:
    """A variable's name with the place of its values, or with the reason why they are not to be had ("skipped")."""
    import h5py

    dataset = member(group, name)
    try:
        if not isinstance(dataset, h5py.Dataset):
            raise Skipped("it is no dataset")
        return {"name": name, "place": place_of(dataset)}
    except Skipped as reason:
        return {"name": name, "skipped": str(reason)}


def place_of(dataset: Any) -> dict[str, Any]:
    """Type, shape, and either `start` of the values in the file or `grid`, `filters` and `pieces`."""
    from h5py import h5d

    properties = dataset.id.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.VIRTUAL or properties.get_external_count():
        raise Refused("Abuse", "a dataset takes its values from other files")
    if dataset.shape is None:
        raise Skipped("it has no shape")
    dtype, item, big_endian = number_type(dataset.id.get_type())
    place = {"dtype": dtype, "big_endian": big_endian, "shape": list(dataset.shape)}
    if layout == h5d.CONTIGUOUS:
        return {**place, "start": contiguous_start(dataset)}
    if layout == h5d.CHUNKED:
        return {
            **place,
            "grid": list(dataset.chunks),
            "filters": filters(properties, item),
            "pieces": pieces(dataset),
        }
    raise Skipped("its values are stored as Keras never stores them")


def contiguous_start(dataset: Any) -> int:
    if 0 in dataset.shape:
        return 0
    start = dataset.id.get_offset()
    if start is None:
        raise Skipped("its values were never written")
    return int(start)


def number_type(kind: Any) -> tuple[str, int, bool]:
    """torch's name, bytes and big-endian order of a number's type; only the exact standard layouts are numbers."""
    from h5py import h5t

    for prefix, name in (("IEEE_F", "float"), ("STD_I", "int"), ("STD_U", "uint")):
        for bits in (16, 32, 64) if name == "float" else (8, 16, 32, 64):
            for order in ("LE", "BE"):
                if kind == getattr(h5t, f"{prefix}{bits}{order}"):
                    return f"{name}{bits}", bits // 8, order == "BE"
    raise Skipped("its elements are no plain numbers")


def spend(pieces: int) -> None:
    """Count the pieces of the whole file: one dataset may be listed under many names."""
    global _listed
    _listed += pieces
    if _listed > _MOST_PIECES:
        raise Refused("Abuse", f"its values lie in more than {_MOST_PIECES:,} pieces")


_listed = 0


def filters(properties: Any, item: int) -> list[str]:
    """Names of the filters in the order they were applied."""
    from h5py import h5z

    known = {h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_DEFLATE: "gzip"}
    found = []
    for number in range(properties.get_nfilters()):
        code, _, values, _ = properties.get_filter(number)
        if code not in known or (code == h5z.FILTER_SHUFFLE and tuple(values) != (item,)):
            raise Skipped("it is packed by other filters than gzip and shuffle")
        found.append(known[code])
    return found


def pieces(dataset: Any) -> list[list[Any]]:
    """[first element's place, start in the file, bytes, mask of skipped filters] of every chunk."""
    expected = prod(-(-size // step) for size, step in zip(dataset.shape, dataset.chunks, strict=True))
    if expected > _MOST_PIECES:
        raise Skipped(f"it lies in {expected:,} pieces")
    spend(expected)
    found: list[list[Any]] = []

    def keep(info: Any) -> bool | None:
        found.append([list(info.chunk_offset), info.byte_offset, info.size, info.filter_mask])
        return True if len(found) > expected else None  # anything but None ends the library's loop

    dataset.id.chunk_iter(keep)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
