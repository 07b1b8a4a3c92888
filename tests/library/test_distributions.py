"""Distributions of images, built from explicit tensors, owe their user what PyTorch's own distributions do."""

import math

import pytest
import torch
from torch.distributions import Distribution, constraints

from pixellib.data import IntensityPermutation
from pixellib.likelihoods import (
    BernoulliImages,
    Categorical,
    CategoricalImages,
    DiscretizedLogistic,
    DiscretizedLogisticImages,
    DiscretizedLogisticMixture,
    Gaussian,
    GaussianImages,
    GreyBernoulliImages,
    LogisticMixture,
    PermutedImages,
)

C, K, H, W = 3, 2, 2, 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tensors(*shapes, dtype=torch.float64, seed=0):
    """Normal parameters of these shapes, always the same."""
    generator = seeded(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]


def bernoulli(*batch, channels=C, size=(H, W), **options):
    return BernoulliImages(*tensors((*batch, channels, *size), **options))


def grey_bernoulli(*batch, channels=C, size=(H, W), **options):
    return GreyBernoulliImages(*tensors((*batch, channels, *size), **options))


def categorical(*batch, channels=C, size=(H, W), num_levels=256, **options):
    return CategoricalImages(*tensors((*batch, channels, num_levels, *size), **options))


def gaussian(*batch, channels=C, size=(H, W), **options):
    means, log_variance = tensors(*[(*batch, channels, *size)] * 2, **options)
    return GaussianImages(0.2 * means, 0.3 * log_variance - 5)


def logistic(*batch, channels=C, size=(H, W), tails="censored", num_levels=256, **options):
    means, log_scales = tensors(*[(*batch, channels, *size)] * 2, **options)
    return DiscretizedLogisticImages(means, log_scales - 2, tails=tails, num_levels=num_levels)


def mixture(*batch, channels=C, size=(H, W), tails="censored", coupled=False, num_levels=256, **options):
    shapes = [(*batch, K, *size)] + [(*batch, channels, K, *size)] * 3
    logits, means, log_scales, coefficients = tensors(*shapes, **options)
    coefficients = coefficients.tanh() if coupled else None
    return DiscretizedLogisticMixture(
        logits, 0.5 * means, log_scales - 3, coefficients, tails=tails, num_levels=num_levels
    )


def coupled(*batch, **options):
    return mixture(*batch, coupled=True, **options)


def truncated(*batch, **options):
    return mixture(*batch, coupled=True, tails="truncated", **options)


def permuted(*batch, **options):
    return PermutedImages(mixture(*batch, **options), IntensityPermutation(seed=1))


FAMILIES = [bernoulli, grey_bernoulli, categorical, gaussian, logistic, mixture, coupled, truncated, permuted]
SINGLE_CHANNEL = [bernoulli, categorical, gaussian, logistic, mixture, permuted]
MASSES = [bernoulli, categorical, logistic, mixture, permuted]
BATCHES = [(), (2,), (4, 2)]

of_each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.mark.parametrize("batch", BATCHES)
@of_each_family
def test_shapes_follow_batch_and_sample_shape(family, batch):
    d = family(*batch)
    assert isinstance(d, Distribution) and d.batch_shape == batch and d.event_shape == (C, H, W)
    for shape in ((), (5,), (3, 5)):
        x = d.sample(shape, generator=seeded())
        assert x.shape == (*shape, *batch, C, H, W) and x.dtype == torch.uint8
        assert d.log_prob(x).shape == (*shape, *batch) and d.log_prob_per_pixel(x).shape == (*shape, *batch, H, W)
        torch.testing.assert_close(d.log_prob_per_pixel(x).sum((-2, -1)), d.log_prob(x))
        assert d.support.check(x).all() and d.support.check(x).shape == (*shape, *batch)
    assert d.conditional_log_pmf(d.sample()).shape == (*batch, len(d.values), C, H, W)
    if family is not permuted:
        for moment in (d.mean, d.variance, d.stddev):
            assert moment.shape == (*batch, C, H, W)


@of_each_family
def test_a_batch_is_its_members(family):
    """log_prob broadcasts: one image against a batch, a batch of images against one distribution."""
    d, one = family(4, 2), family()
    x = d.sample(generator=seeded())
    together = d.log_prob(x[0, 0])
    assert together.shape == (4, 2)
    torch.testing.assert_close(together, d.log_prob(x[0, 0].expand(4, 2, C, H, W)))
    torch.testing.assert_close(one.log_prob(x)[1, 1], one.log_prob(x[1, 1]))
    with pytest.raises(ValueError, match=r"expects images for a batch \(4, 2\)"):
        d.log_prob(x[:3])


@of_each_family
def test_expand_keeps_values_and_copies_nothing(family):
    d = family(2)
    wide = d.expand((5, 2))
    assert type(wide) is type(d) and wide.batch_shape == (5, 2) and wide.event_shape == d.event_shape
    x = wide.sample(generator=seeded())
    assert x.shape == (5, 2, C, H, W)
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x))
    assert d.batch_shape == (2,), "the original stays as it was"
    if family is not permuted:
        torch.testing.assert_close(wide.mean[3], d.mean)
        for name in wide.arg_constraints:
            assert getattr(wide, name).data_ptr() == getattr(d, name).data_ptr()


@pytest.mark.parametrize("head", [LogisticMixture(K), DiscretizedLogistic(), Gaussian(), Categorical(8)])
def test_what_a_likelihood_gives_expands_and_reads_like_any_other(head):
    params = 40 * torch.randn(2, head.num_params(3), H, W, generator=seeded())
    d = head(params)
    assert str(d).startswith(("Discretized", "Gaussian", "Categorical")) and "torch.Size([2, " in str(d)
    wide, x = d.expand((5, 2)), d.sample(generator=seeded())
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x).expand(5, 2))
    with pytest.raises(ValueError, match="expects values"):
        wide.log_prob(x.long() + 256)
    with pytest.raises(RuntimeError):
        d.expand((3,))


def test_repr_shows_shapes_as_pytorch_does():
    assert str(coupled(2)) == (
        "DiscretizedLogisticMixture(logits: torch.Size([2, 2, 2, 3]), means: torch.Size([2, 3, 2, 2, 3]), "
        "log_scales: torch.Size([2, 3, 2, 2, 3]), coefficients: torch.Size([2, 3, 2, 2, 3]))"
    )
    assert str(bernoulli(2)) == "BernoulliImages(logits: torch.Size([2, 3, 2, 3]))"
    assert str(LogisticMixture(K)(torch.zeros(2, 6, 1, 1))) == (
        "DiscretizedLogisticMixture(logits: torch.Size([2, 2, 1, 1]), means: torch.Size([2, 1, 2, 1, 1]), "
        "log_scales: torch.Size([2, 1, 2, 1, 1]))"
    )
    assert "IntensityPermutation(256, 1, 256)" in str(permuted())


@of_each_family
def test_constraints_of_the_parameters_are_real_and_hold(family):
    d = family(2)
    for name, constraint in d.arg_constraints.items():
        assert constraint.base_constraint is constraints.real
        assert constraint.check(getattr(d, name)).shape == (2,) and constraint.check(getattr(d, name)).all()
    assert bool(d.arg_constraints) == (family is not permuted)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("family", [f for f in FAMILIES if f is not permuted])
def test_parameters_that_are_not_finite_are_refused_unless_told_otherwise(family, bad):
    """As PyTorch does, with a ValueError; the error is also the FloatingPointError that the likelihoods raise."""
    d = family(2)
    for name in d.arg_constraints:
        given = {key: getattr(d, key).clone() for key in d.arg_constraints}
        given[name].view(-1)[1] = bad
        for error in (ValueError, FloatingPointError):
            with pytest.raises(error, match=f"^{type(d).__name__}: the {name} are not finite"):
                type(d)(**given)
        type(d)(**given, validate_args=False)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f is not permuted])
@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64])
def test_parameters_of_another_type_are_refused(family, dtype):
    d = family(2)
    given = {key: getattr(d, key).to(dtype) for key in d.arg_constraints}
    with pytest.raises(ValueError, match=f"{type(d).__name__} expects .* as a float tensor .* got {dtype}"):
        type(d)(**given, validate_args=False)
    with pytest.raises(ValueError, match="got float"):
        type(d)(**{key: 0.5 for key in given})


@of_each_family
def test_the_support_is_where_log_prob_answers(family):
    """Also for the Bernoulli, whose support once held 7 while log_prob(7) was refused."""
    d = family()
    for value in (-1, 0, 1, 7, 127, 255, 256, 1000):
        x = torch.full((C, H, W), value)
        x = x if family is not permuted or not 0 <= value < 256 else x.byte()
        if d.support.check(x):
            assert torch.isfinite(d.log_prob(x))
        else:
            with pytest.raises(ValueError, match="expect"):
                d.log_prob(x)
    assert set(d.values) <= set(range(256))
    assert d.support.is_discrete == (family is not gaussian), "a density's support is not discrete"


def test_whether_values_are_checked_follows_pytorchs_rules():
    x = torch.full((C, H, W), 300)
    means, log_scales = tensors((C, H, W), (C, H, W))
    for validate_args, refused in ((None, True), (True, True), (False, False)):
        d = DiscretizedLogisticImages(means, log_scales, validate_args=validate_args)
        if refused:
            with pytest.raises(ValueError, match=r"expects values 0..255, got values 300..300"):
                d.log_prob(x)
        else:
            d.log_prob(x)
    try:
        Distribution.set_default_validate_args(False)
        DiscretizedLogisticImages(means * math.nan, log_scales).log_prob(x)
        with pytest.raises(ValueError, match="expects values"):
            DiscretizedLogisticImages(means, log_scales, validate_args=True).log_prob(x)
    finally:
        Distribution.set_default_validate_args(True)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda t: DiscretizedLogisticMixture(t, t, t), "expects means as a float tensor of 4 or more dimensions"),
        (lambda t: mixture(num_levels=2.5), "num_levels must be an integer in 2..65536, got 2.5"),
        (lambda t: logistic(num_levels=True), "num_levels must be an integer in 2..65536, got True"),
        (lambda t: logistic(tails="wrap"), "unknown tails 'wrap'; choose censored or truncated"),
        (lambda t: coupled(channels=1), "coefficients couple 3 channels, got 1"),
        (lambda t: DiscretizedLogisticMixture(t, t[None, :2].unsqueeze(1), t[None]), r"do not fit: .*'logits': \(3, 2"),
        (lambda t: CategoricalImages(t), "expects logits as a float tensor of 4 or more"),
        (lambda t: mixture().log_prob([[0]]), "expects images as a tensor, got list"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make(torch.zeros(3, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@of_each_family
def test_the_type_of_the_parameters_is_kept(family, dtype):
    d = family(2, dtype=dtype)
    x = d.sample(generator=seeded())
    results = [d.log_prob(x), d.log_prob_per_pixel(x), d.conditional_log_pmf(x)]
    results += [] if family is permuted else [d.mean, d.variance, d.stddev]
    assert {t.dtype for t in results} == {dtype}
    assert {t.device for t in results} == {x.device}


def test_parameters_of_several_types_and_shapes_meet_in_the_widest():
    d = DiscretizedLogisticMixture(
        torch.zeros(K, 1, 1), torch.zeros(4, 1, K, H, W, dtype=torch.float64), torch.zeros(1, 1, 1, 1).half()
    )
    assert d.batch_shape == (4,) and d.event_shape == (1, H, W) and d.log_scales.dtype == torch.float64
    assert d.logits.shape == (4, K, H, W) and d.log_prob(d.sample()).shape == (4,)


@pytest.mark.parametrize(
    "family", [bernoulli, grey_bernoulli, categorical, gaussian, logistic, mixture, coupled, truncated]
)
def test_mean_and_variance_are_those_of_the_samples(family):
    """Within five standard errors of 40,000 draws.

    Coupled channels are taken where `mean` and `variance` neglect little, away from the ends of the range.
    """
    d = family(size=(2, 2), seed=3)
    if family in (coupled, truncated):
        parameters = d.logits, 0.2 * d.means, 0.3 * d.log_scales - 3.5, 0.5 * d.coefficients
        d = DiscretizedLogisticMixture(*parameters, tails=d.tails)
    x = d.sample((40_000,), generator=seeded(1)).double()
    mean, variance = x.mean(0), x.var(0)
    fourth = (x - mean).pow(4).mean(0)
    rounding = 1 / 12 if family is gaussian else 0.0  # its samples are rounded, its variance is not
    assert ((d.mean - mean).abs() < 5 * (variance / 40_000).sqrt()).all()
    error = 5 * ((fourth - variance.square()) / 40_000).sqrt()
    assert ((d.variance + rounding - variance).abs() < error).all()
    torch.testing.assert_close(d.stddev, d.variance.sqrt())


@pytest.mark.parametrize("family", SINGLE_CHANNEL)
def test_mean_and_variance_of_one_channel_are_sums_over_the_levels(family):
    if family is gaussian:
        return
    d = family(2, channels=1, seed=1)
    p = d.conditional_log_pmf(d.sample()).exp()
    levels = torch.tensor(d.values, dtype=p.dtype).view(-1, 1, 1, 1)
    mean = (p * levels).sum(-4)
    torch.testing.assert_close(d.mean, mean)
    torch.testing.assert_close(d.variance, (p * (levels - mean.unsqueeze(-4)).square()).sum(-4))


@pytest.mark.parametrize("scale", [-7.0, -3.0, 0.0, 5.0, 15.0])
@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_moments_in_float32_keep_their_digits(tails, scale):
    """Small variances are not lost in squares of levels, nor is anything lost for wide or distant logistics."""
    means = torch.tensor([-0.9, 0.1, 1.0, 4.0]).view(1, 1, 4).double()
    wide = DiscretizedLogisticImages(means, torch.full_like(means, scale), tails=tails)
    narrow = DiscretizedLogisticImages(means.float(), torch.full_like(means, scale).float(), tails=tails)
    torch.testing.assert_close(narrow.mean.double(), wide.mean, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(narrow.variance.double(), wide.variance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", MASSES)
def test_an_image_of_one_sub_pixel_enumerates_its_support(family):
    d = family(2, channels=1, size=(1, 1))
    assert d.has_enumerate_support
    values = d.enumerate_support()
    assert values.shape == (len(d.values), 2, 1, 1, 1) and values.flatten(1)[:, 0].tolist() == list(d.values)
    assert d.enumerate_support(expand=False).shape == (len(d.values), 1, 1, 1, 1)
    p = d.log_prob(values).exp()
    torch.testing.assert_close(p.sum(0), torch.ones(2, dtype=p.dtype))
    torch.testing.assert_close(d.entropy(), -(p * p.log()).sum(0))
    torch.testing.assert_close(d.cdf(values).flatten(1), p.cumsum(0))
    drawn = d.sample((100_000,), generator=seeded(2)).flatten(1)
    frequencies = torch.stack([(drawn == v).double().mean(0) for v in d.values])
    assert ((frequencies - p).abs() < 5 * (p * (1 - p) / 100_000).sqrt() + 1e-4).all()


@pytest.mark.parametrize("family", [bernoulli, categorical, gaussian, logistic, mixture])
def test_entropy_is_the_mean_surprise(family):
    d = family(channels=1 if family is mixture else 3, size=(2, 2))
    surprise = -d.log_prob(d.sample((20_000,), generator=seeded(3)))
    assert abs(d.entropy() - surprise.mean()) < 5 * surprise.std() / 20_000**0.5 + (0.05 if family is gaussian else 0)
    assert family(4, 2, channels=1).entropy().shape == (4, 2)


@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_the_cdf_of_each_sub_pixel_sums_its_own_masses(tails):
    """Three channels that share a component but not their values: each has its own distribution function."""
    d = mixture(tails=tails, size=(1, 1))
    for c in range(C):
        one = DiscretizedLogisticMixture(d.logits, d.means[c : c + 1], d.log_scales[c : c + 1], tails=tails)
        x = one.enumerate_support()
        cdf = d.cdf(x.expand(-1, C, 1, 1))[:, c].flatten()
        torch.testing.assert_close(cdf, one.log_prob(x).exp().cumsum(0))
        assert cdf[-1] == 1 and (cdf.diff() >= 0).all()


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda x: coupled().cdf(x), "the cdf of coupled channels is not computed"),
        (lambda x: mixture().entropy(), "the entropy of 3 channels is not computed"),
        (lambda x: grey_bernoulli().entropy(), "do not sum to one"),
        (lambda x: grey_bernoulli().cdf(x), "do not sum to one"),
        (lambda x: mixture().enumerate_support(), r"images \(3, 2, 3\) are not enumerated"),
        (lambda x: grey_bernoulli(channels=1, size=(1, 1)).enumerate_support(), "are not enumerated"),
        (lambda x: gaussian(channels=1, size=(1, 1)).enumerate_support(), "are not enumerated"),
        (lambda x: permuted().cdf(x), "cdf of permuted images is for 1 channel"),
        (lambda x: permuted().variance, "variance of permuted images is for 1 channel"),
    ],
)
def test_what_is_not_cheap_is_not_implemented_and_says_so(ask, complaint):
    with pytest.raises(NotImplementedError, match=complaint):
        ask(torch.zeros(C, H, W, dtype=torch.uint8))


@pytest.mark.parametrize("tails", ["censored", "truncated"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_likelihood_gives_the_distribution_of_its_unpacked_parameters(channels, tails):
    """Values and gradients, whichever way the parameters come in."""
    likelihood = LogisticMixture(K, tails)
    params = torch.randn(4, likelihood.num_params(channels), H, W, generator=seeded(), dtype=torch.float64)
    params = params.requires_grad_()
    logits, means, log_scales, *coefficients = likelihood.unpack(params)
    explicit = DiscretizedLogisticMixture(logits, means, log_scales, *(c.tanh() for c in coefficients), tails=tails)
    d, x = likelihood(params), likelihood(params).sample(generator=seeded())
    assert torch.equal(explicit.sample(generator=seeded(1)), d.sample(generator=seeded(1)))
    for one, other in (
        (d.log_prob(x), explicit.log_prob(x)),
        (d.log_prob(x), d.log_prob_per_pixel(x, fused=False).sum((-2, -1))),
        (d.mean, explicit.mean),
        (d.variance, explicit.variance),
    ):
        torch.testing.assert_close(one, other)
        gradients = [torch.autograd.grad(t.square().sum(), params, retain_graph=True)[0] for t in (one, other)]
        torch.testing.assert_close(*gradients)
