"""Distributions of images, built from explicit tensors, owe their user what PyTorch's own distributions do."""

import math

import pytest
import torch
from distribution_families import (
    FAMILIES,
    MASSES,
    C,
    H,
    K,
    W,
    bernoulli,
    coupled,
    gaussian,
    grey_bernoulli,
    logistic,
    mixture,
    permuted,
    seeded,
    tensors,
    truncated,
)
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributions import Distribution, constraints

from pixellib.data import IntensityPermutation
from pixellib.likelihoods import (
    Categorical,
    CategoricalImages,
    DiscretizedLogistic,
    DiscretizedLogisticImages,
    DiscretizedLogisticMixture,
    Gaussian,
    LogisticMixture,
    base,
    logistic_numerics,
)
from pixellib.likelihoods import bernoulli as bernoulli_module

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


@of_each_family
def test_nothing_is_made_on_another_device_than_the_parameters(family, monkeypatch):
    """Fake tensors have a device but no values, at which nothing may look; mixing devices is an error as on a GPU."""
    for module in (base, bernoulli_module, logistic_numerics):
        monkeypatch.setattr(module, "known", lambda t: None)
    monkeypatch.setattr(logistic_numerics, "_extremes", lambda t: (0.0, 0.0))
    monkeypatch.setattr(IntensityPermutation, "inverse", lambda self, x: self.inverse_table.to(x.device)[x.int()])
    channels = 3 if family in (coupled, truncated) else 1
    with FakeTensorMode():
        d, x = family(3, channels=channels, device="cuda"), torch.zeros(3, channels, H, W, dtype=torch.uint8).cuda()
        made = [d.log_prob(x), d.conditional_log_pmf(x), d.mean, d.variance, d.sample((2,))]
        if channels == 1 and family is not grey_bernoulli:
            made += [d.cdf(x), d.entropy()]
            single = family(channels=1, size=(1, 1), device="cuda")
            made += [single.enumerate_support()] if single.has_enumerate_support else []
        assert {t.device.type for t in made} == {"cuda"}


@pytest.mark.parametrize("family", MASSES)
def test_the_probabilities_of_levels_are_given_for_each_image_and_images_are_checked(family):
    d = family(channels=1)
    x = d.sample((5,))
    assert d.conditional_log_pmf(x).shape == (5, *d.conditional_log_pmf().shape)
    torch.testing.assert_close(d.conditional_log_pmf(x)[2], d.conditional_log_pmf())
    with pytest.raises(ValueError):
        d.conditional_log_pmf(x[..., :1])


def test_levels_of_coupled_channels_need_the_earlier_ones():
    with pytest.raises(ValueError, match="give the images, x"):
        coupled().conditional_log_pmf()
