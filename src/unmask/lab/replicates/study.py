"""What a calibration of the analysis alone is made of: a planted population and the analysis of one sample of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr

from unmask.measurements.base import Estimate
from unmask.measurements.profiles import QUICK

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """One measurement on one planted population.

    Attributes:
        measurement: which measurement's analysis is run.
        setting: what is planted, in a word or two.
        truth: large-sample values of the quantities that the study covers, by name; reckoned when called.
        sample: draws topics, persons and answers anew, and gives every estimate of the real analysis.
    """

    measurement: str
    setting: str
    truth: Callable[[], Mapping[str, float]]
    sample: Callable[[np.random.Generator], Mapping[str, Estimate]]


SIZES = replace(QUICK, resamples=400, identities=44)
"""The profile's sample sizes. Four hundred resamples for its thousand spare more than half of the time; an interval's
ends are then a little noisier. Forty-four persons a pole and kind are fewer than any domain that ships has, which makes
coverage harder."""


def beta(mean: float, concentration: float, z: Floats) -> Floats:
    """Beta-distributed shares with a mean, at the normal scores `z`: scores that correlate give shares that do.

    A mean of 0 or 1 gives just that. The smaller the concentration, the farther topics lie apart.
    """
    if mean in (0.0, 1.0):
        return np.full(z.shape, mean)
    inverse: Floats = betaincinv(concentration * mean, concentration * (1.0 - mean), ndtr(z))
    return inverse


def categorical(shares: Floats, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """One draw of each row of shares `[..., k]`, which sum to 1: `[...]`."""
    bars = shares.cumsum(-1)[..., :-1]
    return (rng.random(shares.shape[:-1])[..., None] > bars).sum(-1)
