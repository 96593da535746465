"""(stub, body being written)"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.models.judges.judge import Judge


class DomainJudge(Judge):
    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError
