"""The Bernoulli likelihood is the textbook's, whatever its sizes, its precision and the extremes of its logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli as Textbook
from torch.distributions import Independent

from pixellib.likelihoods import Bernoulli, BernoulliImages, GreyBernoulli, GreyBernoulliImages

LIKELIHOOD = Bernoulli()


def binary_images(*shape, seed=0):
    """Binary images uint8 (..., C, H, W), 0 or 255."""
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8) * 255


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def textbook(logits, x):
    return Independent(Textbook(logits=logits, validate_args=False), 3).log_prob((x == 255).to(logits.dtype))


# 1, 2, ..., 2^4 pixels are multiplied before a logarithm is taken: sizes with and without such factors
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)),
    spread=st.sampled_from([0.1, 3.0, 100.0]),
)
def test_log_prob_and_its_gradient_are_the_textbooks(seed, shape, spread):
    x = binary_images(2, *shape, seed=seed)
    logits = (spread * normal(4, 2, *shape, seed=seed)).requires_grad_()
    ours, theirs = LIKELIHOOD(logits).log_prob(x), textbook(logits, x)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-12)
    weights = normal(4, 2)
    torch.testing.assert_close(*(torch.autograd.grad((p * weights).sum(), logits)[0] for p in (ours, theirs)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 7)])
def test_float32_stays_within_a_thousandth_of_a_nat_per_image(shape):
    x, logits = binary_images(8, *shape), 5 * normal(20, 8, *shape)
    ours = LIKELIHOOD(logits.float()).log_prob(x)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), textbook(logits.float().double(), x), atol=1e-3, rtol=0)


def test_gradients_pass_a_numerical_check():
    x, logits = binary_images(3, 1, 4, 4), normal(2, 3, 1, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: LIKELIHOOD(given).log_prob(x), (logits,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_certain_logits_are_finite_right_or_wrong(dtype):
    """exp(1e4) overflows every dtype; a logit of 1e4 costs nothing where it is right and 1e4 nats where it is wrong."""
    x = torch.tensor([255, 0, 255, 0], dtype=torch.uint8).view(1, 1, 2, 2)
    logits = torch.tensor([1e4, -1e4, -1e4, 1e4], dtype=dtype).view(1, 1, 2, 2).requires_grad_()
    log_p = LIKELIHOOD(logits).log_prob(x)
    assert log_p.item() == -2 * logits.detach()[0, 0, 0, 0].float().item()
    assert torch.autograd.grad(log_p.sum(), logits)[0].flatten().tolist() == [0, 0, 1, -1]
    per_pixel = LIKELIHOOD(logits).log_prob_per_pixel(x)
    assert per_pixel.sum().item() == log_p.item()
    pmf = LIKELIHOOD(logits).conditional_log_pmf(x)
    assert torch.isfinite(pmf).all() and torch.allclose(pmf.exp().sum(1), torch.ones(1, 1, 2, 2, dtype=pmf.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_become_float32_before_anything_is_summed(dtype):
    """784 terms of -0.7 summed in bfloat16 would be off by several nats."""
    x, logits = binary_images(4, 1, 28, 28), normal(3, 4, 1, 28, 28).to(dtype).requires_grad_()
    log_p = LIKELIHOOD(logits).log_prob(x)
    assert log_p.dtype == torch.float32
    torch.testing.assert_close(log_p.double(), textbook(logits.double(), x), atol=1e-3, rtol=0)
    (slope,) = torch.autograd.grad(log_p.sum(), logits)
    assert slope.dtype == dtype
    expected = (x == 255).double() - logits.double().sigmoid()
    torch.testing.assert_close(slope.double(), expected, atol=4e-3, rtol=0)
    small = torch.tensor([10.0, 20.0], dtype=dtype).view(2, 1, 1, 1).requires_grad_()
    black = torch.zeros(2, 1, 1, 1, dtype=torch.uint8)
    (slope,) = torch.autograd.grad(1e-3 * LIKELIHOOD(small).log_prob(black).sum(), small)
    torch.testing.assert_close(slope.flatten().float(), torch.full((2,), -1e-3), rtol=4e-3, atol=0)


@pytest.mark.parametrize(
    ("batch", "values"),
    [((), ()), ((), (5,)), ((5,), ()), ((5,), (5,)), ((1,), (5,)), ((5,), (1,)), ((3, 5), (5,)), ((3, 5), (3, 5)),
     ((5,), (3, 5)), ((3, 1), (5,)), ((2, 3, 5), (3, 5)), ((400, 5), (400, 5))],
)  # fmt: skip
def test_images_and_logits_broadcast_like_any_distribution(batch, values):
    """M draws of a latent share one image; a model without batches scores many. 400 x 5 images are walked in slices."""
    x, logits = binary_images(*values, 1, 8, 8), normal(*batch, 1, 8, 8).requires_grad_()
    ours, theirs = LIKELIHOOD(logits).log_prob(x), textbook(logits, x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(p.square().sum(), logits)[0] for p in (ours, theirs)))
    torch.testing.assert_close(LIKELIHOOD(logits).log_prob_per_pixel(x).sum((-2, -1)), theirs)


def test_per_pixel_sums_over_channels_and_log_pmf_holds_both_masses():
    x, distribution = binary_images(2, 3, 5, 6), LIKELIHOOD(normal(2, 3, 5, 6))
    assert distribution.batch_shape == (2,) and distribution.event_shape == (3, 5, 6)
    per_pixel, log_pmf = distribution.log_prob_per_pixel(x), distribution.conditional_log_pmf(x)
    assert per_pixel.shape == (2, 5, 6) and log_pmf.shape == (2, 2, 3, 5, 6)
    torch.testing.assert_close(per_pixel.sum((1, 2)), distribution.log_prob(x))
    torch.testing.assert_close(log_pmf.logsumexp(1), torch.zeros(2, 3, 5, 6, dtype=torch.float64))
    chosen = log_pmf.gather(1, (x == 255).long()[:, None])[:, 0]
    torch.testing.assert_close(chosen.sum(1), per_pixel)
    torch.testing.assert_close(distribution.mean, 255 * log_pmf[:, 1].exp())


def test_samples_follow_the_masses_and_repeat_with_a_generator():
    distribution = LIKELIHOOD(normal(1, 2, 2, 2))
    x = distribution.sample((20_000,), generator=torch.Generator().manual_seed(3))
    assert x.dtype == torch.uint8 and x.shape == (20_000, 1, 2, 2, 2) and set(x.unique().tolist()) == {0, 255}
    p = distribution.mean / 255
    deviations = ((x == 255).double().mean(0) - p) / (p * (1 - p) / 20_000).sqrt()
    assert deviations.abs().max() < 4.5, "eight frequencies, none 4.5 standard errors off"
    again = distribution.sample((20_000,), generator=torch.Generator().manual_seed(3))
    assert torch.equal(x, again)
    assert not torch.equal(x, distribution.sample((20_000,), generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (torch.full((2, 1, 4, 4), 128, dtype=torch.uint8), "BernoulliImages expects binary images .* binarise"),
        (torch.full((2, 1, 4, 4), 1, dtype=torch.uint8), "BernoulliImages expects binary images"),
        (torch.zeros(2, 1, 4, 4), "BernoulliImages expects integer images .* got torch.float32"),
        (
            binary_images(2, 1, 4, 5),
            r"BernoulliImages expects images for a batch \(2,\) of \(1, 4, 4\), got \(2, 1, 4, 5\)",
        ),
        (binary_images(2, 3, 4, 4), "BernoulliImages expects images for a batch"),
        (binary_images(4, 4), "BernoulliImages expects images for a batch"),
        (binary_images(3, 1, 4, 4), "BernoulliImages expects images for a batch"),
    ],
    ids=["grey", "ones", "floats", "width", "channels", "no channel", "batch"],
)
def test_what_is_not_a_binary_image_of_this_size_is_refused(x, complaint):
    for score in (LIKELIHOOD(torch.zeros(2, 1, 4, 4)).log_prob, LIKELIHOOD(torch.zeros(2, 1, 4, 4)).log_prob_per_pixel):
        with pytest.raises(ValueError, match=complaint):
            score(x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_logits_that_are_no_floats_are_refused(dtype):
    for make in (BernoulliImages, GreyBernoulliImages):
        with pytest.raises(ValueError, match=rf"expects logits as a float tensor .* got {dtype} \(2, 1, 4, 4\)"):
            make(torch.zeros(2, 1, 4, 4, dtype=dtype))


def test_logits_without_channels_are_refused():
    with pytest.raises(ValueError, match="Bernoulli expects float parameters"):
        LIKELIHOOD(torch.zeros(28, 28))
    with pytest.raises(ValueError, match="BernoulliImages expects logits as a float tensor of 3 or more dimensions"):
        BernoulliImages(torch.zeros(28, 28))


def test_each_channel_has_one_parameter_of_its_own():
    assert LIKELIHOOD.num_params(3) == 3
    assert LIKELIHOOD.channel_index(3).tolist() == [0, 1, 2]


def test_cross_entropy_on_grey_values_is_the_same_on_black_and_white_and_improper_on_grey():
    """Its 256 "probabilities" sum to far more than one: that is the lesson."""
    x, logits = binary_images(2, 1, 4, 4), normal(2, 1, 4, 4)
    torch.testing.assert_close(GreyBernoulli()(logits).log_prob(x), LIKELIHOOD(logits).log_prob(x))
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    assert GreyBernoulli()(torch.zeros(256, 1, 1, 1)).log_prob(levels).exp().sum() > 100
    assert GreyBernoulli.kind == "improper" and set(GreyBernoulli()(logits).sample().unique().tolist()) == {0, 255}
