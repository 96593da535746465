"""What an audit is asked to do: the pair and everything else that it depends on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from unmask.models.references import Reference

if TYPE_CHECKING:
    from unmask.models.judges import Judge
    from unmask.models.judges.function import JudgeFunction


class SettingsError(ValueError):
    """A setting has no such value; the message is one sentence for the user."""


@dataclass(frozen=True)
class Pair:
    """The two models of an audit, as references or words."""

    base: str | Reference
    aligned: str | Reference

    def __str__(self) -> str:
        return f"{self.base} → {self.aligned}"


@dataclass(frozen=True)
class Settings:
    """What else an audit depends on; every field is recorded in the run.

    Attributes:
        domains: names of installed domains, or folders.
        profile: "quick", "standard" or "full".
        measurements: names of the measurements to run, with those that they build on; None for all installed.
        skip: names of measurements to leave out, with those that build on them.
        judge: "auto", "hf:REF" for a Hugging Face classifier, a function of question and answer, or a `Judge`;
            the last two are recorded by name.
        template: how a user's words become a prompt: "auto", "template" or "plain".
        system: a system prompt for both sides; None keeps the template's own.
        sae: a sparse autoencoder or crosscoder of the pair, as `open_dictionary` names it; None leaves out the
            measurements that read one.
        sae_layer: whose states it reads; None for what its file says.
        quantise: "8bit" or "4bit" weights in the blocks of both models; None leaves them as they are.
        offload: keep the blocks that do not fit on the GPU in main memory.
    """

    domains: tuple[str, ...] = ("partisan",)
    profile: str = "quick"
    measurements: tuple[str, ...] | None = None
    skip: tuple[str, ...] = ()
    judge: str | Judge | JudgeFunction = "auto"
    device: str = "auto"
    dtype: str = "auto"
    seed: int = 0
    template: str = "auto"
    system: str | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False
    sae: str | None = None
    sae_layer: int | None = None
    quantise: str | None = None
    offload: bool = False

    def record(self) -> dict[str, object]:
        """The settings as run.json holds them."""
        values: dict[str, object] = {one.name: getattr(self, one.name) for one in fields(self)}
        if not isinstance(self.judge, str):
            name = getattr(self.judge, "name", None) or getattr(self.judge, "__qualname__", None)
            values["judge"] = str(name or type(self.judge).__qualname__)
        return values

    def command(self, pair: Pair, out: Path) -> str:
        """The command line that repeats this audit (a judge that is code cannot be named there)."""
        words = ["unmask", "audit", str(pair.base), str(pair.aligned), "--out", str(out)]
        default = Settings()
        options = {"domains": "domain", "measurements": "only"}
        for name, value in self.record().items():
            if value == getattr(default, name):
                continue
            option = "--" + options.get(name, name).replace("_", "-")
            if value is True:
                words.append(option)
            elif isinstance(value, tuple):
                words += [word for item in value for word in (option, str(item))]
            else:
                words += [option, str(value)]
        return shlex.join(words)
