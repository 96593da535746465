"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import torch

from benchmarks.contest import ROOT
from unmask.models.load import choose_dtype

_PEERS = {"read": ("torch", "transformers", "nnsight", "transformer-lens"), "score": ("lm-eval",)}


def cores() -> int:
    """Physical cores, as torch counts its threads."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def facts(threads: int, peers: Path) -> dict[str, str]:
    """Words by name, in the order of the table."""
    auto = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    return {
        "processor": f"{processor()}, {cores()} cores, {threads} threads for every program",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "default dtype": f"{auto} (what `--dtype auto` means on this processor)",
        "GPU": f"{gpu()}; everything here ran on the processor, `gpu.py` apart",
        "unmask": f"{version('unmask')}, commit {commit()}",
        "with": f"torch {torch.__version__}, transformers {version('transformers')}",
        "peers": "; ".join(peer_versions(peers / family, names) for family, names in _PEERS.items()),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


class Others:
    """How much of the processor went to other programs, from the making of this to `share`."""

    def __init__(self) -> None:
        self._begun = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds: of every core together, of them not idle, and of this program and those that it started."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return total, total - idle, sum(os.times()[:4])

    def share(self) -> float:
        """0 on a quiet machine; time that a host took away (steal) counts as theirs."""
        total, busy, own = (now - then for now, then in zip(self._now(), self._begun, strict=True))
        return max(0.0, (busy - own) / total) if total else 0.0


def processor() -> str:
    """The processor's own name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu() -> str:
    """The first card's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def commit() -> str:
    """The commit that is checked out, and whether anything but the results differs from it."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return "unknown"
    changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/RESULTS.md")
    return f"{head} with changes that are not committed" if changed else head


def _git(*words: str) -> str:
    try:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def peer_versions(environment: Path, names: Sequence[str]) -> str:
    """The versions of packages in another environment."""
    code = (
        "import sys; from importlib.metadata import version; "
        "print(', '.join(f'{name} {version(name)}' for name in sys.argv[1:]))"
    )
    try:
        command = [str(environment / "bin" / "python"), "-c", code, *names]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"{environment.name} is not set up"
