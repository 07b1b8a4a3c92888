"""What holds for every model: what it must define, what it refuses, and that all of it moves to a device."""

import pytest
import torch
from torch import nn

from pixellib.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, Gaussian, GreyBernoulli, LogisticMixture
from pixellib.models import (
    IWAE,
    VAE,
    VQVAE,
    AutoregressiveModel,
    GatedPixelCNN,
    ImageModel,
    LadderVAE,
    LatentModel,
    PixelCNN,
    PixelCNNpp,
    PixelVAE,
    TwoStreamModel,
    assert_causal,
)

AUTOREGRESSIVE = {
    PixelCNN: {"num_layers": 2, "num_filters": 6, "kernel_size": 3},
    GatedPixelCNN: {"num_layers": 2, "num_filters": 6, "kernel_size": 3},
    PixelCNNpp: {"num_filters": 6, "num_resnets": 1},
}
LATENT = {
    IWAE: {"num_latents": (2,), "num_hidden": (4,)},
    VAE: {"num_latents": (2,), "num_filters": 4},
    VQVAE: {"num_codes": 4, "code_size": 2, "num_filters": 4},
}
FAMILIES = {**AUTOREGRESSIVE, **LATENT}


def build(family, channels=3, likelihood=None, **options):
    torch.manual_seed(0)
    likelihood = LogisticMixture(2) if likelihood is None else likelihood
    return family(channels=channels, size=(8, 4), likelihood=likelihood, **{**FAMILIES[family], **options}).eval()


def images(num=2, channels=3, levels=256):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(levels, (num, channels, 8, 4), generator=generator, dtype=torch.uint8)


class Textbook(AutoregressiveModel):
    """All that a model must define: here each pixel is predicted from the row above."""

    def __init__(self, **options):
        super().__init__(1, (8, 4), Bernoulli(), **options)
        self.layer = nn.Conv2d(1, 1, (1, 3), padding=(0, 1))

    def network(self, y, condition=None):
        return self.layer(nn.functional.pad(y, (0, 0, 1, -1)))


@pytest.mark.parametrize(
    ("base", "missing"),
    [
        (ImageModel, "log_prob"),
        (ImageModel, "sample"),
        (AutoregressiveModel, "network"),
        (TwoStreamModel, "horizontal"),
        (TwoStreamModel, "vertical"),
        (LatentModel, "encode"),
        (LatentModel, "decode"),
    ],
)
def test_a_model_that_lacks_a_method_cannot_be_made(base, missing):
    """Python names the method when the model is made, not only when it is called."""
    assert missing in base.__abstractmethods__
    with pytest.raises(TypeError, match=f"abstract.*{missing}"):
        type("Incomplete", (base,), {})()


@pytest.mark.parametrize("family", AUTOREGRESSIVE)
@pytest.mark.parametrize("head", [Categorical(8), LogisticMixture(2)])
def test_a_model_of_pixels_returns_the_distribution_in_which_an_image_is_scored(family, head):
    model, x = build(family, likelihood=head), images(levels=8)
    torch.testing.assert_close(model(x).log_prob(x), model.log_prob(x))
    torch.testing.assert_close(model(x).log_prob_per_pixel(x).sum((1, 2)), model.log_prob(x))
    torch.testing.assert_close(model(x).log_prob(x), head(model.params(x)).log_prob(x))
    by_class, labels = build(family, likelihood=head, num_classes=3), torch.tensor([0, 2])
    torch.testing.assert_close(by_class(x, labels).log_prob(x), by_class.log_prob(x, labels))


def test_a_network_alone_is_a_model_that_is_trained_sampled_and_checked():
    model, x = Textbook(), 255 * images(channels=1, levels=2)
    model.initialise(x)
    model.loss(x).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    drawn = [model.sample(3, generator=torch.Generator().manual_seed(0), cached=cached) for cached in (True, False)]
    assert torch.equal(*drawn) and drawn[0].shape == (3, 1, 8, 4), "there is no cache to use, and it is not missed"
    assert len(model.kernels()) == 0 and model.output_layer is None
    with pytest.raises(AssertionError, match="never reaches parameters right"):
        assert_causal(model)
    with pytest.raises(ValueError, match="Textbook takes no condition"):
        model.log_prob(x, torch.tensor([0, 1]))
    with pytest.raises(TypeError, match="init_output needs an output_layer, which Textbook does not define"):
        Textbook(init_output=True).initialise(x)


@pytest.mark.parametrize("family", AUTOREGRESSIVE)
def test_the_output_layer_is_set_where_asked_for_and_is_none_of_the_kernels(family):
    """Only the likelihood knows where training should begin; Muon moves no weights of the last layer."""
    x = images()
    model, plain = (build(family, init_output=init_output) for init_output in (True, False))
    for each in (model, plain):
        torch.manual_seed(0)
        each.initialise(x)
    expected = plain.output_layer
    plain.likelihood.init_output_(expected, 3)
    torch.testing.assert_close(model.output_layer.weight, expected.weight)
    torch.testing.assert_close(model.output_layer.bias, expected.bias)
    assert model.output_layer.bias.shape == (model.likelihood.num_params(3),)
    outputs = {id(p) for p in model.output_layer.parameters()}
    assert outputs and not outputs & {id(p) for p in model.kernels()}


def tensors_of(value):
    """All tensors among the attributes of a module, however they are kept."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from tensors_of(vars(value))
    elif isinstance(value, dict):
        yield from (tensor for part in value.values() for tensor in tensors_of(part))
    elif isinstance(value, list | tuple):
        yield from (tensor for part in value for tensor in tensors_of(part))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [LogisticMixture(2), Categorical(8), DiscretizedLogistic()])
def test_a_model_moves_to_a_device_with_all_that_it_keeps(family, head):
    """A tensor that stays behind would be copied at each step of sampling. DiscretizedLogistic's parameters do not lie
    side by side by channel, so that indices are kept.
    """
    model = build(family, likelihood=head)
    keys = set(model.state_dict())
    if isinstance(model, AutoregressiveModel) and isinstance(head, DiscretizedLogistic):
        assert any(name.endswith("indices") for name, _ in model.named_buffers())
    assert not any("indices" in key or "mask" in key for key in keys), "what follows from the options is not saved"
    model.to("meta")
    assert all(tensor.device.type == "meta" for tensor in tensors_of(model))
    with torch.device("meta"):
        made_there = build(family, likelihood=head)
    assert all(tensor.device.type == "meta" for tensor in tensors_of(made_there))
    with pytest.raises(ValueError, match="on the meta device, where weights have no values: it cannot be drawn from"):
        model.sample(1)


@pytest.mark.parametrize("family", AUTOREGRESSIVE)
@pytest.mark.parametrize("head", [Bernoulli(), Categorical(8), DiscretizedLogistic(), Gaussian(), LogisticMixture(2)])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_parameters_that_are_no_numbers_are_not_drawn_from(family, head, temperature):
    """Black images would be the result, which look like a badly trained model."""
    model = build(family, likelihood=head).train()
    with torch.no_grad():
        model.output_layer.bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        model.sample(1, temperature=temperature)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"channels": True}, "channels must be an integer, got True"),
        ({"size": (8, 0)}, "the width in size must be at least 1, got 0"),
        ({"size": (-8, 8)}, "the height in size must be at least 1, got -8"),
        ({"size": (8, 8, 8)}, r"size must be \(height, width\), got \(8, 8, 8\)"),
        ({"size": (8.0, 8)}, r"the height in size must be an integer, got 8\.0"),
    ],
)
def test_images_that_do_not_exist_are_refused(family, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        family(**{"channels": 1, "size": (8, 8), **FAMILIES[family], **options})


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_likelihood_is_refused(family):
    for wrong in ("mixture", LogisticMixture, 3):
        with pytest.raises(ValueError, match="likelihood must be a Likelihood, such as Categorical"):
            build(family, likelihood=wrong)


@pytest.mark.parametrize(("family", "options"), [*LATENT.items(), (LadderVAE, {}), (PixelVAE, {})])
@pytest.mark.parametrize("num_levels", [16, 4096])
def test_an_encoder_sees_the_levels_that_the_likelihood_has_on_the_axis_from_minus_one_to_one(
    family, options, num_levels
):
    torch.manual_seed(0)
    model = family(1, (8, 8), likelihood=DiscretizedLogistic(num_levels=num_levels), **options).eval()
    x, seen = torch.arange(64).view(1, 1, 8, 8) * (num_levels - 1) // 63, []
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    first.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model.encode(x)
    assert seen[0].min() == -1 and seen[0].max() == 1


@pytest.mark.parametrize("family", AUTOREGRESSIVE)
def test_counts_below_one_are_refused_by_name(family):
    wrong = [name for name in FAMILIES[family] if name != "kernel_size"] + ["num_classes", "embedding"]
    wrong += ["condition_channels"] * (family is not PixelCNNpp)
    for name in wrong:
        for count in (0, -1):
            with pytest.raises(ValueError, match=f"^{name} must be at least 1, got {count}"):
                build(family, **{name: count})
        with pytest.raises(ValueError, match=f"^{name} must be an integer, got 1.5"):
            build(family, **{name: 1.5})


def test_dilations_and_kernels_that_make_no_convolution_are_refused():
    for dilations in ((1, 0), (1, -2), (1, 1.5)):
        with pytest.raises(ValueError, match=r"dilations\[1\] must be"):
            build(GatedPixelCNN, dilations=dilations)
    for family in (PixelCNN, GatedPixelCNN):
        with pytest.raises(ValueError, match=r"kernel_size must be an integer, got 3\.0"):
            build(family, kernel_size=3.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_and_conditions_that_do_not_fit_are_refused(family):
    model = build(family)
    for x, complaint in (
        (images(channels=1), r"expected images \(B, 3, .*, got \(2, 1, 8, 4\)"),
        (images()[0], r"expected images \(B, 3, .*, got \(3, 8, 4\)"),
        (images() / 255, r"expected images of integers \(uint8, .*\), got torch.float32"),
    ):
        with pytest.raises(ValueError, match=complaint):
            model.log_prob(x)
        with pytest.raises(ValueError, match=complaint):
            model.loss(x)
    labels = torch.tensor([0, 1])
    for refused in (lambda: model.log_prob(images(), labels), lambda: model.loss(images(), labels)):
        with pytest.raises(ValueError, match=f"{family.__name__} takes no condition"):
            refused()
    with pytest.raises(ValueError, match=f"{family.__name__} takes no condition"):
        model.sample(2, condition=labels)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_more_images_are_drawn_than_can_be_held(family):
    model = build(family)
    for num_samples, complaint in (
        (0, "num_samples must be at least 1, got 0"),
        (-1, "num_samples must be at least 1, got -1"),
        (1.0, "num_samples must be an integer, got 1.0"),
        (10**30, "num_samples is too large: 10{30} images of 3 x 8 x 4 bytes are more than 16 GiB"),
    ):
        with pytest.raises(ValueError, match=complaint):
            model.sample(num_samples)


@pytest.mark.parametrize("family", [IWAE, VAE])
def test_importance_weights_are_asked_for_by_a_positive_number(family):
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        build(family).log_weights(images(), 0)
    assert build(family).log_weights(images(), 3).shape == (3, 2)


def test_an_embedding_says_which_levels_it_knows():
    model = build(GatedPixelCNN, 1, Categorical(8), embedding=2)
    with pytest.raises(ValueError, match=r"levels are 0\.\.7, got 0\.\.8"):
        model.log_prob(torch.tensor([0, 8], dtype=torch.uint8).repeat(1, 1, 8, 2))


@pytest.mark.parametrize("family", LATENT)
def test_what_a_bound_bounds_follows_from_the_likelihood(family):
    heads = {LogisticMixture(2): "lower bound", Gaussian(): "density", GreyBernoulli(): "improper"}
    assert [build(family, likelihood=head).kind for head in heads] == list(heads.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_is_an_ordinary_tensor(family):
    """One made in inference mode could not be written to, nor take part in a gradient."""
    drawn = build(family).sample(2)
    assert drawn.dtype == torch.uint8 and drawn.shape == (2, 3, 8, 4) and not drawn.is_inference()
