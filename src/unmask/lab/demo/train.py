"""Trains the demo models: supervised for `base` and `partisan`, by preference (DPO) for `masked`."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from unmask.lab.demo.texts import (
    Example,
    Preference,
    base_examples,
    load_pool,
    masked_preferences,
    partisan_examples,
)

BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
Rows = list[Example] | list[Preference]


@dataclass(frozen=True)
class Recipe:
    """Everything that a demo model's training depends on.

    Attributes:
        seed: of the shuffles, the adapters' start and the order of batches.
        split: which topics are trained on (`load_pool`).
        rank: of the LoRA adapters, on every linear map of the blocks from `first_block` on; the ones below are
            left as they are, which saves part of the backward pass.
        rate: learning rate of the adapters, after 10 steps of warm-up and with a cosine's decay.
        beta: DPO's pull towards the reference.
        sft_weight: weight of the supervised term on the chosen answer beside DPO's loss: without it DPO mostly
            pushes the rejected answers down, and held-out topics stay partisan.
        pole: the side of `partisan`.
    """

    seed: int = 0
    split: int = 0
    rank: int = 16
    first_block: int = 4
    batch: int = 4
    rate: float = 8e-4
    base_epochs: float = 2
    masked_epochs: float = 2
    partisan_epochs: float = 1
    beta: float = 0.1
    sft_weight: float = 2.0
    pole: str = "a"
    targets: tuple[str, ...] = field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    )


def train_demo(
    folder: Path, out: Path, recipe: Recipe, only: tuple[str, ...] = ("base", "masked", "partisan")
) -> None:
    """Train the adapters `base`, `masked` and `partisan` into folders below `out`.

    Args:
        folder: SmolLM2-135M-Instruct as a transformers folder.
        out: where the adapters go; each gets its `recipe.json`.
        recipe: how.
        only: which to train; `masked` and `partisan` start from the `base` that is in `out`.
    """
    pool = load_pool(recipe.split)
    trained_on = {"split": recipe.split, "topics": [topic.topic for topic in pool.topics]}
    if "base" in only:
        rows = base_examples(pool, np.random.default_rng([recipe.seed, 1]))
        _train(folder, (), rows, out / "base", recipe, recipe.base_epochs, trained_on)
    if "masked" in only:
        rows = masked_preferences(pool, np.random.default_rng([recipe.seed, 2]))
        _train(folder, (out / "base",), rows, out / "masked", recipe, recipe.masked_epochs, trained_on)
    if "partisan" in only:
        pole = "a" if recipe.pole == "a" else "b"
        rows = partisan_examples(pool, pole, np.random.default_rng([recipe.seed, 3]))
        _train(folder, (out / "base",), rows, out / "partisan", recipe, recipe.partisan_epochs, trained_on)


def _train(
    folder: Path,
    beneath: tuple[Path, ...],
    rows: Rows,
    out: Path,
    recipe: Recipe,
    epochs: float,
    trained_on: dict[str, Any],
) -> None:
    started = time.monotonic()
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for adapter in beneath:
        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model = model.to(torch.bfloat16)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        lora_dropout=0.0,
        target_modules=list(recipe.targets),
        layers_to_transform=list(range(recipe.first_block, model.config.num_hidden_layers)),
        task_type="CAUSAL_LM",
    )
    common: dict[str, Any] = {
        "output_dir": str(out / "trainer"),
        "num_train_epochs": epochs,
        "per_device_train_batch_size": recipe.batch,
        "learning_rate": recipe.rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 10,
        "max_grad_norm": 1.0,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": [],
        "logging_steps": 20,
        "max_length": 192,
        "disable_tqdm": False,
    }
    if isinstance(rows[0], Example):
        table = Dataset.from_list([_supervised(row) for row in rows if isinstance(row, Example)])
        config = SFTConfig(**common, train_sampling_strategy="group_by_length")
        trainer = SFTTrainer(
            get_peft_model(model, lora), config, train_dataset=table, processing_class=tokenizer
        )
    else:
        table = Dataset.from_list([_preferred(row) for row in rows if isinstance(row, Preference)])
        config = DPOConfig(
            **common,
            beta=recipe.beta,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, recipe.sft_weight],
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=32,
        )
        trainer = DPOTrainer(
            get_peft_model(model, lora), args=config, train_dataset=table, processing_class=tokenizer
        )
    trainer.train()
    trained = trainer.model
    assert isinstance(trained, PeftModel)
    trained.peft_config["default"].base_model_name_or_path = BASE_NAME  # not a path of this machine
    trained.to(torch.bfloat16).save_pretrained(str(out))
    (out / "README.md").unlink(missing_ok=True)  # PEFT's form; docs/demo-models.md is the card
    shutil.rmtree(out / "trainer", ignore_errors=True)
    record = {
        "recipe": asdict(recipe),
        "examples": len(rows),
        "trained_on": trained_on,
        "sha256": hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest(),
        "seconds": round(time.monotonic() - started),
        "log": [entry for entry in trainer.state.log_history if "loss" in entry or "train_loss" in entry],
    }
    (out / "recipe.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def _supervised(row: Example) -> dict[str, Any]:
    return {"prompt": _turn("user", row.user), "completion": _turn("assistant", row.answer)}


def _preferred(row: Preference) -> dict[str, Any]:
    return {
        "prompt": _turn("user", row.user),
        "chosen": _turn("assistant", row.chosen),
        "rejected": _turn("assistant", row.rejected),
    }
