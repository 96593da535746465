"""Trains the demo models: supervised for `base` and `partisan`, by preference (DPO) for `masked`."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from unmask.lab.demo.recipe import Recipe, Rows, demo_rows, texts_digest
from unmask.lab.demo.sources import DEMO_TEXTS, DemoTexts
from unmask.lab.demo.texts import Example, Preference, load_pool
from unmask.settings import SettingsError

NAMES = ("base", "masked", "partisan")
BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


def train_demo(
    folder: Path,
    out: Path,
    recipe: Recipe,
    only: tuple[str, ...] = NAMES,
    texts: DemoTexts = DEMO_TEXTS["partisan"],
) -> None:
    """Train the adapters `base`, `masked` and `partisan` into folders below `out`.

    Args:
        folder: SmolLM2-135M-Instruct as a transformers folder.
        out: where the adapters go; each gets its `recipe.json`.
        recipe: how.
        only: which to train; `masked` and `partisan` start from the `base` that is in `out`.
        texts: of the domain that they are trained on.

    Raises:
        SettingsError: `only` names something else, or there is no `base` of this domain to start from.
    """
    for name in only:
        if name not in NAMES:
            raise SettingsError(f"there is no demo model '{name}' to train; there are {', '.join(NAMES)}.")
    if "base" not in only:
        _check_base(out / "base", only, texts.domain)
    pool = load_pool(recipe.split, texts)
    trained_on = {
        "domain": texts.domain,
        "split": recipe.split,
        "topics": [topic.topic for topic in pool.topics],
    }
    epochs = {
        "base": recipe.base_epochs,
        "masked": recipe.masked_epochs,
        "partisan": recipe.partisan_epochs,
    }
    for name in NAMES:
        if name in only:
            beneath = () if name == "base" else (out / "base",)
            rows = demo_rows(name, pool, recipe)
            _train(folder, beneath, rows, out / name, recipe, epochs[name], trained_on)


def _check_base(base: Path, only: tuple[str, ...], domain: str) -> None:
    if not (base / "adapter_config.json").exists():
        raise SettingsError(
            f"training {' and '.join(only)} starts from the adapter {base}; train base there first."
        )
    record = json.loads((base / "recipe.json").read_text(encoding="utf-8"))
    trained = record["trained_on"].get("domain", "partisan")  # the first adapters do not say
    if trained != domain:
        raise SettingsError(
            f"the adapter {base} was trained on {trained}, not on {domain}; give --out another folder and train base "
            "there first."
        )


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
        "texts": texts_digest(rows),
        "trained_on": trained_on,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "peft")},
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
