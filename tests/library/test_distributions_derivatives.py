"""Derivatives of log-probabilities are right, also under PyTorch's transforms, or refused in plain words."""

import pytest
import torch

from pixellib.likelihoods import (
    Bernoulli,
    BernoulliImages,
    Categorical,
    CategoricalImages,
    DiscretizedLogistic,
    DiscretizedLogisticImages,
    DiscretizedLogisticMixture,
    Gaussian,
    GaussianImages,
    GreyBernoulli,
    LogisticMixture,
)

HEADS = [
    Bernoulli(),
    GreyBernoulli(),
    Categorical(4),
    Gaussian(),
    DiscretizedLogistic(),
    DiscretizedLogistic("bounded", "truncated"),
    LogisticMixture(2),
    LogisticMixture(2, "truncated", coupled=False),
]
FUSED = [Bernoulli(), DiscretizedLogistic(), LogisticMixture(2), LogisticMixture(2, "truncated")]
REFUSAL = (
    r"^log_prob computes its gradient along with its value, and has no {}; use log_prob_per_pixel\(x, fused=False\)"
)

of_each_head = pytest.mark.parametrize("head", HEADS, ids=str)
of_each_fused_head = pytest.mark.parametrize("head", FUSED, ids=str)


def drawn(head, *batch, channels=3):
    """Parameters (..., P, 2, 2) and images drawn from them, uint8 (..., C, 2, 2)."""
    generator = torch.Generator().manual_seed(0)
    params = torch.randn(*batch, head.num_params(channels), 2, 2, generator=generator, dtype=torch.float64)
    return params, head(params).sample(generator=generator)


def gradient(function, params):
    params = params.clone().requires_grad_()
    return torch.autograd.grad(function(params).sum(), params)[0]


@of_each_head
@pytest.mark.parametrize("fused", [True, False])
def test_gradients_pass_a_numerical_check(head, fused):
    params, x = drawn(head, 2)
    assert torch.autograd.gradcheck(lambda p: head(p).log_prob_per_pixel(x, fused), (params.requires_grad_(),))


@of_each_head
def test_second_derivatives_of_the_unfused_path_pass_a_numerical_check(head):
    params, x = drawn(head, 1, channels=1)
    score = (lambda p: head(p).log_prob_per_pixel(x, fused=False),)
    assert torch.autograd.gradgradcheck(*score, (params.requires_grad_(),))
    hessian = torch.func.hessian(lambda p: score[0](p).sum())(params.detach())
    assert hessian.shape == params.shape * 2 and torch.isfinite(hessian).all()


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("tails", ["censored", "truncated"])
def test_every_parameter_of_an_explicit_distribution_has_its_gradient(tails, fused):
    """Also where they broadcast: a log-scale that all components share gets the sum."""
    generator = torch.Generator().manual_seed(0)
    logits, means, log_scales, coefficients = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 1, 1), (2, 3, 2, 2, 1), (3, 1, 1, 1), (3, 2, 2, 1))
    )
    x = torch.tensor([0, 255, 100, 200], dtype=torch.uint8).view(2, 1, 2, 1).expand(2, 3, 2, 1)

    def score(*parameters):
        return DiscretizedLogisticMixture(*parameters, tails=tails).log_prob_per_pixel(x, fused)

    assert torch.autograd.gradcheck(score, (logits, means, log_scales, coefficients))
    assert torch.autograd.gradcheck(lambda m: score(logits.detach(), m, log_scales.detach()), (means,))

    def score_one(means, log_scales):
        return DiscretizedLogisticImages(means, log_scales, tails=tails).log_prob_per_pixel(x, fused)

    assert torch.autograd.gradcheck(score_one, (means[:, :, 0], log_scales[:, 0]))


def test_other_explicit_distributions_have_their_gradients():
    generator = torch.Generator().manual_seed(0)
    first, second, logits = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3, 2, 1), (3, 2, 1), (3, 4, 2, 1))
    )
    x = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1).expand(3, 2, 1)
    assert torch.autograd.gradcheck(lambda a: BernoulliImages(a).log_prob(x), (first,))
    assert torch.autograd.gradcheck(lambda a, b: GaussianImages(a, b).log_prob(x), (first, second))
    assert torch.autograd.gradcheck(lambda a: CategoricalImages(a).log_prob(x // 85), (logits,))


@of_each_head
def test_the_gradient_transform_gives_the_gradient(head):
    params, x = drawn(head, 2)
    score = lambda p: head(p).log_prob(x)  # noqa: E731
    torch.testing.assert_close(torch.func.grad(lambda p: score(p).sum())(params), gradient(score, params))
    jacobian = torch.func.jacrev(score)(params)
    torch.testing.assert_close(jacobian.sum(0), gradient(score, params))


@of_each_head
def test_vmap_maps_over_parameters_images_and_gradients(head):
    """Per-example gradients: `vmap` of `grad`. A mapped dimension may stand anywhere, and either may be shared."""
    params, x = drawn(head, 4, 2)

    def score(p, y):
        return head(p).log_prob(y)

    expected = head(params).log_prob(x)
    torch.testing.assert_close(torch.vmap(score)(params, x), expected)
    torch.testing.assert_close(torch.vmap(score, (1, 1), 1)(params, x), expected)
    torch.testing.assert_close(torch.vmap(score, (0, None))(params, x[0]), head(params).log_prob(x[0]))
    torch.testing.assert_close(torch.vmap(score, (None, 0))(params[0], x), head(params[0]).log_prob(x))
    examples = torch.vmap(torch.func.grad(lambda p, y: score(p, y).sum()))(params, x)
    torch.testing.assert_close(examples, gradient(lambda p: head(p).log_prob(x), params))


def test_under_vmap_values_are_not_looked_at():
    """It does not allow that: nonsense is not refused there, which the documentation says."""
    likelihood = LogisticMixture(2)
    params, x = drawn(likelihood, 2, channels=1)
    assert torch.vmap(lambda p: likelihood(p).log_prob(x))(params[:, None] * torch.nan).isnan().all()
    assert torch.vmap(lambda y: likelihood(params).log_prob(y))(x[None].long() + 256).shape == (1, 2)
    assert torch.vmap(lambda y: BernoulliImages(params[:, :1]).log_prob(y))(x[None]).shape == (1, 2)


@of_each_fused_head
def test_a_second_derivative_is_refused_instead_of_wrong(head):
    """Also where it would silently be zero, because the loss is linear in log p, or only one part of a larger loss."""
    params, x = drawn(head, 2)
    params.requires_grad_()
    for loss in (head(params).log_prob(x).sum(), head(params).log_prob(x).square().sum() + params.square().sum()):
        (slope,) = torch.autograd.grad(loss, params, create_graph=True)
        torch.testing.assert_close(slope.detach(), torch.autograd.grad(loss, params, retain_graph=True)[0])
        with pytest.raises(RuntimeError, match=REFUSAL.format("second derivative")):
            slope.sum().backward()
    nested = torch.func.grad(lambda p: torch.func.grad(lambda q: head(q).log_prob(x).sum())(p).sum())
    with pytest.raises(RuntimeError, match=REFUSAL.format("second derivative")):
        nested(params.detach())


@of_each_fused_head
def test_forward_mode_is_refused_and_the_unfused_path_has_it(head):
    params, x = drawn(head, 2)
    tangent = torch.ones_like(params)
    with pytest.raises(RuntimeError, match=REFUSAL.format("forward-mode derivative")):
        torch.func.jvp(lambda p: head(p).log_prob(x), (params,), (tangent,))
    value, slope = torch.func.jvp(lambda p: head(p).log_prob_per_pixel(x, fused=False).sum(), (params,), (tangent,))
    torch.testing.assert_close(value, head(params).log_prob(x).sum())
    torch.testing.assert_close(slope, gradient(lambda p: head(p).log_prob(x), params).sum())


def test_a_graph_can_be_used_twice():
    likelihood = LogisticMixture(2)
    params, x = drawn(likelihood, 2)
    log_p = likelihood(params.requires_grad_()).log_prob(x)
    first, second = (torch.autograd.grad(log_p.sum(), params, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_bin_end_exactly_at_the_mean_has_its_derivatives():
    """As for a network whose output begins at zero: 127 + 1/2 is the middle of the range."""
    x = torch.full((1, 1, 1, 1), 127, dtype=torch.uint8)
    params = torch.tensor([0.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1).requires_grad_()
    for score in (
        lambda p: DiscretizedLogistic()(p).log_prob_per_pixel(x, fused=False),
        lambda p: DiscretizedLogistic()(p).conditional_log_pmf(x)[:, 120:130],
    ):
        assert torch.autograd.gradcheck(score, (params,))
        assert torch.autograd.gradgradcheck(score, (params,))
