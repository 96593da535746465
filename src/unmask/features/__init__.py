"""Parts of a representation: what carries a concept, and what remains when it is taken out."""

from unmask.features.erasure import Eraser, LeaceFitter, leace_rank_one

__all__ = ["Eraser", "LeaceFitter", "leace_rank_one"]
