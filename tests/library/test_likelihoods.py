"""What holds for every observation model: shapes, masses that sum to one, samples that follow them, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Distribution

from pixellib.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GreyBernoulli,
    Likelihood,
    LogisticMixture,
)

MASSES = {
    "logistic": DiscretizedLogistic(),
    "logistic-bounded-truncated": DiscretizedLogistic("bounded", "truncated"),
    "mixture": LogisticMixture(3),
    "mixture-truncated": LogisticMixture(3, "truncated"),
    "mixture-uncoupled": LogisticMixture(3, coupled=False),
    "one component": LogisticMixture(1),
    "categorical": Categorical(),
}
DENSITIES = {kind: Gaussian(kind) for kind in ("unit", "bounded", "free")}
ALL = {"bernoulli": Bernoulli(), **MASSES, **DENSITIES}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(*shape, num_levels=256, seed=0):
    return torch.randint(num_levels, shape, generator=generator(seed), dtype=torch.uint8)


def params(likelihood, channels, *size, batch=(2,), spread=1.0, dtype=torch.float32, seed=0):
    shape = (*batch, likelihood.num_params(channels), *size)
    return spread * torch.randn(shape, generator=generator(seed), dtype=dtype)


@pytest.mark.parametrize("likelihood", [*ALL.values(), GreyBernoulli()], ids=[*ALL, "grey"])
def test_every_likelihood_is_one_and_one_that_lacks_a_method_cannot_be_made(likelihood):
    assert isinstance(likelihood, Likelihood)

    class Unfinished(Likelihood):
        kind, coupled_channels, num_levels = "mass", False, 256

        def num_params(self, channels):
            return channels

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()


@pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
def test_a_likelihood_checks_also_where_torch_has_switched_the_default_off(likelihood):
    """torch.compile does so for the whole process, and a training must still stop at what is no number."""
    Distribution.set_default_validate_args(False)
    try:
        with pytest.raises(ValueError, match="not finite"):
            likelihood(torch.full((1, likelihood.num_params(1), 2, 2), math.nan))
    finally:
        Distribution.set_default_validate_args(True)


@pytest.mark.parametrize("likelihood", [LogisticMixture(2), LogisticMixture(2, "truncated"), DiscretizedLogistic()])
def test_the_log_probability_without_fusing_can_be_exported(likelihood):
    class Scored(torch.nn.Module):
        def forward(self, params, x):
            return likelihood(params).log_prob_per_pixel(x, fused=False)

    p, x = params(likelihood, 3, 4, 4), images(2, 3, 4, 4)
    program = torch.export.export(Scored(), (p, x)).module()
    torch.testing.assert_close(program(p, x), likelihood(p).log_prob_per_pixel(x))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
def test_every_likelihood_has_the_same_interface(likelihood, channels):
    x = images(2, channels, 4, 5)
    if isinstance(likelihood, Bernoulli):
        x = (x > 127).byte() * 255
    d = likelihood(params(likelihood, channels, 4, 5))
    assert isinstance(d, Distribution) and d.batch_shape == (2,) and d.event_shape == (channels, 4, 5)
    assert d.log_prob(x).shape == (2,) and d.log_prob_per_pixel(x).shape == (2, 4, 5)
    torch.testing.assert_close(d.log_prob_per_pixel(x).sum((1, 2)), d.log_prob(x))
    assert d.conditional_log_pmf(x).shape == (2, 2 if isinstance(likelihood, Bernoulli) else 256, channels, 4, 5)
    assert d.mean.shape == (2, channels, 4, 5) and d.mean.is_floating_point()
    for shape in ((), (3,)):
        drawn = d.sample(shape, generator=generator())
        assert drawn.shape == (*shape, 2, channels, 4, 5) and drawn.dtype == torch.uint8
        assert torch.equal(drawn, d.sample(shape, generator=generator()))
    index = likelihood.channel_index(channels)
    assert index.shape == (likelihood.num_params(channels),) and index.dtype == torch.int64
    assert set(index.tolist()) == set(range(channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", MASSES.values(), ids=MASSES)
def test_a_pixel_is_the_product_of_its_channels_conditionals(likelihood, channels):
    """Each channel given the earlier ones of the image: the product over channels is the pixel's probability."""
    x, d = images(2, channels, 4, 5), likelihood(params(likelihood, channels, 4, 5, dtype=torch.float64))
    chosen = d.conditional_log_pmf(x).gather(1, x.long()[:, None])[:, 0].sum(1)
    torch.testing.assert_close(chosen, d.log_prob_per_pixel(x), atol=1e-10, rtol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(list(MASSES)),
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.1, 1.0, 10.0, 1e3, 1e10, 1e37]),
    channels=st.sampled_from([1, 3]),
)
def test_mass_sums_to_one_in_float32_for_any_finite_parameters(name, seed, spread, channels):
    x = images(1, channels, 3, 3, seed=seed)
    given_ = params(MASSES[name], channels, 3, 3, batch=(1,), spread=spread, seed=seed).requires_grad_()
    d = MASSES[name](given_)
    mass = d.conditional_log_pmf(x).double().exp().sum(1)
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-5, rtol=0)
    log_p = d.log_prob(x)
    if spread < 1e36:  # beyond, the sum over an image may be too large for float32
        assert torch.isfinite(log_p).all()
        assert torch.isfinite(torch.autograd.grad(log_p.sum(), given_)[0]).all()


def pooled(expected, observed, least=20):
    """Expected and observed counts of neighbouring levels added up until `least` are expected."""
    bins = [[0.0, 0.0]]
    for e, o in zip(expected, observed, strict=True):
        bins[-1] = [bins[-1][0] + e, bins[-1][1] + o]
        if bins[-1][0] >= least:
            bins.append([0.0, 0.0])
    last = bins.pop()
    bins[-1] = [bins[-1][0] + last[0], bins[-1][1] + last[1]]
    return torch.tensor(bins, dtype=torch.float64).T


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", [*MASSES.values(), *DENSITIES.values()], ids=[*MASSES, *DENSITIES])
def test_samples_follow_the_pmf(likelihood, channels):
    """Chi-squared against conditional_log_pmf, channel by channel, 300,000 pixels, levels pooled to 20 expected draws.

    One pixel is repeated, so that a later channel can be compared given what was drawn for the earlier ones.
    """
    one = params(likelihood, channels, 1, 1, batch=(1,), spread=0.5, dtype=torch.float64, seed=3)
    if isinstance(likelihood, LogisticMixture):  # narrow, so that one value of the earlier channels is drawn often
        K = likelihood.num_components
        one[:, K:].unflatten(1, (channels, -1, K))[:, :, 1] -= 4
    x = likelihood(one.expand(-1, -1, 150, 200)).sample((10,), generator=generator(1))  # (10, 1, C, 150, 200)
    pixels = x.movedim(2, -1).reshape(-1, channels)
    for c in range(channels):
        if c and isinstance(likelihood, LogisticMixture):  # its channels share a component
            pixels = pixels[pixels[:, c - 1] == pixels[:, c - 1].mode().values]  # one condition, its commonest value
        given_ = pixels[:1].T.reshape(1, channels, 1, 1)
        expected = likelihood(one).conditional_log_pmf(given_)[0, :, c, 0, 0].exp() * len(pixels)
        observed = torch.bincount(pixels[:, c].long(), minlength=256).double()
        expected, observed = pooled(expected.tolist(), observed.tolist())
        assert len(expected) > 5
        statistic = ((observed - expected).square() / expected).sum()
        freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
        p_value = torch.special.gammaincc(freedom, statistic / 2)
        assert p_value > 1e-5, f"channel {c}"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", MASSES.values(), ids=MASSES)
def test_the_mean_is_that_of_the_samples(likelihood, channels):
    """Within five standard errors, and half a level for the clipping that is neglected where channels are coupled."""
    given_ = params(likelihood, channels, 1, 1, batch=(1,), spread=0.3, dtype=torch.float64, seed=2)
    x = likelihood(given_.expand(-1, -1, 200, 200)).sample(generator=generator(1)).double()
    error = x.std((2, 3)) / 200
    neglected = 0.5 if likelihood.coupled_channels and channels == 3 else 0
    assert ((likelihood(given_).mean[..., 0, 0] - x.mean((2, 3))).abs() < 5 * error + neglected).all()


@pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
def test_many_latents_share_one_image(likelihood):
    """params (M, B, P, H, W) score images (B, C, H, W): as importance samples do."""
    x = images(2, 3, 4, 5)
    x = (x > 127).byte() * 255 if isinstance(likelihood, Bernoulli) else x
    given_ = params(likelihood, 3, 4, 5, batch=(7, 2))
    together = likelihood(given_).log_prob(x)
    assert together.shape == (7, 2)
    torch.testing.assert_close(together, torch.stack([likelihood(one).log_prob(x) for one in given_]))


@pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
def test_one_image_without_a_batch(likelihood):
    x = images(3, 4, 5)
    x = (x > 127).byte() * 255 if isinstance(likelihood, Bernoulli) else x
    given_ = params(likelihood, 3, 4, 5, batch=())
    torch.testing.assert_close(likelihood(given_).log_prob(x), likelihood(given_[None]).log_prob(x[None])[0])


@pytest.mark.parametrize("likelihood", ALL.values(), ids=ALL)
def test_half_precision_is_computed_in_float32(likelihood):
    x = images(2, 3, 4, 5)
    x = (x > 127).byte() * 255 if isinstance(likelihood, Bernoulli) else x
    half = params(likelihood, 3, 4, 5).bfloat16().requires_grad_()
    log_p = likelihood(half).log_prob(x)
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p, likelihood(half.float()).log_prob(x))
    assert torch.autograd.grad(log_p.sum(), half)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("likelihood", [*ALL.values(), GreyBernoulli()], ids=[*ALL, "grey"])
def test_parameters_that_are_not_finite_are_refused_by_name(likelihood, bad):
    """All in the same way, when they come in, so that nothing is scored or drawn with them."""
    given_ = params(likelihood, 3, 4, 5)
    given_[1, 2, 3, 4] = bad
    with pytest.raises(FloatingPointError, match=f"^{type(likelihood).__name__}: the parameters are not finite"):
        likelihood(given_)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
@pytest.mark.parametrize("likelihood", [*ALL.values(), GreyBernoulli()], ids=[*ALL, "grey"])
def test_parameters_that_are_no_floats_are_refused_by_name(likelihood, dtype):
    with pytest.raises(ValueError, match=f"^{type(likelihood).__name__} expects float parameters .* got {dtype}"):
        likelihood(params(likelihood, 3, 4, 5).to(dtype))


@pytest.mark.parametrize("likelihood", [*MASSES.values(), *DENSITIES.values()], ids=[*MASSES, *DENSITIES])
@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (torch.zeros(2, 3, 4, 5), "expects integer images .* got torch.float32"),
        (torch.full((2, 3, 4, 5), 256, dtype=torch.int64), r"expects values 0..255, got values 256..256"),
        (torch.full((2, 3, 4, 5), -1, dtype=torch.int16), r"expects values 0..255, got values -1..-1"),
        (images(2, 1, 4, 5), r"expects images .* got \(2, 1, 4, 5\)"),
        (images(2, 3, 4, 6), r"expects images .* got \(2, 3, 4, 6\)"),
        (images(3, 3, 4, 5), r"expects images .* got \(3, 3, 4, 5\)"),
    ],
    ids=["floats", "too large", "negative", "channels", "width", "batch"],
)
def test_what_is_no_image_of_this_size_is_refused(likelihood, x, complaint):
    d = likelihood(params(likelihood, 3, 4, 5))
    name = str(d).partition("(")[0]
    for judge in (d.log_prob, d.log_prob_per_pixel):
        with pytest.raises(ValueError, match=f"^{name} {complaint}"):
            judge(x)


@pytest.mark.parametrize(
    ("likelihood", "num", "complaint"),
    [
        (LogisticMixture(10), 99, r"10 components expects 30 or 100 parameters .* got \(2, 99, 4, 5\)"),
        (DiscretizedLogistic(), 3, r"DiscretizedLogistic expects .* multiple of 2, got"),
        (Categorical(), 255, r"Categorical expects .* multiple of 256, got"),
        (Gaussian(), 5, r"Gaussian expects .* multiple of 2, got"),
    ],
)
def test_a_wrong_number_of_parameters_is_refused(likelihood, num, complaint):
    with pytest.raises(ValueError, match=complaint):
        likelihood(torch.zeros(2, num, 4, 5))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: LogisticMixture(0), "num_components must be an integer of at least 1, got 0"),
        (lambda: LogisticMixture(tails="wrap"), "unknown tails 'wrap'; choose censored or truncated"),
        (lambda: LogisticMixture(num_levels=1), "num_levels must be an integer in 2..65536, got 1"),
        (lambda: LogisticMixture(True), "num_components must be an integer of at least 1, got True"),
        (lambda: LogisticMixture(-3), "num_components must be an integer of at least 1, got -3"),
        (lambda: LogisticMixture(2.0), "num_components must be an integer of at least 1, got 2.0"),
        (lambda: LogisticMixture(num_levels=2.5), "num_levels must be an integer in 2..65536, got 2.5"),
        (lambda: LogisticMixture(num_levels="256"), "num_levels must be an integer in 2..65536, got '256'"),
        (lambda: LogisticMixture(coupled=1), "coupled must be True or False, got 1"),
        (lambda: LogisticMixture(min_log_scale=1, max_log_scale=0), "max_log_scale must be above min_log_scale"),
        (lambda: LogisticMixture(min_log_scale=-21), "min_log_scale must be at least -20, got -21"),
        (lambda: LogisticMixture(min_log_scale=None), "min_log_scale must be a finite number, got None"),
        (lambda: LogisticMixture(max_log_scale=math.nan), "max_log_scale must be a finite number, got nan"),
        (lambda: DiscretizedLogistic(num_levels=2.5), "num_levels must be an integer in 2..65536, got 2.5"),
        (lambda: DiscretizedLogistic(max_log_scale=True), "max_log_scale must be a finite number, got True"),
        (lambda: Categorical(2.5), "num_levels must be an integer of at least 2, got 2.5"),
        (lambda: Categorical(True), "num_levels must be an integer of at least 2, got True"),
        (lambda: Categorical(-4), "num_levels must be an integer of at least 2, got -4"),
        (lambda: Bernoulli().num_params(0), "channels must be an integer of at least 1, got 0"),
        (lambda: Gaussian().channel_index(1.5), "channels must be an integer of at least 1, got 1.5"),
        (lambda: DiscretizedLogistic("wide"), "unknown scale 'wide'; choose bounded or free"),
        (lambda: Gaussian("tied"), "unknown variance 'tied'; choose unit, bounded or free"),
        (lambda: Categorical(1), "num_levels must be an integer of at least 2, got 1"),
        (lambda: LogisticMixture().num_params(2), "for 1 or 3 channels, got 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()


OF_OTHER_LEVELS = {
    "softmax": Categorical,
    "logistic": lambda n: DiscretizedLogistic(num_levels=n),
    "mixture": lambda n: LogisticMixture(3, "truncated", n),
    "censored mixture": lambda n: LogisticMixture(3, num_levels=n),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("num_levels", [2, 16, 512])
@pytest.mark.parametrize("make", OF_OTHER_LEVELS.values(), ids=OF_OTHER_LEVELS)
def test_other_numbers_of_levels(make, num_levels, channels):
    """As for codebook indices: more than 256 levels need a wider integer than uint8."""
    likelihood = make(num_levels)
    x = torch.randint(num_levels, (2, channels, 4, 5), generator=generator())
    d = likelihood(params(likelihood, channels, 4, 5))
    of_x = d.conditional_log_pmf(x).gather(1, x.unsqueeze(1)).sum((1, 2, 3, 4))
    if channels == 1 or not likelihood.coupled_channels:  # or the pmf is of a channel given the earlier ones
        torch.testing.assert_close(of_x, d.log_prob(x), rtol=1e-4, atol=1e-3)
    assert torch.isfinite(d.log_prob(x)).all()
    mass = d.conditional_log_pmf(x).exp().sum(1)
    assert d.conditional_log_pmf(x).shape[1] == num_levels
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-5, rtol=0)
    drawn = d.sample((500,), generator=generator())
    assert drawn.max() <= num_levels - 1 and drawn.dtype == (torch.uint8 if num_levels <= 256 else torch.int64)
    assert drawn.unique().numel() > num_levels // 2
