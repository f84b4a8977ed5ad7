"""Signatures of pictures in the cache: one small row for each content, whatever the spec of its features.

They lie in a folder beside those of features, in shards like theirs: found by digest, checked, safe against crashes.
"""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cache.errors import UserError
from cache.row_key import FeatureSpec
from cache.shard_file import DamagedShardError
from cache.store import FeatureStore

SIDE = 24  # pixels
FOLDER = "picture-signatures"  # in the cache; no name of a module, which a folder of a cache named `cache` would hide
BACKBONE = "signature"  # what the spec says in place of a network's name

# Raise `decoder` whenever `featurize.decoding.decode` gives other ones.
SPEC = FeatureSpec(
    backbone=BACKBONE,
    weights="",
    layer="",
    pooling="none",
    size=(SIDE, SIDE),
    resize="antialias",
    preprocess="none",
    decoder=1,
    stored="uint8",
)


def signatures_folder(cache_dir: str) -> str:
    """Where the signatures of a cache are: a folder with the one of their spec in it."""
    return os.path.join(cache_dir, FOLDER)


def signature_store(cache_dir: str) -> FeatureStore:
    """The signatures (SIDE, SIDE, 3) uint8 of the contents that a cache knows."""
    return FeatureStore(signatures_folder(cache_dir), SPEC)


def no_signatures(count: int) -> np.ndarray:
    """Signatures of pictures of which nothing is known: (count, SIDE, SIDE, 3) uint8, without any contrast."""
    return np.zeros((count, SIDE, SIDE, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class StoredSignatures:
    """The signatures of `digests` (n, 32) that stay in `store`. known: (n,) bool, those of the others have no contrast.

    `signatures[chosen]` (indices, a mask or a slice) are such signatures again; `read` reads them.
    """

    store: FeatureStore
    digests: np.ndarray
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.digests)

    def __getitem__(self, chosen: Any) -> "StoredSignatures":
        return replace(self, digests=self.digests[chosen], known=self.known[chosen])

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"{len(self)} signatures stay on the disk: read some of them")

    def read(self, chosen: np.ndarray) -> np.ndarray:
        """Those numbered `chosen` (m,): (m, SIDE, SIDE, 3) uint8. Raises UserError where they are damaged or gone."""
        known = self.known[chosen]
        found = no_signatures(len(chosen))
        try:
            found[known] = self.store.read(self.digests[chosen][known])
        except DamagedShardError as error:
            self.store.set_aside(error)
            raise UserError(f"{error}: run again, these signatures alone are made again") from error
        except KeyError as error:
            raise UserError(f"signatures have gone from {self.store.folder}: run again, they are made again") from error
        return found

    def stored_order(self) -> np.ndarray:
        """The numbers (n,) of all, in the order in which they lie in the store: to be read in this one."""
        return np.argsort(self.store.blocks(self.digests), kind="stable")


Signatures = np.ndarray | StoredSignatures


def read_signatures(signatures: Signatures, chosen: np.ndarray) -> np.ndarray:
    """Those numbered `chosen` (m,), in memory: (m, SIDE, SIDE, 3) uint8."""
    return signatures[chosen] if isinstance(signatures, np.ndarray) else signatures.read(chosen)
