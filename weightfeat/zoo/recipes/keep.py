"""What stays of the pairs once their model files are gone: a digest folder that grows by whole shards.

`METADATA.csv`, `index.csv` and `digests/shard-<first>-<last>.zip`, beside `given_up.csv`: pairs that missed a gate. Of
a digest only the blocks that verdicts are made from are kept, or a few thousand networks would not fit a repository.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightfeat.digest import DigestStore
from weightfeat.files import make_folder
from weightfeat.probes import PRODUCTS
from weightfeat.rounds.digest_folder import DIGESTS, INDEX_FILE, read_index
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.extraction import digest_file
from weightfeat.zoo.metadata import read_table, text, write_table
from weightfeat.zoo.recipes.produce import RECORD

BLOCKS = ("layers", "norms", "moments", "head", "latents", "places")
GIVEN_UP_FILE = "given_up.csv"
GIVEN_UP = ("design_pair", "missed", "clean", "attack", "data", "architecture", "hard")
SHARD = 32  # pairs


class RecipeSet:
    """The folder `root`. Safe to kill at any point: digests first, then the index, then METADATA.csv."""

    def __init__(self, root: Path) -> None:
        self.root = make_folder(root, "recipe set")
        self.store = DigestStore(root / DIGESTS)

    def absorb(self, out: Path, *, whole: bool = False) -> int:
        """Digest finished pairs of `out` that are not held yet; a shard for every `SHARD` of them. Returns how many.

        With `whole` what is left over makes a smaller shard.
        """
        held = self._index()
        new = [(path.parent, rows) for path, rows in _records(out) if rows[0]["model_name"] not in held]
        count = 0
        for start in range(0, len(new), SHARD):
            part = new[start : start + SHARD]
            if len(part) == SHARD or whole:
                self._add(part)
                count += len(part)
        self._write_given_up(out)
        return count

    def _add(self, pairs: Sequence[tuple[Path, list[dict[str, Any]]]]) -> None:
        keys = []
        for folder, rows in pairs:
            for row in rows:
                file = folder / f"{row['model_name']}.pt"
                # A network of a usual side shows its side by itself; many of these were trained on smaller images.
                side = row["recipe_pixels"]
                digest, _ = digest_file(file, threads=1, blocks=BLOCKS, products=PRODUCTS, side=side)
                self.store.put(digest)
                keys.append(digest.key)
        names = [row["model_name"] for _, rows in pairs for row in rows]
        self.store.pack(keys, f"{names[0].removeprefix('id-')}-{names[-1].removeprefix('id-')}")
        index = self._index() | dict(zip(names, keys, strict=True))
        table = [{"model_name": name, "sha256": index[name]} for name in sorted(index)]
        write_table(self.root / INDEX_FILE, table, ("model_name", "sha256"))
        known = {row["model_name"]: row for row in read_table(self.root / METADATA_FILE)}
        for _, rows in pairs:
            for row in rows:
                known[row["model_name"]] = {key: text(value) for key, value in row.items()}
        columns = tuple(dict.fromkeys(column for row in known.values() for column in row))
        write_table(self.root / METADATA_FILE, [known[name] for name in sorted(known)], columns)

    def _index(self) -> dict[str, str]:
        path = self.root / INDEX_FILE
        return read_index(path) if path.exists() else {}

    def _write_given_up(self, out: Path) -> None:
        path = self.root / GIVEN_UP_FILE
        known = {row["design_pair"]: row for row in read_table(path)}
        for record in sorted(out.glob("pair-*/given_up.json")):
            said = json.loads(record.read_text())
            pair = str(int(record.parent.name.removeprefix("pair-")))
            recipe = said["recipe"]
            known[pair] = {"design_pair": pair, **{k: str(said[k]) for k in ("missed", "clean", "attack")}}
            known[pair] |= {key: str(recipe[key]) for key in ("data", "architecture", "hard")}
        write_table(path, [known[pair] for pair in sorted(known, key=int)], GIVEN_UP)


def _records(out: Path) -> list[tuple[Path, list[dict[str, Any]]]]:
    """The finished pairs of a folder, in order, with their two rows each."""
    paths = sorted(out.glob(f"pair-*/{RECORD}"))
    return [(path, json.loads(path.read_text())["rows"]) for path in paths]
