"""`python -m benchmarks`: run the cases, print the table, write RESULTS.md when asked."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import AutoTokenizer

from benchmarks import cases, machine, report
from benchmarks.contest import ROOT, environment
from unmask.models.demo import demo_folder

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"


def chosen(words: str) -> list[str]:
    """The cases of a comma-separated list, in their own order."""
    names = words.split(",")
    unknown = [name for name in names if name not in cases.CASES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no case {unknown[0]!r}; there are {', '.join(cases.CASES)}")
    return [name for name in cases.CASES if name in names]


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", type=chosen, default=list(cases.CASES), help=f"of {','.join(cases.CASES)}; default all"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds; each runs every program once")
    parser.add_argument("--threads", type=int, default=machine.cores(), help="default: one a core")
    parser.add_argument("--full", action="store_true", help="the audit with --profile standard too")
    parser.add_argument(
        "--write", action="store_true", help="write RESULTS.md, or RESULTS-CASES.md of some cases"
    )
    parser.add_argument("--profile", action="store_true", help="print where unmask's time goes instead")
    args = parser.parse_args(words)
    if args.repeats < 1:
        parser.error("--repeats must be 1 or more")
    return args


def main() -> int:
    args = arguments()
    peers = Path(os.environ.get("BENCH_PEERS") or ROOT / ".bench").expanduser().resolve()
    model = demo_folder()
    with TemporaryDirectory() as folder:
        bench = cases.Bench(
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(model),
            peers=peers,
            rounds=args.repeats,
            environ=environment(args.threads),
            folder=Path(folder),
            full=args.full,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        if args.profile:
            for name in args.only:
                print(f"{name}:\n{cases.profile(name, bench)}")
            return 0
        facts, others = machine.facts(args.threads, peers), machine.Others()
        outcomes = [cases.run(name, bench) for name in args.only]
    facts["other programs"] = f"{others.share():.0%} of the processor during the run"
    left_out = [name for name in cases.CASES if name not in args.only]
    left_out += [] if args.full else ["audit --profile standard"]
    facts["left out"] = ", ".join(left_out) or "nothing"
    text = report.render(outcomes, facts, args.repeats)
    if args.write:
        results = (
            RESULTS if args.only == [*cases.CASES] else RESULTS.with_stem(f"RESULTS-{'-'.join(args.only)}")
        )
        of = "the last full run" if results == RESULTS else ", ".join(args.only)
        head = report.HEAD.replace("the last full run", of)
        results.write_text(f"{head}\n{text}", encoding="utf-8")
    print(text)
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
