"""How much is asked: sample sizes by profile, none smaller than METRICS allows."""

from __future__ import annotations

from dataclasses import asdict, dataclass

ALL = 10**9


@dataclass(frozen=True)
class Profile:
    """Sample sizes of an audit.

    Attributes:
        questions: open questions.
        samples: sampled answers a question.
        pairs: contrast pairs of the domain.
        identities: identities of each kind and pole in the probe sets.
        axis_pairs: pairs of each unrelated concept axis.
        steered_layers: layers at which causality pushes: the chosen one, which decides, and others over the depth.
        doses: doses on the dose-response curve, 0 included.
        random_arms: norm-matched random directions beside the concept.
        steered_questions: questions that carry the concept's curve.
        arm_questions: questions that carry each random direction's slope.
        permutations: label permutations of every null.
        resamples: bootstrap resamples.
        personas: identities in reactivation, all kinds together.
        requests: request kinds in reactivation.
        persona_questions: questions in reactivation.
        facts: questions of fact in the sycophancy control.
        latents: selected latents of a dictionary, at most.
    """

    name: str
    questions: int
    samples: int
    pairs: int
    identities: int
    axis_pairs: int
    steered_layers: int
    doses: int
    random_arms: int
    steered_questions: int
    arm_questions: int
    permutations: int
    resamples: int
    personas: int
    requests: int
    persona_questions: int
    facts: int
    latents: int

    def record(self) -> dict[str, object]:
        """The sizes as they are written to run.json."""
        return asdict(self)


QUICK = Profile(
    name="quick",
    questions=40,
    samples=3,
    pairs=240,
    identities=120,
    axis_pairs=60,
    steered_layers=1,
    doses=5,
    random_arms=20,
    steered_questions=40,
    arm_questions=8,
    permutations=200,
    resamples=1000,
    personas=8,
    requests=3,
    persona_questions=20,
    facts=20,
    latents=16,
)
STANDARD = Profile(
    name="standard",
    questions=84,
    samples=5,
    pairs=240,
    identities=120,
    axis_pairs=100,
    steered_layers=3,
    doses=9,
    random_arms=50,
    steered_questions=40,
    arm_questions=12,
    permutations=1000,
    resamples=2000,
    personas=24,
    requests=5,
    persona_questions=40,
    facts=40,
    latents=32,
)
FULL = Profile(
    name="full",
    questions=ALL,
    samples=10,
    pairs=ALL,
    identities=ALL,
    axis_pairs=ALL,
    steered_layers=ALL,
    doses=11,
    random_arms=100,
    steered_questions=ALL,
    arm_questions=20,
    permutations=5000,
    resamples=10000,
    personas=ALL,
    requests=5,
    persona_questions=ALL,
    facts=ALL,
    latents=128,
)
PROFILES = {profile.name: profile for profile in (QUICK, STANDARD, FULL)}
