"""Models: references, prompts, edits, and the verbs of a loaded model.

Everything here is imported without torch; `Model`, which needs it, is imported when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unmask.models.cache import cache_dir
from unmask.models.demo import DEMO, DemoModel
from unmask.models.edits import (
    Add,
    Clamp,
    ClampLatents,
    Edit,
    Erase,
    Patch,
    ProjectOut,
    Substitute,
    Vector,
    Where,
    edit_record,
)
from unmask.models.errors import ModelError
from unmask.models.load import load_model
from unmask.models.prompts import Frame, Prompt, TokenMatch, check_same_tokens, choose_frame
from unmask.models.references import Reference, Resolved, parse_reference, resolve
from unmask.models.tokens import Generated, Pick, Sampling, Tokens

if TYPE_CHECKING:
    from unmask.models.model import Model

__all__ = [
    "DEMO",
    "Add",
    "Clamp",
    "ClampLatents",
    "DemoModel",
    "Edit",
    "Erase",
    "Frame",
    "Generated",
    "Model",
    "ModelError",
    "Patch",
    "Pick",
    "ProjectOut",
    "Prompt",
    "Reference",
    "Resolved",
    "Sampling",
    "Substitute",
    "TokenMatch",
    "Tokens",
    "Vector",
    "Where",
    "cache_dir",
    "check_same_tokens",
    "choose_frame",
    "edit_record",
    "load_model",
    "parse_reference",
    "resolve",
]


def __getattr__(name: str) -> Any:
    if name == "Model":
        from unmask.models.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
