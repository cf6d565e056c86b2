"""Chooses for each prototype, among its nearest patches, the one that gives the head the lowest loss."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, log_total, pooled, share_instead, share_of
from protoquant.codebook.tokens import TokenSource, image_batches
from protoquant.head.class_weights import weighed
from protoquant.model.head import head_logits

PASSES = 2
"""Maximum number of rounds over all prototypes."""

_HELD = 2**25
"""Number of presences of offered patches that are held in memory at once: 128 MiB."""
_GAIN = 1e-9
"""A patch is replaced only if the loss falls by more than this, in nats, so that rounding changes nothing."""
_ALIKE = 1e-6


@dataclass(frozen=True)
class Offers:
    """Train patches that codes may become.

    Attributes:
        patches: Position among the train tokens, image * t + cell (k, m); the first is the code's present patch.
        units: The patches as unit vectors (k, m, d).
    """

    patches: Int64[Tensor, "k m"]
    units: Float[Tensor, "k m d"]


def halves(labels: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " a"], Int64[Tensor, " b"]]:
    """Split images in two by class: every other image of a class goes to the second part.

    Args:
        labels: Class of every image.

    Returns:
        Positions of both parts, in the order of the images; the first part gets the extra image of an odd class.
    """
    second = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        second[(labels == label).nonzero().flatten()[1::2]] = True
    return (~second).nonzero().flatten(), second.nonzero().flatten()


@dataclass(frozen=True)
class Judge:
    """The images and the head that judge patches by their loss.

    Attributes:
        source: Images to measure the loss on.
        head: The present head (c, k).
        temperature: Temperature of the softmax over codes.
        batch: Number of images in a batch.
        weights: How much each image counts (n), of mean 1; None: all count the same.
    """

    source: TokenSource
    head: Float[Tensor, "c k"]
    temperature: float
    batch: int
    weights: Float[Tensor, " n"] | None = None


@torch.inference_mode()
def choose_patches(codebook: Codebook, offers: Offers, judge: Judge) -> Int64[Tensor, " k"]:
    """Give each prototype the offered patch with the lowest loss, one prototype after another.

    While a prototype chooses, the codes and presences of all others are fixed; the cells that its new patch takes
    from others are counted when presences are computed again, for the next group of prototypes. A round that does
    not lower the loss is undone. No two codes get the same patch or copies of it. Codes that the head does not use
    keep their patch. Rest codes, if the codebook has any, compete with all codes.

    Args:
        codebook: The codes, each equal to its first offer, on the device to compute on.
        offers: The patches that each code may become.
        judge: Judges the patches by its loss.

    Returns:
        Index of the offer that each code takes (k).
    """
    prototypes = (judge.head > 0).any(dim=0).nonzero().flatten()
    taken = torch.zeros(codebook.k, dtype=torch.int64)
    best, least = taken, _loss(codebook, judge)
    group = max(1, _HELD // max(1, judge.source.n * offers.patches.shape[1]))
    for _ in range(PASSES):
        taken = best.clone()
        for rows in torch.split(prototypes, group):
            _choose(_with(codebook, offers, taken), offers, judge, rows, taken)
        loss = _loss(_with(codebook, offers, taken), judge)
        if loss >= least - _GAIN:
            break
        best, least = taken, loss
    return best


def _choose(
    codebook: Codebook, offers: Offers, judge: Judge, rows: Int64[Tensor, " r"], taken: Int64[Tensor, " k"]
) -> None:
    """Let some prototypes choose in turn; ``taken`` is changed in place."""
    scores, offered = _presences(codebook, offers.units[rows], rows, judge)
    logits = head_logits(scores, judge.head).double()
    labels = judge.source.labels.to(logits.device)
    codes = codebook.codes.clone()
    owned = set(offers.patches.gather(1, taken[:, None]).flatten().tolist())
    for place, code in enumerate(rows.tolist()):
        change = (offered[:, place] - scores[:, code, None]).double()
        losses = _losses(logits, change, judge.head[:, code].double(), labels, judge.weights)
        present = int(taken[code])
        for slot in losses.argsort(stable=True).tolist():
            patch = int(offers.patches[code, slot])
            if slot == present or losses[slot] >= losses[present] - _GAIN:
                break
            if patch in owned or _copied(codes, offers.units[code, slot], code):
                continue
            owned.remove(int(offers.patches[code, present]))
            owned.add(patch)
            taken[code], codes[code] = slot, offers.units[code, slot]
            logits += change[:, slot, None] * judge.head[:, code]
            break


def _losses(
    logits: Float[Tensor, "n c"],
    change: Float[Tensor, "n m"],
    weights: Float[Tensor, " c"],
    labels: Int64[Tensor, " n"],
    counted: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, " m"]:
    """Change of the mean cross-entropy for each change of one presence; only classes with a weight for it matter."""
    classes = weights.nonzero().flatten()
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    shares = torch.exp(logits[:, classes] - total)
    steps = change[:, :, None] * weights[classes]
    grown = torch.log1p((shares[:, None] * torch.expm1(steps)).sum(dim=2))
    return weighed(grown - change * weights[labels][:, None], counted).mean(dim=0)


def _presences(
    codebook: Codebook, units: Float[Tensor, "r m d"], rows: Int64[Tensor, " r"], judge: Judge
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n r m"]]:
    """Presence of every code, and of every offered patch in place of its code."""
    r, m, d = units.shape
    offers, scores, offered = replace(codebook, codes=units.reshape(r * m, d), class_of_code=None), [], []
    for images in image_batches(judge.source, judge.batch * judge.source.t):
        tokens = judge.source.tokens(images).to(units.device)
        similarity = codebook.similarity(tokens)
        total = log_total(similarity, judge.temperature, codebook.background(tokens, judge.temperature))
        shares = share_of(similarity, judge.temperature, total)
        asked = offers.similarity(tokens).reshape(*total.shape, r, m)
        scores.append(pooled(shares))
        offered.append(pooled(share_instead(asked, judge.temperature, total, shares[:, :, rows])))
    return torch.cat(scores), torch.cat(offered)


def _loss(codebook: Codebook, judge: Judge) -> float:
    """Mean cross-entropy of the head with these codes, in nats."""
    labels, total = judge.source.labels, 0.0
    for images in image_batches(judge.source, judge.batch * judge.source.t):
        tokens = judge.source.tokens(images).to(codebook.codes.device)
        background = codebook.background(tokens, judge.temperature)
        scores = pooled(competition(codebook.similarity(tokens), judge.temperature, background))
        logits = head_logits(scores, judge.head).double()
        own = labels[images].to(logits.device)
        if judge.weights is None:
            total += float(torch.nn.functional.cross_entropy(logits, own, reduction="sum"))
        else:
            losses = torch.nn.functional.cross_entropy(logits, own, reduction="none")
            total += float(weighed(losses, judge.weights[images]).sum())
    return total / judge.source.n


def _with(codebook: Codebook, offers: Offers, taken: Int64[Tensor, " k"]) -> Codebook:
    every = torch.arange(codebook.k)
    return replace(codebook, codes=offers.units[every, taken])


def _copied(codes: Float[Tensor, "k d"], unit: Float[Tensor, " d"], own: int) -> bool:
    """Whether another code equals this vector."""
    cosines = codes @ unit
    cosines[own] = -1.0
    return float(cosines.max()) > 1.0 - _ALIKE
