# SPDX-License-Identifier: Apache-2.0
"""The embedder's task: pictures of one thing lie close together, those of different things far apart.

Sources of the ideas, written anew: supervised contrastive loss (Khosla 2020) and large-margin cosine softmax
(Wang 2018), together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sightline.builders.train.classify import Augment, Labelled, planes, stacked
from sightline.builders.train.compact import Embedder
from sightline.builders.train.embedder import BackboneEmbedder, VectorStore
from sightline.builders.train.metrics import Retrieval, retrieval
from sightline.builders.train.network import StreetDetector
from sightline.errors import BadInputError

AUGMENT = Augment(turn=5.0, shift=0.05, zoom=0.1, flip=True)

VIEWS_EACH = 4
"""Pictures of each identity in a batch."""
_TEMPERATURE = 0.1
_SCALE, _MARGIN = 16.0, 0.15
_MOST_GALLERY = 1200


class EmbedNetwork(nn.Module):
    """The embedder, and in training a centre for each identity."""

    def __init__(
        self,
        identities: int,
        start: StreetDetector | None = None,
        size: tuple[int, int] = (96, 96),
        dimensions: int = 128,
    ) -> None:
        super().__init__()
        self.embedder: nn.Module = (
            Embedder(dimensions) if start is None else BackboneEmbedder(start, size, dimensions)
        )
        self.centres = nn.Parameter(torch.randn(identities, dimensions))

    def forward(self, images: Tensor) -> Tensor:
        embeddings: Tensor = self.embedder(images)
        return embeddings


class EmbedTask:
    """Contrastive and cosine-softmax loss; the score is recall@1 among held-out identities.

    start, stores: a detector whose backbone stays as it is, and what it makes of the training and the held-out
    pictures; without them the whole network learns.
    """

    score_name = "recall@1"

    def __init__(
        self,
        train: Labelled,
        held_out: Labelled | None,
        classes: tuple[str, ...] = (),
        augment: Augment = AUGMENT,
        *,
        size: tuple[int, int] = (96, 96),
        start: StreetDetector | None = None,
        stores: tuple[VectorStore, VectorStore] | None = None,
    ) -> None:
        self.stores = stores
        self.train, self.held_out, self.classes, self.augment = train, held_out, classes, augment
        self.identities = int(train.kinds.max()) + 1
        self._members = [np.flatnonzero(train.kinds == k) for k in range(self.identities)]
        if self.identities < 2 or any(len(m) < 2 for m in self._members):
            raise BadInputError("an embedder needs at least two identities with at least two pictures each")
        self.network: nn.Module = EmbedNetwork(self.identities, start, size)
        self.images = len(train)

    def batches(self, size: int, seed: int) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Endless batches of VIEWS_EACH pictures for each of some identities."""
        rng = np.random.default_rng(seed)
        chosen = max(min(size // VIEWS_EACH, self.identities), 2)
        while True:
            order = rng.permutation(self.identities)
            order = np.resize(order, max(len(order) // chosen, 1) * chosen)
            for kinds in order.reshape(-1, chosen):
                yield self._batch(kinds, rng)

    def _batch(self, kinds: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        images, numbers = [], []
        for kind in kinds:
            members = self._members[int(kind)]
            for pick in rng.choice(members, VIEWS_EACH, replace=len(members) < VIEWS_EACH):
                if self.stores is None:
                    images.append(self.augment(np.asarray(self.train.pictures[int(pick)]), rng))
                else:
                    vectors = self.stores[0].vectors
                    images.append(vectors[int(rng.integers(len(vectors))), int(pick)])
                numbers.append(int(kind))
        return images, np.array(numbers, np.int64)

    def loss(
        self, network: nn.Module, batch: tuple[list[np.ndarray], np.ndarray], device: torch.device
    ) -> Tensor:
        """The sum of both losses."""
        images, numbers = batch
        kinds = torch.from_numpy(numbers).to(device)
        if self.stores is None:
            found = network(stacked(images, device)).float()
        else:
            vectors = torch.from_numpy(np.stack(images)).to(device).float()
            found = network.embedder.branch(vectors)  # type: ignore[operator, union-attr]
        centres = functional.normalize(network.centres.float(), dim=1)  # type: ignore[arg-type, operator, union-attr]
        return contrastive_loss(found, kinds) + cosine_softmax_loss(found, centres, kinds)

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Figures of a search among held-out pictures, each looked for among all others."""
        if self.held_out is None:
            return {}

        def infer(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return np.asarray(network(torch.from_numpy(images).to(device)).float().cpu())

        if self.stores is None:
            result = search_figures(infer, self.held_out, _MOST_GALLERY)
        else:
            with torch.no_grad():
                vectors = torch.from_numpy(self.stores[1].vectors[0]).to(device).float()
                found = np.asarray(network.embedder.branch(vectors).cpu())  # type: ignore[operator, union-attr]
            result = search_among(found, self.held_out.kinds)
        return {"recall@1": result.recall_at_1, "mAP": result.mean_average_precision}


def contrastive_loss(found: Tensor, kinds: Tensor) -> Tensor:
    """Supervised contrastive loss of embeddings (B, D) of length 1 with identities (B,)."""
    alike = found @ found.T / _TEMPERATURE
    itself = torch.eye(len(found), dtype=torch.bool, device=found.device)
    alike = alike.masked_fill(itself, -1e9)
    same = ((kinds[:, None] == kinds[None]) & ~itself).float()
    share = functional.log_softmax(alike, 1)
    return -((share * same).sum(1) / same.sum(1).clamp(min=1)).mean()


def cosine_softmax_loss(found: Tensor, centres: Tensor, kinds: Tensor) -> Tensor:
    """Cross entropy of the cosines to the identities' centres (K, D), with a margin for the right one."""
    cosines = found @ centres.T
    margin = functional.one_hot(kinds, len(centres)).to(cosines.dtype) * _MARGIN
    return functional.cross_entropy(_SCALE * (cosines - margin), kinds)


def search_figures(
    infer: Callable[[np.ndarray], np.ndarray], data: Labelled, most: int | None = None
) -> Retrieval:
    """Each picture is looked for among all others; infer is (B, 3, H, W) float32 0..1 -> (B, D) of length 1."""
    picks = np.arange(min(most or len(data), len(data)))
    found = np.concatenate([infer(batch) for batch in planes(data.pictures, picks)])
    return search_among(found, data.kinds[picks])


def search_among(found: np.ndarray, kinds: np.ndarray) -> Retrieval:
    """Figures of embeddings (N, D) of length 1 with identities (N,), each looked for among all others."""
    return retrieval(found @ found.T, kinds, kinds, np.eye(len(found), dtype=bool))
