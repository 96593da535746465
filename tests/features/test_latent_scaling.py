"""Latent scaling agrees with least squares a latent at a time, and tells artefacts from what one model has alone."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unmask.features.autoencoder import JumpReLU, TopK
from unmask.features.crosscoder import ALIGNED, BASE, Crosscoder
from unmask.features.errors import DictionaryError
from unmask.features.latent_scaling import LABELS, LatentScaling, LatentScalingFitter

F64 = torch.float64


def scaling(crosscoder: Crosscoder, x: Tensor, parts: int = 3) -> LatentScaling:
    fitter = LatentScalingFitter(crosscoder)
    for part in x.chunk(parts):
        fitter.update(part)
    return fitter.result()


def rough(dtype: torch.dtype = F64) -> tuple[Crosscoder, Tensor]:
    """A crosscoder that fits nothing, of unequal rows, and tokens; its last latent is never active."""
    draws = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draws, dtype=F64)

    lean = torch.rand(12, generator=draws, dtype=F64)
    lean[:2] = torch.tensor([0.02, 0.98], dtype=F64)
    bias = draw(12)
    bias[-1] = -1e6
    crosscoder = Crosscoder(
        scale=torch.tensor([0.5, 3.0], dtype=F64),
        encoder=draw(12, 2, 5),
        encoder_bias=bias,
        decoder=draw(12, 2, 5) * torch.stack([1 - lean, lean], 1)[:, :, None],
        bias=draw(2, 5),
        activation=JumpReLU(torch.full((12,), 0.3)),
    )
    return crosscoder.to(dtype), (draw(60, 2, 5) + 1) * torch.tensor([0.5, 3.0], dtype=F64)[:, None]


def test_it_agrees_with_least_squares_a_latent_at_a_time():
    crosscoder, x = rough()
    found = scaling(crosscoder, x)
    f = crosscoder.encode(x).dense()
    tokens = x / crosscoder.scale[:, None]
    rebuilt = torch.einsum("nf,fmd->nmd", f, crosscoder.decoder) + crosscoder.bias
    torch.testing.assert_close(rebuilt * crosscoder.scale[:, None], crosscoder.reconstruct(x))
    norms = crosscoder.decoder.norm(dim=2)
    for latent in range(11):
        owner = int(norms[latent, 1] >= norms[latent, 0])
        assert found.owner[latent] == owner
        regressor = (f[:, latent, None] * crosscoder.decoder[latent, owner]).reshape(-1, 1)
        for model in (BASE, ALIGNED):
            own = f[:, latent, None] * crosscoder.decoder[latent, model]
            error = tokens[:, model] - (rebuilt[:, model] - own)
            written = rebuilt[:, model] - crosscoder.bias[model]
            for target, beta in ((error, found.error), (written, found.reconstruction)):
                expected = torch.linalg.lstsq(regressor, target.reshape(-1, 1)).solution[0, 0]
                assert abs(float(beta[latent, model] - expected)) < 1e-6
    assert found.error.isfinite().sum() == 22


def test_a_latent_that_is_never_active_is_counted_and_has_no_number():
    crosscoder, x = rough()
    found = scaling(crosscoder, x)
    assert found.tokens == 60
    assert found.active.equal((crosscoder.encode(x).dense() != 0).sum(0))
    assert found.inactive == 1
    for numbers in (found.error, found.reconstruction, found.nu_error, found.nu_reconstruction):
        assert numbers[-1].isnan().all()
    assert found.labels()[-1] == found.labels_by_norms()[-1] == "inactive"
    empty = LatentScalingFitter(crosscoder).result()
    assert empty.inactive == 12
    assert set(empty.labels()) == {"inactive"}
    assert empty.counts() == dict.fromkeys(LABELS, 0) | {"inactive": 12}
    assert {kind: count for kind, count in found.counts().items() if count} == Counter(
        found.labels().tolist()
    )


def test_batches_and_float32_change_nothing():
    crosscoder, x = rough()
    whole = scaling(crosscoder, x, 1)
    for other in (scaling(crosscoder, x, 60), scaling(crosscoder, torch.cat([x[:0], x]), 7)):
        torch.testing.assert_close(other.error, whole.error, equal_nan=True)
        torch.testing.assert_close(other.reconstruction, whole.reconstruction, equal_nan=True)
    # Codes are compared with a threshold, so the same ones must be active for the numbers to be comparable.
    single, _ = rough(torch.float32)
    coarse = scaling(single, x.float())
    assert coarse.active.equal(whole.active)
    assert coarse.error.dtype == F64
    torch.testing.assert_close(coarse.error, whole.error, rtol=1e-4, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(
        coarse.reconstruction, whole.reconstruction, rtol=1e-4, atol=1e-4, equal_nan=True
    )


# Directions at right angles, each with its own strength on a third of the tokens. A latent reads one of them in one of
# the models, and writes it into both with rows of these lengths; what the models hold of it is in `planted`.
WIDTH = 10
LATENTS = {
    # name: (model that is read, direction, length of the base row, of the aligned row)
    "in aligned alone": (ALIGNED, 0, 0.0, 1.0),
    "in base alone": (BASE, 1, 1.0, 0.0),
    "shared": (ALIGNED, 2, 0.5, 0.5),
    "shrunk in base": (ALIGNED, 3, 0.004, 0.996),
    "shrunk in aligned": (BASE, 4, 0.996, 0.004),
    "decoupled, aligned's part": (ALIGNED, 5, 0.0, 1.0),
    "decoupled, base's part": (BASE, 5, 1.0, 0.0),
    "leaning": (ALIGNED, 6, 0.25, 0.75),
    "0.3 left in base's error": (ALIGNED, 7, 0.0, 1.0),
    "0.1 left in base's error": (ALIGNED, 8, 0.0, 1.0),
}
EXPECTED = {
    "in aligned alone": "aligned-only",
    "in base alone": "base-only",
    "shared": "shared",
    "shrunk in base": "other",
    "shrunk in aligned": "other",
    "decoupled, aligned's part": "other",
    "decoupled, base's part": "other",
    "leaning": "other",
    "0.3 left in base's error": "other",
    "0.1 left in base's error": "aligned-only",
}


def planted(noise: float = 0.01, n: int = 400) -> tuple[Crosscoder, Tensor]:
    """A crosscoder with the latents above, and tokens of two models that hold what their names say."""
    draws = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draws, dtype=F64)).Q
    strength = torch.rand(n, WIDTH, generator=draws, dtype=F64) + 1
    strength *= torch.rand(n, WIDTH, generator=draws, dtype=F64) < 1 / 3
    held = torch.tensor(  # of each direction, by base and by aligned
        [[0, 1], [1, 0], [1, 1], [1, 1], [1, 1], [1, 1], [0.5, 1.5], [0.3, 1], [0.1, 1], [0, 0]], dtype=F64
    )
    bias = 3 * torch.randn(2, WIDTH, generator=draws, dtype=F64)
    tokens = torch.einsum("nk,km,kd->nmd", strength, held, basis) + bias
    tokens += noise * torch.randn(n, 2, WIDTH, generator=draws, dtype=F64)
    encoder = torch.zeros(len(LATENTS), 2, WIDTH, dtype=F64)
    decoder = torch.zeros_like(encoder)
    for i, (model, direction, in_base, in_aligned) in enumerate(LATENTS.values()):
        # A code is what both rows write together, so what it reads is divided by the part of the row in its model.
        encoder[i, model] = basis[direction] / (in_base, in_aligned)[model]
        decoder[i] = torch.stack([in_base * basis[direction], in_aligned * basis[direction]])
    scale = torch.tensor([2.0, 0.5], dtype=F64)
    crosscoder = Crosscoder(
        scale,
        encoder,
        -(encoder * bias).sum((1, 2)),
        decoder,
        bias,
        JumpReLU(torch.full((len(LATENTS),), 0.5)),
    )
    return crosscoder, tokens * scale[:, None]


def by_name(values: Tensor) -> dict[str, float]:
    return dict(zip(LATENTS, values.tolist(), strict=True))


def test_planted_latents_are_told_apart_and_artefacts_are_no_models_own():
    found = scaling(*planted())
    assert dict(zip(LATENTS, found.labels().tolist(), strict=True)) == EXPECTED
    # By their norms alone all of these would be one model's.
    artefacts = [name for name, label in EXPECTED.items() if label == "other" and name != "leaning"]
    naive = dict(zip(LATENTS, found.labels_by_norms().tolist(), strict=True))
    assert {naive[name] for name in artefacts} == {"aligned-only", "base-only"}
    assert Counter(naive.values()) == {"aligned-only": 5, "base-only": 3, "shared": 1, "other": 1}
    assert found.inactive == found.unjudged == 0


def test_planted_scales_are_recovered():
    found = scaling(*planted(noise=0.0))
    expected = {
        "in aligned alone": (0.0, 0.0),
        "in base alone": (0.0, 0.0),
        "shared": (1.0, 1.0),
        "shrunk in base": (1.0, 0.004 / 0.996),
        "shrunk in aligned": (1.0, 0.004 / 0.996),
        "decoupled, aligned's part": (0.0, 1.0),
        "decoupled, base's part": (0.0, 1.0),
        "leaning": (1 / 3, 1 / 3),
        "0.3 left in base's error": (0.3, 0.0),
        "0.1 left in base's error": (0.1, 0.0),
    }
    errors, written = by_name(found.nu_error), by_name(found.nu_reconstruction)
    for name, (in_error, in_written) in expected.items():
        assert abs(errors[name] - in_error) < 1e-6, name
        assert abs(written[name] - in_written) < 1e-6, name
    owners = found.error.gather(1, found.owner[:, None])
    torch.testing.assert_close(owners, torch.ones_like(owners), rtol=0, atol=1e-6)


def test_swapped_models_mirror_the_labels():
    crosscoder, x = planted()
    swapped = replace(
        crosscoder,
        scale=crosscoder.scale.flip(0),
        encoder=crosscoder.encoder.flip(1),
        decoder=crosscoder.decoder.flip(1),
        bias=crosscoder.bias.flip(0),
    )
    found, mirrored = scaling(crosscoder, x), scaling(swapped, x.flip(1))
    torch.testing.assert_close(mirrored.relative_norms, 1 - found.relative_norms)
    mirror = {"aligned-only": "base-only", "base-only": "aligned-only"}
    for kind in ("labels", "labels_by_norms"):
        before, after = getattr(found, kind)().tolist(), getattr(mirrored, kind)().tolist()
        assert after == [mirror.get(label, label) for label in before]
    # Of two rows equally long the aligned model's is the direction, so there ν turns over.
    owned = found.relative_norms != 0.5
    torch.testing.assert_close(mirrored.nu_error[owned], found.nu_error[owned])
    torch.testing.assert_close(mirrored.nu_reconstruction[owned], found.nu_reconstruction[owned])
    assert int(owned.sum()) == len(LATENTS) - 1


@pytest.mark.parametrize("longer", [(10.0, 1.0), (1.0, 10.0)])
def test_a_longer_model_changes_nothing(longer: tuple[float, float]):
    crosscoder, x = planted()
    times = torch.tensor(longer, dtype=F64)
    found = scaling(crosscoder, x)
    other = scaling(replace(crosscoder, scale=crosscoder.scale * times), x * times[:, None])
    torch.testing.assert_close(other.relative_norms, found.relative_norms)
    torch.testing.assert_close(other.error, found.error)
    torch.testing.assert_close(other.reconstruction, found.reconstruction)


def test_a_shift_of_both_models_changes_nothing():
    crosscoder, x = planted()
    # What training would make of shifted activations: the bias moves, and the encoder's so that codes stay.
    shift = torch.full((2, WIDTH), 5.0, dtype=F64)
    shifted = replace(
        crosscoder,
        bias=crosscoder.bias + shift,
        encoder_bias=crosscoder.encoder_bias - (crosscoder.encoder * shift).sum((1, 2)),
    )
    found, other = scaling(crosscoder, x), scaling(shifted, x + shift * crosscoder.scale[:, None])
    torch.testing.assert_close(other.nu_reconstruction, found.nu_reconstruction)
    torch.testing.assert_close(other.nu_error, found.nu_error)


def test_the_same_model_twice_has_nothing_of_its_own():
    """Even where the crosscoder's rows say that half of its latents are one model's alone."""
    draws = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draws, dtype=F64)).Q
    strength = torch.rand(300, WIDTH, generator=draws, dtype=F64)
    x = (strength @ basis)[:, None].expand(-1, 2, -1)

    def made(lean: Tensor) -> Crosscoder:
        rows = torch.stack([1 - lean, lean], 1)
        return Crosscoder(
            torch.ones(2, dtype=F64),
            basis[:, None] / 2 / rows.amax(1)[:, None, None].expand(-1, 2, -1),
            torch.zeros(WIDTH, dtype=F64),
            rows[:, :, None] * basis[:, None],
            torch.zeros(2, WIDTH, dtype=F64),
            TopK(WIDTH),
        )

    equal = scaling(made(torch.full((WIDTH,), 0.5, dtype=F64)), x)
    assert set(equal.labels()) == {"shared"}
    torch.testing.assert_close(equal.nu_error, torch.ones(WIDTH, dtype=F64))
    torch.testing.assert_close(equal.nu_reconstruction, torch.ones(WIDTH, dtype=F64))
    shrunk = scaling(made(torch.tensor([0.01, 0.99] * (WIDTH // 2), dtype=F64)), x)
    assert set(shrunk.labels_by_norms()) == {"base-only", "aligned-only"}
    assert set(shrunk.labels()) == {"other"}


def test_a_latent_that_does_not_describe_its_owner_is_not_judged():
    crosscoder, x = planted()
    # A row that writes base's direction into the aligned model, which does not hold it, or holds its opposite.
    latent = [*LATENTS].index("in base alone")
    decoder = crosscoder.decoder.clone()
    direction = decoder[latent, BASE].clone()
    decoder[latent] = torch.stack([torch.zeros_like(direction), direction])
    mistaken = replace(crosscoder, decoder=decoder)
    f = crosscoder.encode(x).dense()[:, latent, None]
    for held in (0.0, -1.0):
        opposed = x.clone()
        opposed[:, ALIGNED] += held * f * direction * crosscoder.scale[ALIGNED]
        found = scaling(mistaken, opposed)
        assert abs(float(found.error[latent, ALIGNED]) - held) < 0.01
        assert found.nu_error[latent].isnan()
        assert found.unjudged == 1
        assert found.labels_by_norms()[latent] == "aligned-only"
        assert found.labels()[latent] == "other"


def test_a_lower_lean_lets_nu_judge_more_latents_but_never_shared_ones():
    crosscoder, x = planted()
    decoder = crosscoder.decoder.clone()
    decoder[0, BASE] = 0.3 * crosscoder.decoder[8, ALIGNED]  # another direction: Δ = .85, and ν stays 0
    leaning = scaling(replace(crosscoder, decoder=decoder), x)
    assert 0.8 < float(leaning.relative_norms[0]) < 0.9
    assert leaning.labels()[0] == "other"
    assert leaning.labels(lean=0.6)[0] == "aligned-only"
    for lean in (0.5, 1.1, float("nan")):
        with pytest.raises(DictionaryError, match=r"must be 0\.6 to 1"):
            leaning.labels(lean)
