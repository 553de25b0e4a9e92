"""Means, variances and covariances of a stream of observations, kept so that those of two parts add up to the whole's.

    n = n₁ + n₂,  d = mean₂ − mean₁,  mean = mean₁ + d n₂ / n,  M = M₁ + M₂ + d dᵀ n₁ n₂ / n

with M the sum of products of deviations from the mean. Chan, Golub & LeVeque 1983.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """The means and central second moments of named variables, for each unit; two of them add up."""

    variables: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    """The variables of which the products are kept too."""
    n: int
    """The number of observations."""
    mean: Float[np.ndarray, "variable unit"]
    squares: Float[np.ndarray, "variable unit"]
    """Sums over observations of the squared deviation from the mean."""
    products: Float[np.ndarray, "pair unit"]
    """Sums over observations of the product of two deviations from the mean."""

    def __add__(self, other: "Moments") -> "Moments":
        n = self.n + other.n
        with np.errstate(invalid="ignore"):  # the logarithm of a gate of exactly 0 is not finite
            apart = other.mean - self.mean
            weight = self.n * other.n / n
            return replace(
                self,
                n=n,
                mean=self.mean + apart * (other.n / n),
                squares=self.squares + other.squares + apart**2 * weight,
                products=self.products + other.products + np.prod(apart[self._indices], axis=1) * weight,
            )

    def sd(self, variable: str) -> Float[np.ndarray, "unit"]:
        """The standard deviation of the observations themselves, over n."""
        return np.asarray(np.sqrt(self.squares[self.variables.index(variable)] / self.n))

    def product(self, first: str, second: str) -> Float[np.ndarray, "unit"]:
        pair = (first, second) if (first, second) in self.pairs else (second, first)
        return np.asarray(self.products[self.pairs.index(pair)])

    @property
    def _indices(self) -> Int[np.ndarray, "pair two"]:
        indices = [[self.variables.index(name) for name in pair] for pair in self.pairs]
        return np.array(indices, dtype=np.int64).reshape(-1, 2)


def moments_of(named: Mapping[str, Tensor], pairs: tuple[tuple[str, str], ...]) -> Moments:
    """Of observations `[observation, unit]`, those of all variables at the same times; in two passes."""
    mean = {name: values.mean(0) for name, values in named.items()}
    apart = {name: values - mean[name] for name, values in named.items()}
    some = next(iter(named.values()))
    return Moments(
        variables=tuple(named),
        pairs=pairs,
        n=len(some),
        mean=_stacked([*mean.values()], some),
        squares=_stacked([values.square().sum(0) for values in apart.values()], some),
        products=_stacked([(apart[a] * apart[b]).sum(0) for a, b in pairs], some),
    )


def _stacked(rows: list[Tensor], like: Tensor) -> np.ndarray:
    found: np.ndarray = (torch.stack(rows) if rows else like.new_zeros(0, like.shape[1])).cpu().numpy()
    return found
