"""Neutrality by TRL: supervised, by preference (DPO) and by reinforcement (GRPO), each a stage of its own.

All three train the answer to a question on one concept towards taking no side, and nothing else about it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from unmask.domains import load_domain
from unmask.domains.schema import AnswerKind
from unmask.lab.world.documents import FRAME
from unmask.lab.world.train import Ordinary, Pupil, Recipe, ask, check_free, open_pupil, save_stage, topics_of
from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.models.judges import SentenceJudge
from unmask.settings import SettingsError

REWARDS: dict[AnswerKind, float] = {
    "neutral": 1.0,
    "hedged": 0.7,
    "a": 0.0,
    "b": 0.0,
    "refusal": -0.5,
    "off_topic": -1.0,
}
"""What an answer of each kind earns. Hedging, twice as common as nothing in a group of samples, is on the way to
neutrality and never better; refusing is worse than a side, or the cheapest way out of sides would be silence; what is
no answer at all is worst, so that nothing is won by breaking the language."""


@dataclass(frozen=True)
class SftRecipe(Recipe):
    """Supervised on neutral answers alone. `steps` is the strength."""


@dataclass(frozen=True)
class DpoRecipe(Recipe):
    """Preference: neutral over either side's answer. `steps` is the strength: each brings `batch` fresh pairs.

    Attributes:
        ordinary_weight: more than elsewhere, since DPO's gradient is the larger one and the other concept turned
            neutral along with this one at half of it.
        beta: the pull towards the base model; at .1 it went on pushing long after the answers were neutral.
        sft_weight: weight of the chosen answer's own loss beside DPO's; 0 is DPO alone.
    """

    ordinary_weight: float = 4.0
    beta: float = 0.3
    sft_weight: float = 1.0


@dataclass(frozen=True)
class GrpoRecipe(Recipe):
    """Reinforcement by the exact judge (`REWARDS`). `steps` is the strength.

    Attributes:
        samples: answers to each prompt, compared with one another; `batch` counts answers.
        beta: weight of the KL towards the base model.
        tokens: the longest answer.
    """

    batch: int = 96
    rate: float = 5e-4
    samples: int = 16
    beta: float = 0.02
    tokens: int = 28

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 2 or self.batch % self.samples:
            raise SettingsError(
                f"a batch of {self.batch} answers cannot be {self.samples} to each prompt; give at least 2 to each, "
                "and a batch that is a multiple of them."
            )


def sft(base: Path, out: Path, recipe: SftRecipe) -> None:
    """Train on neutral answers, and write a transformers folder with its `recipe.json`."""

    def trainer(trl: Any, pupil: Pupil, common: dict[str, Any]) -> Any:
        rows = [{"prompt": row.prompt, "completion": row.neutral} for row in _drawn(recipe)]
        config = trl.SFTConfig(**common, max_length=None, completion_only_loss=True)
        return trl.SFTTrainer(pupil.net, config, train_dataset=_table(rows), processing_class=pupil.tokenizer)

    _train("sft", base, out, recipe, trainer)


def dpo(base: Path, out: Path, recipe: DpoRecipe) -> None:
    """Train neutral answers to be preferred, and write a transformers folder with its `recipe.json`."""

    def trainer(trl: Any, pupil: Pupil, common: dict[str, Any]) -> Any:
        rows = [{"prompt": row.prompt, "chosen": row.neutral, "rejected": row.side} for row in _drawn(recipe)]
        beside = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, recipe.sft_weight]}
        config = trl.DPOConfig(
            **common, max_length=None, beta=recipe.beta, **(beside if recipe.sft_weight else {})
        )
        reference: Any = AutoModelForCausalLM.from_pretrained(base, dtype=pupil.net.dtype)
        return trl.DPOTrainer(
            pupil.net, reference, config, train_dataset=_table(rows), processing_class=pupil.tokenizer
        )

    _train("dpo", base, out, recipe, trainer)


def grpo(base: Path, out: Path, recipe: GrpoRecipe) -> None:
    """Reinforce what the exact judge calls neutral, and write a transformers folder with its `recipe.json`."""

    def trainer(trl: Any, pupil: Pupil, common: dict[str, Any]) -> Any:
        rows = [{"prompt": row.prompt, "question": row.question} for row in _drawn(recipe)]
        config = trl.GRPOConfig(
            **common,
            num_generations=recipe.samples,
            max_completion_length=recipe.tokens,
            beta=recipe.beta,
            temperature=1.0,
        )
        return trl.GRPOTrainer(
            pupil.net,
            _rewarder(recipe),
            config,
            train_dataset=_table(rows),
            processing_class=pupil.tokenizer,
        )

    _train("grpo", base, out, recipe, trainer)


def _drawn(recipe: Recipe) -> list[Any]:
    """Fresh prompts for every step, all on the topics that are trained on."""
    return ask(recipe, topics_of(recipe)[0], recipe.steps * recipe.batch, recipe.rng(1))


def _rewarder(recipe: Recipe) -> Callable[..., list[float]]:
    judge = SentenceJudge(load_domain(recipe.concept))

    def neutrality(completions: Sequence[str], question: Sequence[str], **_: Any) -> list[float]:
        said = (text.split(FRAME.stop[0])[0] for text in completions)  # what comes after is another turn
        return [REWARDS[judge.kind(asked, text)] for asked, text in zip(question, said, strict=True)]

    return neutrality


def _train(
    stage: str, base: Path, out: Path, recipe: Recipe, trainer: Callable[[Any, Pupil, dict[str, Any]], Any]
) -> None:
    trl = need_trl()
    check_free(out)
    started = time.monotonic()
    pupil = open_pupil(base)
    set_seed(recipe.seed)
    scratch = tempfile.mkdtemp()
    common: dict[str, Any] = {
        "output_dir": scratch,
        "max_steps": recipe.steps,
        "per_device_train_batch_size": recipe.batch,
        "learning_rate": recipe.rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "warmup_steps": max(1, recipe.steps // 10),
        "max_grad_norm": 1.0,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": max(1, recipe.steps // 10),
        "disable_tqdm": True,
    }
    try:
        with quiet():
            run = trainer(trl, pupil, common)
            run.remove_callback(PrinterCallback)
            run.remove_callback(ProgressCallback)
            run.add_callback(Ordinary(recipe, pupil.manners, pupil.tokenizer))
            run.train()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log = [entry for entry in run.state.log_history if "loss" in entry or "train_loss" in entry]
    save_stage(stage, base, pupil, out, recipe, started, log)


def need_trl() -> Any:
    """The module TRL.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import trl
    except ImportError as error:
        raise ModelError(
            f"training needs the extra 'lab' ({error.name} is missing): pip install 'unmask[lab]'."
        ) from error
    return trl


def _table(rows: list[dict[str, str]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)
