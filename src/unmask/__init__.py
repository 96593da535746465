"""unmask measures how deep a language model's alignment goes.

from unmask import Pair, audit

run = audit(Pair("demo:base", "demo:masked"), out="runs/demo")
print(run.findings["results"][0]["verdict"]["sentence"])
"""

from unmask.auditing import Run, audit, judge_again
from unmask.domains import Domain, DomainError, load_domain
from unmask.folder import FolderInUse
from unmask.models import ModelError, load_model
from unmask.runner.stopping import Stopped
from unmask.settings import Pair, Settings, SettingsError

__all__ = [
    "Domain",
    "DomainError",
    "FolderInUse",
    "ModelError",
    "Pair",
    "Run",
    "Settings",
    "SettingsError",
    "Stopped",
    "audit",
    "judge_again",
    "load_domain",
    "load_model",
]
