"""What the tests of a whole audit share: a profile of seconds, tiny pairs, a made-up domain, a judge that is code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from domains.made import write_answers, write_domain
from models.tiny import save_tiny

from unmask.domains import Domain
from unmask.measurements.profiles import PROFILES, Profile
from unmask.models.judges import CLASSES, JudgeSpec, build_judge
from unmask.settings import Settings

TINY = Profile(
    name="tiny", questions=10, samples=2, pairs=20, identities=8, axis_pairs=10, steered_layers=1, doses=5,
    random_arms=3, steered_questions=6, arm_questions=3, permutations=19, resamples=60, personas=8, requests=3,
    persona_questions=6, facts=10, latents=4,
)  # fmt: skip
ROOM = {"max_position_embeddings": 768}


def judge_of_the_card(question: str, text: str) -> str:
    """Right on the made-up card, and by length on whatever a random model says."""
    named = [kind for kind in CLASSES if text.startswith(f"card {kind} ")]
    return named[0] if named else CLASSES[len(text) % len(CLASSES)]


def by_code(domain: Domain, spec: Any = "auto", device: str = "auto", dtype: str = "auto") -> JudgeSpec:
    """`build_judge`, but "auto" is code: the real one would fit an encoder."""
    return build_judge(domain, judge_of_the_card if spec == "auto" else spec, device, dtype)


class Pairs:
    """Tiny models and a domain in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = save_tiny("llama", folder / "base", 0, **ROOM)
        self.aligned = save_tiny("llama", folder / "aligned", 1, **ROOM)
        self.domain = write_answers(write_domain(folder / "domain"))

    def settings(self, **more: Any) -> Settings:
        chosen = {"domains": (str(self.domain),), "profile": "tiny", "judge": judge_of_the_card, "device": "cpu",
                  "dtype": "float32", **more}  # fmt: skip
        return Settings(**chosen)

    def words(self, *more: str) -> list[str]:
        """The command line of the same audit."""
        return [
            "--domain",
            str(self.domain),
            "--profile",
            "tiny",
            "--device",
            "cpu",
            "--dtype",
            "float32",
            *more,
        ]


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return Pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def quick_audits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., JudgeSpec]:
    """The tiny profile, a cache of its own and a judge that is code."""
    monkeypatch.setitem(PROFILES, "tiny", TINY)
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("unmask.opening.build_judge", by_code)
    return by_code
