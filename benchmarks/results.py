"""What a contest found: rates, their ratios, the bars they had to clear."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One program's rounds.

    Attributes:
        unit: of `rates`, such as "tokens/s".
        rates: one a round.
        peak_mib: the largest resident set of any round.
        sum_logprob: of everything scored, where the program says it.
        fvu: the share of held-out variance that a dictionary leaves, where it trained one.
    """

    unit: str
    rates: tuple[float, ...]
    peak_mib: int
    sum_logprob: float | None = None
    fvu: float | None = None

    @property
    def median(self) -> float:
        return median(self.rates)


@dataclass(frozen=True)
class Ratio:
    """unmask beside another program at the same work, in the same rounds.

    Attributes:
        work: what both did, dtype included.
        against: the other program.
        bar: the least ratio wanted; None where the row is for information.
    """

    work: str
    against: str
    ours: Sample
    theirs: Sample
    bar: float | None = None

    @property
    def value(self) -> float:
        """The ratio of the medians; above 1 unmask is faster."""
        return self.ours.median / self.theirs.median

    @property
    def by_round(self) -> tuple[float, ...]:
        """The ratio in each round: what moves both programs alike cancels in it."""
        return tuple(ours / theirs for ours, theirs in zip(self.ours.rates, self.theirs.rates, strict=True))

    @property
    def met(self) -> bool | None:
        return None if self.bar is None else self.value >= self.bar


@dataclass(frozen=True)
class Limit:
    """A number of unmask's own beside what it may be.

    Attributes:
        detail: what the number was made from.
        bar: the most that is wanted, or the least where `least`; None where the row is for information.
    """

    what: str
    value: float
    unit: str
    bar: float | None = None
    least: bool = False
    detail: str = ""

    @property
    def met(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.least else self.value <= self.bar


@dataclass(frozen=True)
class Outcome:
    """What one case found.

    Attributes:
        case: its name on the command line.
        about: what the case is, in a sentence or two, with the sizes of this run.
        failed: why there is nothing, or not everything; "" where all went well.
    """

    case: str
    about: str = ""
    ratios: tuple[Ratio, ...] = ()
    limits: tuple[Limit, ...] = ()
    failed: str = ""

    @property
    def rows(self) -> tuple[Ratio | Limit, ...]:
        return (*self.ratios, *self.limits)
