"""The features measurement: which latents carry the concept, which went silent, what pushing them does."""

from unmask.measurements.features.measurement import Features

__all__ = ["Features"]
