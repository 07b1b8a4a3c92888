"""PixelCNN++: the published network to the last digits, drawn pixel by pixel with nothing computed twice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import elu

from pixellib import checkpoints
from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.models import PixelCNNpp
from pixellib.models.autoregressive.convert import AVERAGE, openai_pixelcnnpp
from pixellib.models.autoregressive.leak_test import assert_causal
from pixellib.models.autoregressive.sampling import cached_params
from pixellib.models.concat_elu import concat_elu


@pytest.fixture(scope="module")
def published():
    return dict(np.load(Path(__file__).parent / "fixtures" / "openai_pixelcnnpp.npz", allow_pickle=False))


@pytest.fixture
def arrays(published):
    return {str(name): published[str(name)] for name in published["var_order"]}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def build(channels=3, likelihood=None, **options):
    torch.manual_seed(0)
    options = {"num_filters": 6, "num_resnets": 1, **options}
    model = PixelCNNpp(channels, likelihood=likelihood or LogisticMixture(2), size=(8, 4), **options).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model.eval()


VARIANTS = [
    (3, LogisticMixture(2), {}),
    (1, Categorical(8), {}),
    (3, Categorical(8), {}),
    (3, Categorical(8), {"num_classes": 3}),
    (3, Categorical(8), {"embedding": 2}),
    (1, LogisticMixture(2), {"weight_norm": False, "num_resnets": 2}),
    (3, LogisticMixture(2), {"num_head_filters": 9}),
    (1, LogisticMixture(2), {"num_scales": 1}),
    (1, LogisticMixture(2), {"num_scales": 2}),
]
NO_SHORTCUTS = (1, LogisticMixture(2), {"shortcuts": False})


def test_the_published_network_is_reproduced(published, arrays):
    model = openai_pixelcnnpp(arrays)
    x = torch.from_numpy(published["x"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        params, log_p = model.params(x), model.log_prob(x)
        torch.testing.assert_close(params, torch.from_numpy(published["output"]).permute(0, 3, 1, 2), atol=2e-5, rtol=0)
        exact = torch.from_numpy(published["exact_loglik_per_image_f64"])
        torch.testing.assert_close(log_p.double(), exact, rtol=2e-6, atol=0)
        params, log_p = model.double().params(x), model.log_prob(x)
    expected = torch.from_numpy(published["output_f64"]).permute(0, 3, 1, 2)
    torch.testing.assert_close(params, expected, atol=2e-6, rtol=0)  # its input was scaled in float32
    torch.testing.assert_close(log_p, exact, rtol=2e-7, atol=0)


def by_definition(params, x, num_components):
    """The log-likelihood (B,) as the released code defines it, but for its approximation of small masses: float64."""
    logits, rest = params.split([num_components, params.shape[1] - num_components], 1)
    means, log_scales, coefficients = rest.unflatten(1, (3, 3, num_components)).unbind(2)  # (B, C, K, H, W)
    y, c = 2 * x.double().unsqueeze(2) / 255 - 1, coefficients.tanh()
    red, green, blue = means.unbind(1)
    green = green + c[:, 0] * y[:, 0]
    blue = blue + c[:, 1] * y[:, 0] + c[:, 2] * y[:, 1]
    centred, inverse = y - torch.stack([red, green, blue], 1), (-log_scales.clamp(min=-7)).exp()
    upper, lower = (inverse * (centred + shift / 255) for shift in (1, -1))
    below, above = torch.where(y > -1, lower.sigmoid(), 0), torch.where(y < 1, upper.sigmoid(), 1)
    return ((above - below).log().sum(1) + logits.log_softmax(1)).logsumexp(1).sum((1, 2))


@pytest.mark.parametrize("log_scale", [0.0, 8.0, 12.0])
def test_a_converted_network_has_no_ceiling_on_scales(arrays, log_scale):
    """The released code has none: components much broader than the range are what it would make of them."""
    last = max(int(name.split("_")[1].split("/")[0]) for name in arrays if "/dense_" in name)
    name = f"model/dense_{last}/b"
    K = len(arrays[name]) // 10
    bias = arrays[name].copy()
    for channel in range(3):
        bias[K + 3 * K * channel + K : K + 3 * K * channel + 2 * K] += log_scale
    model = openai_pixelcnnpp({**arrays, name: bias})
    x = torch.randint(256, (2, 3, 8, 8), generator=seeded(), dtype=torch.uint8)
    x[0, :, 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    with torch.no_grad():
        log_p, expected = model.log_prob(x), by_definition(model.double().params(x), x, K)
        torch.testing.assert_close(model.log_prob(x), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(log_p.double(), expected, rtol=3e-6, atol=0)


def test_exponential_averages_are_preferred(arrays):
    averaged = {name: value for name, value in arrays.items() if name != "model/conv2d_0/b"}
    averaged |= {
        "model/conv2d_0/b" + AVERAGE: arrays["model/conv2d_0/b"],
        "model/conv2d_1/b": arrays["model/conv2d_1/b"] + 1,
    }
    averaged["model/conv2d_1/b" + AVERAGE] = arrays["model/conv2d_1/b"]
    states = [openai_pixelcnnpp(given).state_dict() for given in (arrays, averaged)]
    assert all(torch.equal(mine, states[1][name]) for name, mine in states[0].items())


def test_a_broken_mapping_is_refused_by_name(arrays):
    def without(name):
        return {key: value for key, value in arrays.items() if key != name}

    for broken, complaint in (
        ({}, r"33 n \+ 24 layers.* got 0 variables"),
        ({"Variable_1": np.zeros(2)}, r"33 n \+ 24 layers.* got 0 variables"),  # the optimiser's are ignored
        ({"model/conv2d_0/V": np.zeros((2, 3, 4, 6))}, r"33 n \+ 24 layers.* got 1 variables of 1 layers"),
        (without("model/conv2d_0/V"), r"33 n \+ 24 layers"),
        (without("model/conv2d_7/V"), r"1 variables are missing \(model/conv2d_7/V\), 0 too many"),
        (without("model/conv2d_7/g"), r"1 variables are missing \(model/conv2d_7/g\), 0 too many"),
        (
            {**arrays, "model/extra/b": arrays["model/conv2d_0/b"]},
            r"0 variables are missing, 1 too many \(model/extra/b",
        ),
        ({**arrays, "model/conv2d_7/b": np.zeros(5)}, r"model/conv2d_7/b has shape \(5,\)"),
        ({**arrays, "model/dense_22/b": np.zeros(31)}, "31 parameters for 3 channels are no mixture"),
    ):
        with pytest.raises(ValueError, match=complaint):
            openai_pixelcnnpp(broken)


def test_at_full_size_it_has_as_many_parameters_as_published():
    with torch.device("meta"):
        assert sum(p.numel() for p in PixelCNNpp().parameters()) == pytest.approx(53.66e6, abs=5e3)


@pytest.mark.parametrize(("channels", "head", "options"), VARIANTS)
def test_only_the_past_is_seen_and_all_neighbours_of_it(channels, head, options):
    model = build(channels, head, **options)
    assert_causal(model, size=(8, 4), condition=torch.tensor([1]) if model.num_classes else None)


def test_without_shortcuts_what_the_smaller_sizes_pass_over_is_lost():
    channels, head, options = NO_SHORTCUTS
    with pytest.raises(AssertionError, match="never reaches parameters right"):
        assert_causal(build(channels, head, **options), size=(8, 4))


@pytest.mark.parametrize(("channels", "head", "options"), [*VARIANTS, NO_SHORTCUTS])
def test_cached_and_naive_sampling_draw_identical_images(channels, head, options):
    model = build(channels, head, **options)
    condition = torch.tensor([0, 2]) if model.num_classes else None
    levels = head.num_levels
    image = torch.randint(levels, (channels, 8, 4), generator=seeded(), dtype=torch.uint8)
    for num_known in (0, 3):  # an odd number of rows ends between those of the smaller sizes
        asked = {"condition": condition, "given": (image, num_known)}
        fast, slow = (model.sample(2, generator=seeded(), cached=cached, **asked) for cached in (True, False))
        assert torch.equal(fast, slow) and fast.double().std() > 0


def test_cached_parameters_agree_with_a_forward_pass_in_float32(arrays):
    model = openai_pixelcnnpp(arrays)
    x = torch.randint(256, (2, 3, 8, 12), generator=seeded(), dtype=torch.uint8)
    with torch.inference_mode():
        whole = model.params(x)
        for (row, column, _), params in cached_params(model, x, None, 1):
            torch.testing.assert_close(params[..., 0, 0], whole[:, :, row, column], atol=1e-4, rtol=0)


def test_features_begin_standardised_by_the_data(digits):
    torch.manual_seed(0)
    model = PixelCNNpp(1, 8, 1, LogisticMixture(2), size=(28, 28), dropout=0.0)
    seen = {}
    ends = {id(block.last) for block in model.body.blocks()}
    for layer in model.convolutions():
        layer.register_forward_hook(lambda layer, inputs, output: seen.__setitem__(layer, output))
    model.initialise(digits)
    with torch.no_grad():
        model.params(digits[:64])
    for layer, output in seen.items():
        spread = output.std((0, 2, 3), correction=0)
        assert (output.mean((0, 2, 3)).abs() < 1e-3).all()
        torch.testing.assert_close(
            spread, torch.full_like(spread, 0.1 if id(layer) in ends else 1.0), atol=2e-3, rtol=0
        )


def test_the_parts_of_the_initialisation_may_be_left_out(digits):
    torch.manual_seed(0)
    model = PixelCNNpp(1, 8, 1, LogisticMixture(2), size=(28, 28), dropout=0.0, data_init=False)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.initialise(digits)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())

    model = PixelCNNpp(1, 8, 1, LogisticMixture(2), size=(28, 28), dropout=0.0, output_std=0.1)
    model.initialise(digits)
    with torch.no_grad():
        spread = model.params(digits[:64]).std((0, 2, 3), correction=0)
    torch.testing.assert_close(spread, torch.full_like(spread, 0.1), atol=2e-3, rtol=0)


def test_one_scale_works_at_any_size():
    model = PixelCNNpp(1, 6, 1, Categorical(8), size=(5, 7), num_scales=1).eval()
    assert model.sample(1, generator=seeded()).shape == (1, 1, 5, 7)


def test_what_is_saved_is_what_is_loaded(tmp_path):
    model, fresh = build(), build(num_classes=None)
    with torch.no_grad():
        for weight in fresh.parameters():
            weight.zero_()
    checkpoints.save(tmp_path / "a.safetensors", model.state_dict(), {"name": "a"})
    tensors, _ = checkpoints.load(tmp_path / "a.safetensors")
    checkpoints.restore(fresh, tensors, "a")
    x = torch.randint(256, (2, 3, 8, 4), generator=seeded(), dtype=torch.uint8)
    assert torch.equal(model.log_prob(x), fresh.log_prob(x))


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_concatenated_elu_has_the_derivatives_of_its_formula(num_blocks):
    """It has a backward pass of its own, to keep half as much; finite differences judge both derivatives."""
    x = torch.randn(2, 6, 1, 3, dtype=torch.float64, generator=seeded(), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: concat_elu(x, num_blocks), x)
    assert torch.autograd.gradgradcheck(lambda x: concat_elu(x, num_blocks), x)
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, -1e4], dtype=torch.float64).view(1, 6, 1, 1)
    for values in (x.detach(), special):
        positive, negative = concat_elu(values, num_blocks).unflatten(1, (num_blocks, 2, -1)).unbind(2)
        for part, expected in ((positive, elu(values)), (negative, elu(-values))):
            torch.testing.assert_close(part.flatten(1, 2), expected, equal_nan=True)


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_concatenated_elu_works_under_the_function_transforms(num_blocks):
    """grad, vmap of it, its Jacobian, and a compilation in one graph. Forward mode is refused plainly."""

    def energy(x):
        return concat_elu(x[None], num_blocks).pow(3).sum()

    x = torch.randn(4, 6, 1, 2, dtype=torch.float64, generator=seeded(), requires_grad=True)
    (expected,) = torch.autograd.grad(sum(energy(one) for one in x), x)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(energy))(x.detach()), expected)
    hessian = torch.autograd.functional.hessian(energy, x[0])
    torch.testing.assert_close(torch.func.jacrev(torch.func.grad(energy))(x[0].detach()), hessian)
    with pytest.raises(RuntimeError, match="jvp"):
        torch.func.jvp(energy, (x[0].detach(),), (x[0].detach(),))
    compiled = torch.compile(energy, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(x[0]), x)[0][0], expected[0])


def test_concatenated_elu_keeps_nothing_but_its_result():
    """Which the next convolution keeps as well, so that it costs no memory."""
    x = torch.randn(2, 6, 2, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        result = concat_elu(x)
    assert [t.data_ptr() for t in kept] == [result.data_ptr()]


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_concatenated_elu_under_autocasting_errs_by_the_rounding_of_bfloat16(num_blocks):
    """Half a unit in the last place where x is rounded, once more where the result is; the slope likewise."""
    x = torch.randn(4, 6, 5, 5, generator=seeded(), requires_grad=True)
    above = torch.randn(4, 12, 5, 5, generator=seeded())
    exact = concat_elu(x, num_blocks)
    (slope,) = torch.autograd.grad(exact, x, above)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = concat_elu(x, num_blocks)
        assert rounded.dtype == torch.bfloat16
    (rounded_slope,) = torch.autograd.grad(rounded, x, above.bfloat16())
    assert rounded_slope.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-7, atol=2**-9)
    torch.testing.assert_close(rounded_slope, slope, rtol=2**-6, atol=2**-6)


def test_the_network_has_second_derivatives_and_gradients_of_single_images():
    model = build(1, LogisticMixture(2), num_filters=3)
    y = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=seeded(), requires_grad=True)
    (slope,) = torch.autograd.grad(model.network(y).square().sum(), y, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), model.first_u.bias)[0].abs().sum() > 0

    def energy(weights, y):
        return torch.func.functional_call(model, weights, (y[None],)).square().sum()

    network = {name: weight.detach() for name, weight in model.named_parameters()}
    model.forward = model.network
    of_each = torch.func.vmap(torch.func.grad(energy), (None, 0))(network, y.detach())
    expected = torch.autograd.grad(model.network(y).square().sum(), model.first_u.bias)[0]
    torch.testing.assert_close(of_each["first_u.bias"].sum(0), expected)


def test_each_block_gets_its_own_part_of_a_condition():
    """In the order of `blocks`: a part that is not zero moves what this block returns, and no earlier block."""
    model = build(1, LogisticMixture(2), num_classes=2, num_filters=3)
    blocks = list(model.body.blocks())
    assert model.conditioning.split == (6,) * len(blocks)
    y, outputs = torch.randn(1, 1, 8, 4, dtype=torch.float64, generator=seeded()), {}
    for block in blocks:
        block.register_forward_hook(
            lambda block, inputs, output: outputs.__setitem__(block, (inputs[0].features, output.features))
        )
    model.network(y, torch.tensor([0]))
    before = dict(outputs)
    for i, block in enumerate(blocks):
        with torch.no_grad():
            model.conditioning.layer.weight[1] = model.conditioning.layer.weight[0]
            model.conditioning.layer.weight[1, 6 * i : 6 * i + 6] += 1
        model.network(y, torch.tensor([1]))
        assert torch.equal(outputs[block][0], before[block][0]) and not torch.equal(outputs[block][1], before[block][1])


def test_networks_and_sizes_that_do_not_work_are_refused():
    for options, complaint in (
        ({"size": (28, 30)}, "heights and widths divisible by 4, got"),
        ({"num_filters": 0}, "num_filters must be at least 1, got 0"),
        ({"num_resnets": 0}, "num_resnets must be at least 1, got 0"),
        ({"num_scales": 0}, "num_scales must be at least 1, got 0"),
        ({"output_std": 0.0}, "output_std must be positive, got 0.0"),
        ({"num_scales": 4, "size": (28, 32)}, "heights and widths divisible by 8, got"),
        ({"num_head_filters": 0}, "num_head_filters must be at least 1, got 0"),
        ({"dropout": float("nan")}, r"dropout must be in \[0, 1\), got nan"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"num_filters": 8, "likelihood": Categorical()}, "8 features do not divide into 3 ordered channels"),
    ):
        with pytest.raises(ValueError, match=complaint):
            PixelCNNpp(**options)
    model = build()
    with pytest.raises(ValueError, match="divisible by 4"):
        model.log_prob(torch.zeros(1, 3, 8, 6, dtype=torch.uint8))
    with pytest.raises(ValueError, match="divisible by 4"):
        model.sample(1, size=(6, 8))


def test_a_trunk_in_bfloat16_hardly_moves_parameters_and_draws():
    """What comes near the levels stays in float32: first layers, residual sums and the last layer."""
    model = PixelCNNpp(3, 12, 1, LogisticMixture(2), size=(8, 8)).eval()
    x = torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model.initialise(x)
    with torch.inference_mode():
        exact = model.params(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.params(x)
            assert rounded.dtype == torch.float32 and not torch.equal(rounded, rounded.bfloat16().float())
        assert 1e-5 < (rounded - exact).abs().mean() < 1e-2  # of features whose standard deviation is 1
    assert model.sample(2, precision="bf16").shape == (2, 3, 8, 8)
