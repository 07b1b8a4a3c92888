"""Autoregressive models: exact, causal, and the same whether they see a whole image or draw it pixel by pixel."""

import pytest
import torch

from pixellib import Settings, evaluate, fit
from pixellib.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, LogisticMixture
from pixellib.models import VAE, GatedPixelCNN, PixelCNN, PixelCNNpp
from pixellib.models.autoregressive import sampling
from pixellib.models.autoregressive.leak_test import assert_causal
from pixellib.models.autoregressive.sampling import cached_params

FAMILIES = [PixelCNN, GatedPixelCNN]
HEADS = [Categorical(8), Bernoulli(), DiscretizedLogistic(), LogisticMixture(2)]


def build(family, channels=1, likelihood=None, **options):
    """A small model in float64 whose every weight is random, so that nothing is hidden by a zero."""
    torch.manual_seed(0)
    options = {"num_layers": 2, "num_filters": 24, "kernel_size": 3, **options}
    model = family(channels, (5, 4), likelihood=likelihood or Categorical(8), **options).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight) / max(1, weight[0].numel()) ** 0.5)
    return model.eval()


def conditions(model, num_images):
    """A condition of the kind the model takes, or None."""
    if model.num_classes:
        return torch.arange(num_images) % model.num_classes
    if model.condition_channels:
        return torch.randn(num_images, model.condition_channels, 5, 4, generator=seeded(), dtype=torch.float64)
    return None


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


VARIANTS = [
    *((family, channels, head, {}) for family in FAMILIES for channels in (1, 3) for head in HEADS),
    *((family, 3, Categorical(8), {"num_classes": 3}) for family in FAMILIES),
    *((family, 1, Categorical(8), {"condition_channels": 2}) for family in FAMILIES),
    (GatedPixelCNN, 3, Categorical(8), {"dilations": (1, 2)}),
    (PixelCNN, 3, Categorical(8), {"kernel_size": 5}),
    *((GatedPixelCNN, channels, Categorical(8), {"embedding": 2}) for channels in (1, 3)),
]


@pytest.mark.parametrize(("family", "channels", "head", "options"), VARIANTS)
def test_only_the_past_is_seen_and_all_neighbours_of_it(family, channels, head, options):
    model = build(family, channels, head, **options)
    assert_causal(model, size=(5, 4), condition=conditions(model, 1))


@pytest.mark.parametrize(("family", "channels", "head", "options"), VARIANTS)
def test_cached_and_naive_sampling_draw_identical_images(family, channels, head, options):
    model = build(family, channels, head, **options)
    asked = {"condition": conditions(model, 3)}
    for more in ({}, {"temperature": 0.5}, {"given": (torch.full((channels, 5, 4), 3, dtype=torch.uint8), 2)}):
        fast, slow = (model.sample(3, generator=seeded(), cached=cached, **asked, **more) for cached in (True, False))
        assert torch.equal(fast, slow)
        assert fast.dtype == torch.uint8
        assert fast.shape == (3, channels, 5, 4)
        assert fast.double().std() > 0  # something was drawn


def test_the_probabilities_of_all_images_sum_to_one():
    for family in FAMILIES:
        model = build(family, likelihood=Categorical(3))
        images = torch.cartesian_prod(*[torch.arange(3, dtype=torch.uint8)] * 4).view(-1, 1, 2, 2)
        assert model.kind == "exact"
        torch.testing.assert_close(model.log_prob(images).exp().sum().item(), 1.0, atol=1e-9, rtol=0)


def test_an_embedding_knows_nothing_of_the_order_of_the_levels():
    model = build(GatedPixelCNN, embedding=3)
    x = torch.randint(8, (2, 1, 5, 4), generator=seeded(), dtype=torch.uint8)
    before, renamed = model.params(x), torch.randperm(8, generator=seeded(1))
    with torch.no_grad():
        model.embedding.weight[renamed] = model.embedding.weight.clone()
    torch.testing.assert_close(model.params(renamed[x.long()].to(torch.uint8)), before)
    assert model.embedding.weight.shape == (8, 3)


class Leaking(GatedPixelCNN):
    """The classic bug: a first layer that sees the pixel it must predict."""

    def horizontal(self, left, pixel, vertical, condition, step=None):
        return super().horizontal(left + pixel, pixel, vertical, condition, step)


class Blind(GatedPixelCNN):
    """A horizontal stack without input."""

    def horizontal(self, left, pixel, vertical, condition, step=None):
        return super().horizontal(0 * left, pixel, vertical, condition, step)


def test_a_leak_and_a_blindness_are_found_and_named():
    with pytest.raises(
        AssertionError, match="a change of channel 0 at row 0, column 0 reaches parameters at row 0, col"
    ):
        assert_causal(build(Leaking))
    for kernel in (3, 5):
        with pytest.raises(AssertionError, match="a change of channel 0 never reaches parameters right"):
            assert_causal(build(Blind, kernel_size=kernel))
    one_sided = build(GatedPixelCNN)
    with torch.no_grad():
        for layer in (one_sided.first.above, *(layer.v for layer in one_sided.layers)):
            layer.weight[..., 2:] = 0
    with pytest.raises(AssertionError, match="never reaches parameters below to the left"):
        assert_causal(one_sided)
    unordered = build(GatedPixelCNN, 3)
    with torch.no_grad():
        unordered.first.pixel.mask.fill_(1)
    with pytest.raises(
        AssertionError, match="of channel 0 at row 0, column 0 reaches parameters of channel 0 at row 0"
    ):
        assert_causal(unordered)
    with torch.no_grad():
        unordered.first.pixel.mask.fill_(0)
    with pytest.raises(AssertionError, match="channel 0 never reaches parameters of channel 1 at the same place"):
        assert_causal(unordered)


def test_a_size_that_the_model_allows_is_found_and_other_models_are_refused():
    torch.manual_seed(0)
    assert_causal(PixelCNNpp(1, num_filters=8, num_resnets=1, likelihood=LogisticMixture(2), size=(8, 8)))
    with pytest.raises(TypeError, match="got VAE"):
        assert_causal(VAE())


def field(model, size=9):
    """Which earlier pixels of an image of that size influence the parameters of the pixel in its middle: (H, W)."""
    y = torch.randn(1, 1, size, size, generator=seeded(), dtype=torch.float64, requires_grad=True)
    model.network(y)[0, :, size // 2, size // 2].sum().backward()
    return y.grad[0, 0] != 0


def test_gated_layers_see_every_earlier_pixel_of_the_receptive_field_and_plain_ones_have_a_blind_spot():
    past = (torch.arange(81) < 40).view(9, 9)
    assert torch.equal(field(build(GatedPixelCNN, num_layers=3)), past)
    seen = field(build(PixelCNN, num_layers=4))
    assert not (seen & ~past).any()
    assert not seen[3, 6:].any()  # to the upper right
    assert seen[3, :6].all()


def test_cached_parameters_agree_with_a_forward_pass_in_float32():
    for family in FAMILIES:
        model = build(family, 3).float()
        x = torch.randint(8, (2, 3, 5, 4), generator=seeded(), dtype=torch.uint8)
        with torch.inference_mode():
            whole = model.params(x)
            for (row, column, channel), params in cached_params(model, x, None, 0):
                expected = whole[:, 8 * channel : 8 * channel + 8, row, column]
                torch.testing.assert_close(params[..., 0, 0], expected, atol=1e-4, rtol=0)


def test_in_bfloat16_cached_parameters_are_those_of_a_forward_pass_in_bfloat16():
    model = build(GatedPixelCNN, 3).float()
    x = torch.randint(8, (2, 3, 5, 4), generator=seeded(), dtype=torch.uint8)
    exact = model.params(x)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        whole = model.params(x)
        assert (whole - exact).abs().max() > 1e-4  # it was computed in bfloat16,
        assert not torch.equal(whole, whole.bfloat16().float())  # but not rounded to it in the end
        for (row, column, channel), params in cached_params(model, x, None, 0):
            expected = whole[:, 8 * channel : 8 * channel + 8, row, column]
            torch.testing.assert_close(params[..., 0, 0], expected, atol=0.03, rtol=0.03)
    assert model.sample(2, precision="bf16").shape == (2, 3, 5, 4)


def test_images_of_another_size_and_completions_keep_what_was_given():
    model = build(GatedPixelCNN, 3)
    assert model.sample(2, size=(3, 7), generator=seeded()).shape == (2, 3, 3, 7)
    given = torch.randint(8, (2, 3, 5, 4), generator=seeded(), dtype=torch.uint8)
    completed = model.sample(2, given=(given, 3), generator=seeded())
    assert torch.equal(completed[:, :, :3], given[:, :, :3])
    assert torch.equal(model.sample(2, given=(given, 5)), given)
    white = torch.full((3, 5, 4), 255, dtype=torch.uint8)
    for head in (LogisticMixture(2), Categorical(256)):
        assert torch.equal(build(PixelCNN, 3, head).sample(1, given=(white, 5))[0], white)


@pytest.mark.parametrize("head", [Categorical(8), LogisticMixture(2)])  # channels one after another, and together
@pytest.mark.parametrize("cached", [True, False])
def test_pixels_under_a_mask_are_kept_and_act_on_what_is_drawn_after_them(head, cached):
    model = build(GatedPixelCNN, 3, head)
    given = torch.randint(8, (2, 3, 5, 4), generator=seeded(), dtype=torch.uint8)
    mask = torch.rand(2, 5, 4, generator=seeded(1)) < 0.5
    mask[:, 0] = True  # a whole row, which need not be drawn
    drawn = model.sample(2, given=(given, mask), generator=seeded(), cached=cached)
    assert torch.equal(drawn.movedim(1, -1)[mask], given.movedim(1, -1)[mask])
    assert not torch.equal(drawn, given)
    every = torch.ones(5, 4, dtype=torch.bool)
    assert torch.equal(model.sample(2, given=(given, every), cached=cached), given)

    def keep_or_draw(pixels, row, column, channels):  # the same by hand
        x = pixels.sample(generator=generator)
        kept = given[:, channels, row : row + 1, column : column + 1]
        return torch.where(mask[:, row, column].view(2, 1, 1, 1), kept, x)

    generator, by_hand = seeded(), given.clone()
    sampling.fill(model, by_hand, keep_or_draw, num_known=1, cached=cached)
    assert torch.equal(drawn, by_hand)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_samples": 2.0}, r"num_samples must be an integer, got 2\.0"),
        ({"num_samples": 10**30}, "num_samples is too large: 10{30} images of 1 x 5 x 4 bytes are more than 16 GiB"),
        ({"size": (10**6, 10**6)}, "2 images of 1 x 1000000 x 1000000 bytes are more than 16 GiB"),
        ({"size": (0, 4)}, "the height in size must be at least 1, got 0"),
        ({"size": (5,)}, r"size must be \(height, width\), got \(5,\)"),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0"),
        ({"temperature": float("inf")}, "temperature must be positive and finite, got inf"),
        ({"temperature": float("nan")}, "temperature must be positive and finite, got nan"),
        ({"given": (torch.zeros(1, 5, 5, dtype=torch.uint8), 1)}, r"expected a given image of integers \(1, 5, 4\)"),
        ({"given": (torch.zeros(1, 5, 4), 1)}, "got torch.float32"),
        ({"given": (torch.full((1, 5, 4), 8, dtype=torch.uint8), 1)}, r"levels 0\.\.7, got 0\.\.8|got 8\.\.8"),
        (
            {"given": torch.zeros(1, 5, 4, dtype=torch.uint8)},
            r"given must be \(image, mask\) or .* got Tensor",
        ),
        (
            {"given": (torch.zeros(1, 5, 4, dtype=torch.uint8), torch.ones(5, 4))},
            r"a mask bool \(5, 4\).*float32",
        ),
        ({"given": (torch.zeros(1, 5, 4, dtype=torch.uint8), torch.ones(5, 5) > 0)}, r"got torch.bool \(5, 5\)"),
        ({"given": (torch.zeros(1, 5, 4, dtype=torch.uint8), 6)}, r"num_known_rows must be in 0\.\.5, got 6"),
        ({"given": (torch.zeros(1, 5, 4, dtype=torch.uint8), -1)}, "num_known_rows must be at least 0, got -1"),
        ({"condition": torch.zeros(2)}, "GatedPixelCNN takes no condition"),
    ],
)
def test_what_cannot_be_sampled_is_refused(asked, complaint):
    with pytest.raises(ValueError, match=complaint):
        build(GatedPixelCNN).sample(**{"num_samples": 2, **asked})


def test_levels_below_zero_are_not_kept():
    given = torch.full((1, 5, 4), -5)
    with pytest.raises(ValueError, match=r"levels 0\.\.511, got -5\.\.-5"):
        build(PixelCNN, 1, Categorical(512)).sample(1, given=(given, 5))


def test_weights_in_half_precision_are_refused_by_name():
    x = torch.zeros(1, 1, 5, 4, dtype=torch.uint8)
    for dtype in (torch.bfloat16, torch.float16):
        with pytest.raises(TypeError, match="weights must be float32 or float64, got torch"):
            build(GatedPixelCNN).to(dtype).log_prob(x)


def test_conditions_that_do_not_fit_are_refused():
    x = torch.zeros(2, 1, 5, 4, dtype=torch.uint8)
    by_class, by_map = build(PixelCNN, num_classes=3), build(PixelCNN, condition_channels=2)
    for model, condition, complaint in (
        (by_class, None, "PixelCNN needs a condition"),
        (by_class, torch.tensor([0, 3]), r"classes are 0\.\.2, got 0\.\.3"),
        (by_class, torch.tensor([0]), "expected one class .* for each of 2 images"),
        (by_map, torch.zeros(2, 3, 5, 4), r"expected a map \(2, 2, 5, 4\), got \(2, 3, 5, 4\)"),
        (by_map, torch.zeros(2, 2, 6, 4), r"got \(2, 2, 6, 4\)"),
        (by_class, torch.tensor([True, False]), "expected one class"),
    ):
        with pytest.raises(ValueError, match=complaint):
            model.log_prob(x, condition)
    with pytest.raises(ValueError, match="on a class or on a map"):
        build(PixelCNN, num_classes=3, condition_channels=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_that_cannot_be_built_are_refused(family):
    for kernel in (4, 1):
        with pytest.raises(ValueError, match=f"kernel_size must be odd and at least 3, got {kernel}"):
            family(kernel_size=kernel)
    with pytest.raises(ValueError, match="num_layers must be at least 1, got 0"):
        family(num_layers=0)
    with pytest.raises(ValueError, match="32 features do not divide into 3 ordered channels"):
        family(channels=3, num_filters=32)
    with pytest.raises(ValueError, match=r"expected images \(B, 1, H, W\), got \(2, 3, 5, 4\)"):
        build(family).log_prob(torch.zeros(2, 3, 5, 4, dtype=torch.uint8))


@pytest.mark.parametrize("likelihood", [Categorical(1000), LogisticMixture(3, "truncated", num_levels=1000)])
def test_more_than_256_levels_are_trained_evaluated_and_drawn(likelihood):
    """Such as words: images of a single row, of integers that do not fit into a byte."""
    model = GatedPixelCNN(
        1, (1, 12), num_layers=1, num_filters=4, kernel_size=3, embedding=4, likelihood=likelihood
    )  # fmt: skip
    x = torch.arange(960).view(80, 1, 1, 12)
    before = evaluate(model, x).bits_per_dim
    training = fit(model, x, Settings(steps=30, batch_size=20, learning_rate=0.05, ema_decay=None), progress=False)
    assert evaluate(training.model, x).bits_per_dim < before
    drawn = training.model.sample(3, given=(x[0], 0))
    assert drawn.dtype == torch.int64 and drawn.shape == (3, 1, 1, 12) and drawn.max() > 255
    assert_causal(model)
    few = training.model.sample(3, given=(torch.zeros(1, 1, 12, dtype=torch.uint8), torch.arange(12)[None] < 6))
    assert not few[..., :6].any(), "a given image may be of another integer type"


def test_an_interrupted_sampling_leaves_the_model_as_it_was():
    model = build(GatedPixelCNN).train()

    class Interrupting(Categorical):
        calls = []  # noqa: RUF012

        def __call__(self, params):
            self.calls.append(params)
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(params)

    likelihood, model.likelihood = model.likelihood, Interrupting(8)
    with pytest.raises(KeyboardInterrupt):
        model.sample(2)
    model.likelihood = likelihood
    assert model.training
    assert torch.equal(model.sample(2, generator=seeded()), build(GatedPixelCNN).sample(2, generator=seeded()))


def test_a_condition_changes_what_is_predicted():
    x = torch.randint(8, (2, 1, 5, 4), generator=seeded(), dtype=torch.uint8)
    for family in FAMILIES:
        by_class, by_map = build(family, num_classes=3), build(family, condition_channels=2)
        first, second = (by_class.log_prob(x, torch.full((2,), c)) for c in (0, 1))
        assert (first != second).all()
        maps = conditions(by_map, 2)
        changed = maps.clone()
        changed[:, :, 3, 2] += 1
        moved = (by_map.params(x, maps) != by_map.params(x, changed)).any(1)
        assert moved[:, 3, 2].all() and not moved[:, :3].any()  # here, and not above


@pytest.mark.parametrize("head", [Categorical(8), Bernoulli(), LogisticMixture(2)])
def test_temperature_sharpens_or_flattens_the_distribution_that_is_drawn_from(head):
    model = build(PixelCNN, likelihood=head)
    values = torch.tensor(getattr(head(torch.zeros(1, head.num_params(1), 1, 1)), "values", range(256)))
    x = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    log_p = head(model.params(x)).conditional_log_pmf(x).flatten()
    for temperature in (0.5, 3.0):
        drawn = model.sample(4000, size=(1, 1), temperature=temperature, generator=seeded()).flatten()
        expected = (log_p / temperature).softmax(0)
        mean = (expected * values[: len(expected)]).sum()
        spread = (expected * (values[: len(expected)] - mean) ** 2).sum().sqrt()
        assert abs(drawn.double().mean() - mean) < 5 * spread / 4000**0.5
        assert model.log_prob(drawn.view(-1, 1, 1, 1)).isfinite().all()


def full_kernel(layer):
    """The kernel of a causal convolution within a square one: what masking would leave of it."""
    rows, columns = layer.weight.shape[2:]
    half_width = max(layer.above, layer.left, layer.right) // layer.dilation
    size = 2 * half_width + 1
    kernel = layer.weight.new_zeros(*layer.weight.shape[:2], size, size)
    bottom = half_width + layer.current
    left = half_width - layer.left // layer.dilation
    kernel[:, :, bottom - rows : bottom, left : left + columns] = layer.weight
    return kernel, half_width * layer.dilation


def masked(layer, x):
    kernel, padding = full_kernel(layer)
    return torch.nn.functional.conv2d(x, kernel, layer.bias, padding=padding, dilation=layer.dilation)


def test_gated_pixelcnn_is_the_network_of_the_paper_with_masked_square_kernels():
    model = build(GatedPixelCNN, num_layers=3, dilations=(1, 2, 1))
    y = torch.randn(2, 1, 9, 8, generator=seeded(), dtype=torch.float64)
    v = masked(model.first.above, torch.nn.functional.pad(y, (0, 0, 1, -1)))
    h = masked(model.first.left, torch.nn.functional.pad(y, (1, -1, 0, 0))) + v
    for layer in model.layers:
        v = masked(layer.v, v)
        f, g = (masked(layer.h, h) + masked(layer.link, v)).chunk(2, 1)
        h = h + masked(layer.mix, torch.tanh(f) * torch.sigmoid(g))
        f, g = v.chunk(2, 1)
        v = torch.tanh(f) * torch.sigmoid(g)
    expected = masked(model.last.last, torch.relu(masked(model.last.hidden, torch.relu(h))))
    torch.testing.assert_close(model.network(y), expected)


def test_pixelcnn_is_a_stack_of_masked_square_kernels():
    model = build(PixelCNN, num_layers=3, kernel_size=5)
    y = torch.randn(2, 1, 9, 8, generator=seeded(), dtype=torch.float64)
    h = masked(model.first.above, torch.nn.functional.pad(y, (0, 0, 1, -1)))
    h = h + masked(model.first.left, torch.nn.functional.pad(y, (1, -1, 0, 0)))
    for above, left in zip(model.above, model.left, strict=True):
        h = torch.relu(h)
        h = masked(above, h) + masked(left, h)
    expected = masked(model.last.last, torch.relu(masked(model.last.hidden, torch.relu(h))))
    torch.testing.assert_close(model.network(y), expected)


def test_sampling_restores_the_mode_of_every_layer_and_gives_an_ordinary_tensor():
    model = build(GatedPixelCNN).train()
    model.layers[0].eval()
    drawn = model.sample(1)
    drawn[:, :, 0] = 7  # would be refused of an inference tensor
    assert model.training and model.layers[1].training and not model.layers[0].training


@pytest.mark.parametrize("options", [{"num_classes": 3}, {"embedding": 2}])
def test_gradients_for_each_example_come_from_vmap(options):
    """Levels and classes cannot be looked at there, so they are not checked."""
    model = build(GatedPixelCNN, likelihood=Categorical(8), **options)
    x, condition = torch.randint(8, (3, 1, 5, 4), generator=seeded(), dtype=torch.uint8), conditions(model, 3)
    weights = dict(model.named_parameters())

    def score(weights, image, label=None):
        label = None if label is None else label[None]
        return torch.func.functional_call(model, weights, (image[None], label)).log_prob(image[None]).sum()

    arguments = (x,) if condition is None else (x, condition)
    gradients = torch.vmap(torch.func.grad(score), (None, *[0] * len(arguments)))(weights, *arguments)
    total = torch.autograd.grad(model.log_prob(x, condition).sum(), list(weights.values()))
    for found, expected in zip(gradients.values(), total, strict=True):
        torch.testing.assert_close(found.sum(0), expected)
