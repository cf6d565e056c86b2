"""The codebook: unit codes, their feature space, and the assignment of tokens to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.competition import rest_total
from protoquant.codebook.mixture import Mixture
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.space.layer_space import LayerSpace
from protoquant.core.artifacts import load_tensors, open_artifact, read_json, save_tensors, write_json
from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.features.config import LAST
from protoquant.features.tokens import PatchTokens

Space = FeatureNorm | LayerSpace
"""What maps patch tokens to the vectors that are compared with codes."""
KIND = "codebook"
_TENSORS, _DESCRIPTION = "codebook.safetensors", "codebook.json"


@dataclass(frozen=True)
class Assignment:
    """The nearest code of every token.

    Attributes:
        indices: Code indices (n, t) in [0, k).
        similarities: Cosine with that code (n, t) in [-1, 1].
    """

    indices: Int64[Tensor, "n t"]
    similarities: Float[Tensor, "n t"]


@dataclass(frozen=True)
class Codebook:
    """Codes and their feature space.

    Attributes:
        codes: Unit vectors (k, d), float32.
        norm: Map from patch tokens into the space of the codes.
        class_of_code: With class-aware seeding, the label that each code was seeded from (k); otherwise None.
        rest: Rest codes that compete in place of the codes that pruning removed; None if there are none.
        mixture: The train patches that the codes are made of, while a model is trained; None for free codes. It is not
            saved with the codes.
    """

    codes: Float[Tensor, "k d"]
    norm: Space
    class_of_code: tuple[int, ...] | None = None
    rest: Rest | None = None
    mixture: Mixture | None = None

    @property
    def feature_norm(self) -> str:
        """Name of the feature space."""
        return self.norm.name

    @property
    def k(self) -> int:
        """Number of codes."""
        return int(self.codes.shape[0])

    @property
    def d(self) -> int:
        """Dimension of tokens and codes."""
        return int(self.codes.shape[1])

    def similarity(self, tokens: PatchTokens) -> Float[Tensor, "n t k"]:
        """Cosine of every patch token with every code.

        Args:
            tokens: Patch tokens without prefix tokens, any scale, float16 or float32.

        Returns:
            Similarities in [-1, 1]; 0 for a zero token.

        Raises:
            ShapeError: d differs from the codebook's.
            DataError: A token holds NaN or infinity.
        """
        return self._cosines(tokens, self.codes)

    def background(self, tokens: PatchTokens, temperature: float) -> Float[Tensor, "n t"] | None:
        """Log of the sum that the rest codes add to the softmax over codes at every cell.

        Args:
            tokens: As for :meth:`similarity`.
            temperature: Temperature of the softmax, > 0.

        Returns:
            ``logsumexp(cosine / temperature + weight)`` over the rest codes; None without rest codes.

        Raises:
            ShapeError: d differs from the codebook's.
            DataError: A token holds NaN or infinity.
        """
        if self.rest is None:
            return None
        return rest_total(self._cosines(tokens, self.rest.codes), temperature, self.rest.weights)

    def _cosines(self, tokens: PatchTokens, units: Float[Tensor, "m d"]) -> Float[Tensor, "n t m"]:
        d = tokens.shape[-1]
        if d != self.d:
            raise ShapeError(f"tokens have {d} dimensions, the codebook has {self.d}; quantize these features first")
        return self.norm.cosines(tokens, units).clamp_(-1.0, 1.0)

    def assign(self, tokens: PatchTokens) -> Assignment:
        """Match every patch token to its nearest code by cosine similarity.

        Ties go to the lower code index. A zero token has no direction and gets code 0 and similarity 0.

        Args:
            tokens: Patch tokens without prefix tokens, any scale, float16 or float32.

        Returns:
            Code indices (n, t) in [0, k) and similarities (n, t) in [-1, 1].

        Raises:
            ShapeError: d differs from the codebook's.
            DataError: A token holds NaN or infinity.

        Source:
            van den Oord et al. 2017, eq. 1, with cosine in place of Euclidean distance.
        """
        similarities, indices = self.similarity(tokens).max(dim=-1)
        return Assignment(indices, similarities)

    def to(self, device: torch.device) -> "Codebook":
        """Copy to a device."""
        rest = None if self.rest is None else self.rest.to(device)
        mixture = None if self.mixture is None else self.mixture.to(device)
        return Codebook(self.codes.to(device), self.norm.to(device), self.class_of_code, rest, mixture)

    def only(self, kept: Int64[Tensor, " m"], rest: Rest | None = None) -> "Codebook":
        """The codebook of some of the codes, renumbered in the given order.

        Args:
            kept: Codes that stay, in [0, k).
            rest: Rest codes that compete in place of the others; None for none.
        """
        of_code = self.class_of_code
        classes = None if of_code is None else tuple(of_code[code] for code in kept.tolist())
        mixture = None if self.mixture is None else self.mixture.on(kept)
        return Codebook(self.codes[kept.to(self.codes.device)], self.norm, classes, rest, mixture)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save: ``codes``, those of the feature space and those of the rest codes."""
        return {"codes": self.codes, **self.norm.tensors(), **({} if self.rest is None else self.rest.tensors())}

    @property
    def layers(self) -> list[dict[str, Any]] | None:
        """Name, grid, dimension and weight of each layer, as plain values; None for the last layer alone."""
        return self.norm.description() if isinstance(self.norm, LayerSpace) else None

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers of the backbone whose tokens the codes are compared with."""
        return self.norm.names if isinstance(self.norm, LayerSpace) else (LAST,)

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, Tensor],
        feature_norm: str,
        class_of_code: tuple[int, ...] | None = None,
        where: str = "the codebook",
        layers: Sequence[Mapping[str, Any]] | None = None,
    ) -> "Codebook":
        """Rebuild a codebook from the result of :meth:`tensors`.

        Args:
            tensors: ``codes`` (k, d), the tensors of the feature space, and with rest codes ``rest`` (m, d) and
                ``rest_weights`` (m); no other name.
            feature_norm: Name of the feature space.
            class_of_code: Label of each code, or None.
            where: Name of the source in error messages.
            layers: As in :attr:`layers`.

        Raises:
            ArtifactError: A tensor is missing, left over, of a wrong shape or type, or not of unit rows.
        """
        tensors, rest = Rest.split_off(tensors, where)
        if "codes" not in tensors:
            raise ArtifactError(f"{where} must hold codes, got tensors {sorted(tensors)}; run quantize again")
        codes = tensors["codes"]
        _check_codes(codes, class_of_code, where)
        others = {name: tensor for name, tensor in tensors.items() if name != "codes"}
        norm: Space
        if layers is None:
            norm = FeatureNorm.from_tensors(feature_norm, others, int(codes.shape[1]), where)
        else:
            norm = LayerSpace.from_tensors(layers, others, where)
        return cls(codes, norm, class_of_code, rest)

    def save(self, folder: Path) -> None:
        """Write the codebook's two files into a folder that :func:`core.artifacts.writing` opened."""
        save_tensors(folder / _TENSORS, self.tensors())
        classes = None if self.class_of_code is None else list(self.class_of_code)
        description = {"class_of_code": classes, "d": self.d, "feature_norm": self.feature_norm, "k": self.k}
        write_json(folder / _DESCRIPTION, description | ({} if self.layers is None else {"layers": self.layers}))

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> "Codebook":
        """Read the codebook of a quantize output.

        Args:
            path: The output folder of quantize.
            verify: Also compare the digest of every file.

        Raises:
            ArtifactError: The folder is missing, damaged, or holds something else.
        """
        open_artifact(path, KIND, verify=verify)
        described = read_json(path / _DESCRIPTION)
        classes = described["class_of_code"]
        codebook = cls.from_tensors(
            load_tensors(path / _TENSORS),
            described["feature_norm"],
            None if classes is None else tuple(classes),
            where=str(path / _TENSORS),
            layers=described.get("layers"),
        )
        if (codebook.k, codebook.d) != (described["k"], described["d"]):
            raise ArtifactError(
                f"{path / _TENSORS} holds {codebook.k} codes of {codebook.d} dimensions, {_DESCRIPTION} says "
                f"{described['k']} of {described['d']}; run quantize again"
            )
        return codebook


def _check_codes(codes: Tensor, class_of_code: tuple[int, ...] | None, where: str) -> None:
    """Refuse codes that do not form a codebook."""
    again = "run quantize again"
    if codes.ndim != 2 or codes.dtype != torch.float32 or 0 in codes.shape:
        raise ArtifactError(f"{where}: codes must be float32 (k, d), got {codes.dtype} {tuple(codes.shape)}; {again}")
    if not torch.allclose(torch.linalg.vector_norm(codes, dim=1), torch.ones(1, device=codes.device), atol=1e-3):
        raise ArtifactError(f"{where}: every code must have norm 1; {again}")
    if class_of_code is not None and len(class_of_code) != len(codes):
        raise ArtifactError(f"{where}: class_of_code has {len(class_of_code)} entries for {len(codes)} codes; {again}")
