"""The cases: what runs against what, with the bars that the ratios have to clear."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import material
from benchmarks.contest import Contender, ContestError, capture, code_of, ours, peer, plain, race, run_json
from benchmarks.results import Limit, Outcome, Ratio, Sample

FLOOR = "the floor"
LOG_PROB_BAR = 1e-4
STATE_BAR = 1e-5
FLAT_MIB = 32
DICTIONARY_MIB = 2048
DICTIONARY_LAYER = 15
SAMPLED = ("--samples", "3", "--new-tokens", "48")
READERS: Mapping[str, tuple[str, float | None]] = {
    "bare": (f"bare sorted forward ({FLOOR})", 0.95),
    "hf": ("output_hidden_states, unsorted", 1.5),
    "nnsight": ("nnsight", 1.5),
    "tlens": ("TransformerLens", 1.7),
    "hf_sorted": ("output_hidden_states, sorted", None),
}


@dataclass(frozen=True)
class Bench:
    """What every case needs.

    Attributes:
        model: the transformers folder that both sides load.
        tokenizer: its tokenizer.
        peers: the folder with the peers' environments.
        rounds: how often each program runs.
        environ: what every program is started with.
        folder: for the files that the programs are given.
        full: the long cases too.
        say: hears of every result as it comes.
    """

    model: Path
    tokenizer: Any
    peers: Path
    rounds: int
    environ: Mapping[str, str]
    folder: Path
    full: bool
    say: Callable[[str], None]

    def race(self, contenders: Sequence[Contender]) -> dict[str, Sample]:
        return race(contenders, self.rounds, lambda one: run_json(one, self.environ), self.say)

    def check(self, *words: str | Path) -> dict[str, float]:
        """`check.py`'s differences."""
        command = (sys.executable, "-m", "benchmarks.check", "--model", str(self.model), *map(str, words))
        return run_json(Contender("check", command), self.environ)


def read(bench: Bench) -> Outcome:
    """Every layer at each text's last token."""
    texts, about = _texts(bench)

    def us(dtype: str) -> Contender:
        words = ("read", "--model", bench.model, "--input", texts, "--dtype", dtype, "--repeats", "1")
        return ours(*words, name=f"unmask, {dtype}")

    def them(dtype: str) -> list[Contender]:
        words = ("--model", bench.model, "--texts", texts, "--dtype", dtype, "--repeats", "1")
        return [peer(bench.peers, "read", "read.py", name, *words, name=name) for name in READERS]

    exact = bench.race([us("float32"), *them("float32"), us("auto")])
    half = bench.race([us("bfloat16"), *them("bfloat16")])
    ratios = [
        Ratio("read, float32", READERS[n][0], exact["unmask, float32"], exact[n], READERS[n][1])
        for n in READERS
    ]
    ratios.append(
        Ratio("read, default against default", READERS["hf"][0], exact["unmask, auto"], exact["hf"], 4.0)
    )
    ratios += [Ratio("read, bfloat16", READERS[n][0], half["unmask, bfloat16"], half[n]) for n in READERS]
    found = bench.check("--texts", texts)["read"]
    limit = Limit("read: largest distance from the plain forward", found, "of a state's norm", STATE_BAR)
    return Outcome("read", about, tuple(ratios), (limit,))


def score(bench: Bench) -> Outcome:
    """A persona grid: log-probabilities of every answer behind every persona and question."""
    grid, about = _grid(bench)
    words = ("--model", bench.model, "--dtype", "float32", "--repeats", "1")
    found = bench.race(
        [
            ours("score", *words, "--input", grid),
            peer(bench.peers, "score", "score.py", "lmeval", *words, "--requests", grid, name="lmeval"),
            plain("score-floor", *words, "--input", grid, name="floor"),
        ]
    )
    us = found["unmask"]
    ratios = (
        Ratio("score, float32", "lm-evaluation-harness", us, found["lmeval"], 3.0),
        Ratio(
            "score, float32", f"distinct prefixes and unembedding alone ({FLOOR})", us, found["floor"], 0.7
        ),
    )
    return Outcome("score", about, ratios, _score_limits(bench, grid, found["lmeval"].sum_logprob))


def steer(bench: Bench) -> Outcome:
    """A dose–response curve with the edit at mid-depth."""
    prompts, about = _prompts(bench)
    words = ("--model", bench.model, "--dtype", "float32", "--repeats", "1")
    ratios: list[Ratio] = []
    for where, flags, bar in (("every position", (), 1.7), ("last position", ("--last-only",), 5.0)):
        found = bench.race(
            [
                ours("steer", *words, "--input", prompts, *flags),
                *(
                    peer(
                        bench.peers, "read", "steer.py", name, *words, "--prompts", prompts, *flags, name=name
                    )
                    for name in ("hooks", "nnsight")
                ),
            ]
        )
        us, work = found["unmask"], f"steer, {where}, float32"
        ratios += [
            Ratio(work, "a plain hook loop", us, found["hooks"], bar),
            Ratio(work, "nnsight", us, found["nnsight"]),
        ]
    check = bench.check("--prompts", prompts)
    limits = tuple(
        Limit(f"steer, {where}: largest difference from a hook loop", check[key], "nats", LOG_PROB_BAR)
        for where, key in (("every position", "steer_all"), ("last position", "steer_last"))
    )
    return Outcome("steer", about, tuple(ratios), limits)


def memory(bench: Bench, few: int = 500, times: int = 4) -> Outcome:
    """The peak of a read over few and over many prompts."""
    texts = material.write_lines(bench.folder / "many.txt", material.long_texts(few * times, 2))
    # Freed blocks go back at once, so that the resident set is what is held and holes hide no growth (glibc only).
    environ = {**bench.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    peaks: dict[int, list[float]] = {few: [], few * times: []}
    for _ in range(min(bench.rounds, 3)):
        for count, found in peaks.items():
            words = ("memory", "--model", bench.model, "--input", texts, "--count", str(count))
            found.append(run_json(ours(*words), environ)["peak_mib"])
            bench.say(f"{count} texts: peak {found[-1]} MiB")
    small, large = (median(found) for found in peaks.values())
    limit = Limit(
        f"memory: growth of a read's peak from {few:,} to {few * times:,} texts",
        large - small,
        "MiB",
        FLAT_MIB,
        detail=f"{small:,.0f} → {large:,.0f} MiB",
    )
    about = (
        "Every layer at the last token of texts of two statements each, default dtype, in a fresh process a number of "
        f"texts; the runner answers and no array is taken. Growth below {FLAT_MIB} MiB counts as flat: what grows with "
        "the prompts is their requests and keys, a few KiB each, where the states themselves would be "
        "layers × width × 4 bytes a text."
    )
    return Outcome("memory", about, limits=(limit,))


def audit(bench: Bench) -> Outcome:
    """`unmask audit demo:base demo:masked` in a fresh folder, weights cached."""
    limits: list[Limit] = []
    for profile, bar in (("quick", 4.0), ("standard", 25.0)):
        if profile == "standard" and not bench.full:
            continue
        with TemporaryDirectory() as folder:
            command = (str(Path(sys.executable).parent / "unmask"), "audit", "demo:base", "demo:masked")
            options = ("--profile", profile, "--device", "cpu", "--out", folder, "--fresh", "--quiet")
            begun = time.monotonic()
            capture(Contender("unmask audit", (*command, *options)), bench.environ)
            minutes = (time.monotonic() - begun) / 60
        bench.say(f"{profile}: {minutes:.1f} minutes")
        limits.append(Limit(f"audit: --profile {profile}", minutes, "minutes", bar))
    about = (
        "`unmask audit demo:base demo:masked`, from starting the command to its end, once; --fresh, so that answers "
        "which an earlier audit's judge left outside the run's folder are not taken."
    )
    return Outcome("audit", about, limits=tuple(limits))


def generate(bench: Bench) -> Outcome:
    """Sampled answers."""
    path, about = _openings(bench)
    found: list[Ratio] = []
    for dtype in ("float32", "bfloat16"):
        words = ("--model", bench.model, "--input", path, "--dtype", dtype, "--repeats", "1", *SAMPLED)
        rates = bench.race([ours("generate", *words), plain("generate", *words, name="transformers")])
        against = "transformers generate, batches of 32"
        found.append(Ratio(f"generate, {dtype}", against, rates["unmask"], rates["transformers"]))
    return Outcome("generate", about, tuple(found))


def dictionary(bench: Bench) -> Outcome:
    """Training a TopK autoencoder, and coding with it."""
    tokens, rows = 200_000, 120_000
    path = material.activations(bench.model, bench.folder / "activations.npy", DICTIONARY_LAYER, rows)
    words = ("--activations", path, "--width", "4096", "--k", "32", "--tokens", tokens)
    trained = bench.race(
        [
            code_of("train", *words, name="unmask"),
            code_of("train", "--bare", *words, name="unmask, bare"),
            peer(bench.peers, "sae", "sae.py", "saelens", *words, name="saelens"),
            peer(bench.peers, "sae", "sae.py", "sparsify", *words, name="sparsify"),
        ]
    )
    us = trained["unmask"]
    ratios = [
        Ratio("train TopK, float32", "SAELens", us, trained["saelens"], 3.0),
        Ratio("train TopK, float32", "sparsify", us, trained["sparsify"], 1.3),
    ]
    for dtype in ("float32", "bfloat16"):
        for what, said, bar in (("decode", "decode", 20.0), ("both", "encode and decode", 1.5)):
            sizes = ("--what", what, "--width", "16384", "--k", "32", "--dtype", dtype)
            found = bench.race([code_of(one, *sizes, name=one) for one in ("sparse", "dense")])
            ratios.append(
                Ratio(f"{said}, {dtype}", "the dense products", found["sparse"], found["dense"], bar)
            )
    left = {name: sample.fvu for name, sample in trained.items()}
    best = min(value for name, value in left.items() if "unmask" not in name and value is not None)
    assert us.fvu is not None
    limit = Limit(
        "train TopK: variance left after equal tokens, over that of the better peer",
        us.fvu / best,
        "×",
        1.0,
        detail=", ".join(f"{name} {value:.3f}" for name, value in left.items()),
    )
    held = run_json(code_of("memory", "--tokens", 1_000_000, name="memory"), bench.environ)
    bench.say(f"1 M tokens: {held['beside_mib']} MiB beside the models")
    memory = Limit(
        "make a dictionary of two models, 1,000,000 tokens: peak beside the models",
        held["beside_mib"],
        "MiB",
        DICTIONARY_MIB,
        detail=f"{held['seconds'] / 60:.0f} minutes, {held['distinct']:,} distinct activations",
    )
    about = (
        f"4,096 latents, k = 32, {tokens:,} tokens in batches of 2,048 at a constant rate of .001, drawn alike from "
        f"the same {rows:,} states of width 576 (layer {DICTIONARY_LAYER}, no first tokens); what is left is of the "
        "variance of 4,096 states of other statements. unmask scales its inputs, begins with their mean and revives "
        "silent latents; the peers' programs do none of these, nor does unmask 'bare'. Nothing warms up. Codes: 16,384 "
        "latents, k = 32, 4,096 random tokens of width 576; the dense side makes the whole matrix of codes and "
        "multiplies it. Memory: `unmask features train demo:base demo:masked --layer 15 --corpus demo:conversations` "
        "with 4,096 latents, once, from the models' loading to the end: activations, training, fit and writing."
    )
    return Outcome("dictionary", about, tuple(ratios), (limit, memory))


CASES: Mapping[str, Callable[[Bench], Outcome]] = {
    "read": read,
    "score": score,
    "steer": steer,
    "memory": memory,
    "audit": audit,
    "generate": generate,
    "dictionary": dictionary,
}


def run(name: str, bench: Bench) -> Outcome:
    """One case; where a program fails the outcome says so and the other cases go on."""
    bench.say(f"{name}:")
    try:
        return CASES[name](bench)
    except ContestError as error:
        return Outcome(name, failed=str(error))


def profile(name: str, bench: Bench) -> str:
    """Where the time of unmask's side goes."""
    inputs = {"read": _texts, "score": _grid, "steer": _prompts, "generate": _openings}
    if name not in inputs:
        return f"{name} has no profile."
    path, _ = inputs[name](bench)
    words = (name, "--model", bench.model, "--input", path, "--dtype", "float32", "--profile")
    return capture(ours(*words), bench.environ)


def _texts(bench: Bench) -> tuple[Path, str]:
    texts = material.statements(bench.tokenizer)
    ids = [tuple(row) for row in bench.tokenizer(texts).input_ids]
    tokens, distinct = sum(map(len, ids)), material.distinct_prefixes(ids)
    about = (
        f"Every layer at the last token of {len(texts)} statements of both poles from the partisan domain, "
        f"{min(map(len, ids))} to {max(map(len, ids))} tokens each, {tokens:,} in all ({distinct:,} distinct "
        "prefixes). unmask's time includes planning, tokenising, the records on disk and taking the arrays from them."
    )
    return material.write_lines(bench.folder / "texts.txt", texts), about


def _grid(bench: Bench) -> tuple[Path, str]:
    rows = material.persona_grid(bench.tokenizer)
    ids = [material.row_ids(bench.tokenizer, row)[0] for row in rows]
    about = (
        f"16 personas × 8 questions × both poles' answers from the partisan domain: {len(rows)} requests, "
        f"{sum(map(len, ids)):,} tokens, {material.distinct_prefixes(ids):,} of them distinct prefixes. "
        "The floor is the bare decoder over as many tokens as there are distinct prefixes that something follows "
        f"({material.distinct_prefixes([row[:-1] for row in ids]):,}), in rows of one length without padding, and "
        "unembedding and log-softmax at the distinct positions that are scored."
    )
    return material.write_rows(bench.folder / "grid.jsonl", rows), about


def _prompts(bench: Bench) -> tuple[Path, str]:
    about = (
        "64 questions of the partisan domain × 11 doses from −20 to 20, a constant vector added to the output of "
        "block 15 (layer 16 of 30). The peers take the whole log-softmax at the last position; unmask is asked for "
        "the log-probability of one answer token there, for which it unembeds the same position and takes the "
        "same log-softmax."
    )
    return material.write_lines(bench.folder / "prompts.txt", material.prompts(64)), about


def _openings(bench: Bench) -> tuple[Path, str]:
    about = (
        f"{SAMPLED[1]} samples of at most {SAMPLED[3]} tokens to each of 40 prompts at temperature 1, for information. "
        "Tokens up to an answer's end are counted on both sides; the draws, and so the answers, differ."
    )
    return material.write_lines(bench.folder / "openings.txt", material.openings(40)), about


def _score_limits(bench: Bench, grid: Path, theirs: float | None) -> tuple[Limit, ...]:
    assert theirs is not None
    rows = [material.row_ids(bench.tokenizer, row) for row in material.read_rows(grid)]
    tokens = sum(len(ids) - start for ids, start in rows)
    check = bench.check("--grid", grid)
    total = check["sum_logprob"]
    return (
        Limit("score: largest difference from the plain forward", check["score"], "nats", LOG_PROB_BAR),
        Limit(
            "score: difference from lm-evaluation-harness",
            abs(total - theirs) / tokens,
            "nats a token",
            LOG_PROB_BAR,
            detail=f"sums {total:.3f} and {theirs:.3f} over {tokens:,} tokens",
        ),
    )
