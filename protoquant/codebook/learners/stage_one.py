"""The losses of the paper's stage 1, with the gradient that moves the codes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.learners.balance import balance_loss
from protoquant.codebook.learners.config import GradientLearnerConfig
from protoquant.codebook.matching import Metric
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.task.quantised_mean import QuantisedMean
from protoquant.codebook.task.task_head import TaskHead
from protoquant.distributed.ranks import totals_over_ranks, world

_SMALL = 1e-12


@dataclass(frozen=True)
class Losses:
    """The losses of a batch, each a number with a gradient to the codes.

    In a distributed run a process holds its part of each: values and gradients add up to the whole.

    Attributes:
        total: The weighted sum of the others.
        task: Cross-entropy of the task head on the quantised maps, in nats.
        codebook: Mean over tokens and dimensions of the squared difference of code and token.
        balance: ln k - entropy of the mean soft assignment, in nats; 0 if it has no weight.
    """

    total: Float[Tensor, ""]
    task: Float[Tensor, ""]
    codebook: Float[Tensor, ""]
    balance: Float[Tensor, ""]

    def numbers(self) -> dict[str, float]:
        """All losses by name, summed over all processes."""
        names = ("loss", "loss_task", "loss_codebook", "loss_balance")
        parts = (self.total, self.task, self.codebook, self.balance)
        return dict(zip(names, totals_over_ranks(*(float(part.detach()) for part in parts)), strict=True))


class BatchSums:
    """The sums that the losses need from a batch whose tokens are matched to fixed codes.

    The assignment has no gradient, so the task and codebook losses depend on the codes through a few sums only.
    These are collected from a few images at a time, which fit into the processor's cache; nothing as large as
    the batch is built or differentiated.

    Args:
        codes: Codes that the tokens are matched to (k, d).
        norm: Map between tokens and the space of the codes.
        keep: Whether to keep the vectors themselves too, which the balance loss needs.
    """

    def __init__(self, codes: Float[Tensor, "k d"], norm: FeatureNorm, *, keep: bool) -> None:
        self._norm = norm
        self._counts = torch.zeros_like(codes[:, 0])
        self._sums = torch.zeros_like(codes)
        self._energy = torch.zeros((), dtype=torch.float64, device=codes.device)
        self._means: list[QuantisedMean] = []
        self._kept: list[Tensor] | None = [] if keep else None

    def add(
        self, tokens: Float[Tensor, "n t d"], vectors: Float[Tensor, "n t d"], indices: Int64[Tensor, "n t"]
    ) -> None:
        """Add whole images.

        Args:
            tokens: Patch tokens.
            vectors: The same tokens in the space of the codes.
            indices: Index of each token's code.
        """
        flat, own = vectors.flatten(0, 1), indices.flatten()
        self._counts += torch.bincount(own, minlength=len(self._counts)).to(self._counts)
        self._sums.index_add_(0, own, flat)
        self._energy += torch.linalg.vector_norm(flat, dim=1).to(torch.float64).square().sum()
        self._means.append(QuantisedMean.measure(tokens, vectors, indices, norm=self._norm, k=len(self._counts)))
        if self._kept is not None:
            self._kept.append(flat)

    def losses(
        self,
        codes: Float[Tensor, "k d"],
        targets: Float[Tensor, "n c"],
        head: TaskHead,
        config: GradientLearnerConfig,
        metric: Metric,
        *,
        share: float = 1.0,
    ) -> Losses:
        """Compute the losses.

        The quantised token is the code itself, so the task's gradient reaches the codes; a straight-through
        estimator would send it to the frozen backbone instead.

        Args:
            codes: Codes with the same values as those matched to; gradients flow to them.
            targets: Soft labels of the images, in the order they were added.
            head: The frozen task head.
            config: The loss weights.
            metric: Metric of the matching.
            share: Images added here, as a share of the batch; less than 1 in a distributed run.

        Source:
            Janusz et al. 2026, stage 1; dL/de_k = w_task * sum of dCE/dzq_i + w_codebook * 2 / (b d) *
            sum of (e_k - x_i), both over the tokens i of code k.
        """
        task = codebook = balance = 0.0 * codes.sum()
        if self._means:
            means = torch.cat([mean.of(codes) for mean in self._means])
            task = share * torch.nn.functional.cross_entropy(head.of_means(means), targets.to(means))
            codebook = share * self._codebook_loss(codes)
        if self._kept is not None and config.balance_temperature is not None:
            vectors = torch.cat([codes.detach()[:0], *self._kept])
            balance = balance_loss(_similarities(vectors, codes, metric), config.balance_temperature)
            # each process has the whole value but only a part of the gradient
            balance = balance - (1.0 - 1.0 / world()) * balance.detach()
        total = config.weight_task * task + config.weight_codebook * codebook + config.weight_balance * balance
        return Losses(total, task, codebook, balance)

    def _codebook_loss(self, codes: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
        """Mean of (e - x)^2 over tokens and dimensions, multiplied out in float64 because the terms nearly cancel."""
        wide, counts = codes.to(torch.float64), self._counts.to(torch.float64)
        crossed = (wide * self._sums.to(torch.float64)).sum()
        squared = self._energy - 2.0 * crossed + counts @ wide.square().sum(dim=1)
        return (squared / (counts.sum() * codes.shape[1])).to(codes.dtype)


def _similarities(vectors: Float[Tensor, "b d"], codes: Float[Tensor, "k d"], metric: Metric) -> Float[Tensor, "b k"]:
    """Similarity of every vector with every code, with its gradient: the cosine, or minus the squared distance."""
    if metric == "cosine":
        units, directions = (torch.nn.functional.normalize(rows, dim=1, eps=_SMALL) for rows in (vectors, codes))
        return units @ directions.T
    near = 2.0 * vectors @ codes.T - codes.square().sum(dim=1)
    return near - vectors.square().sum(dim=1, keepdim=True)
