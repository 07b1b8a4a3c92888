"""An estimate counts every image once, combines samples exactly, and states its own uncertainty."""

import math

import pytest
import torch
from toys import Toy

from pixellib.data import binarise, grey
from pixellib.evaluation import bits_per_dim, evaluate, m_sample_bound
from pixellib.models import IWAE, GatedPixelCNN


class Given(Toy):
    """log p(x) is read off the image itself: its first two pixels, high byte and low byte."""

    kind = "exact"

    def log_prob(self, x, condition=None):
        number = -(256.0 * x[:, 0, 0, 0].double() + x[:, 0, 0, 1].double())
        return number if condition is None else number - condition


class Weighed(Toy):
    """Hands out the columns of a given table of log-weights (M, N) in order; the image says which column is its own."""

    kind = "lower bound"

    def __init__(self, table):
        super().__init__()
        self.table, self.used, self.chunks = table, {}, []

    def log_weights(self, x, num_samples, generator=None):
        columns = x[:, 0, 0, 0].long()
        first = self.used.get(int(columns[0]), 0)
        self.used |= {int(column): first + num_samples for column in columns}
        self.chunks.append(num_samples * len(x))
        return self.table[first : first + num_samples, columns]


def numbered(num_images):
    """Images (N, 1, 2, 2) that carry their number in two bytes."""
    number = torch.arange(num_images)
    images = torch.zeros(num_images, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = number // 256, number % 256
    return images


@pytest.mark.parametrize("num_images", [1, 99, 100, 101, 357])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_every_image_counts_once_in_its_own_place(num_images, batch_size):
    """Also those of a last batch that is not full."""
    estimate = evaluate(Given(), numbered(num_images), batch_size=batch_size, device="cpu")
    assert estimate.per_image.dtype == torch.float64
    assert estimate.per_image.tolist() == [-float(i) for i in range(num_images)]
    assert estimate.log_likelihood == -(num_images - 1) / 2
    assert estimate.num_images == num_images and estimate.kind == "exact" and estimate.num_samples is None


def test_the_standard_error_is_that_of_the_mean():
    values = torch.arange(50, dtype=torch.float64)
    estimate = evaluate(Given(), numbered(50), device="cpu")
    by_hand = math.sqrt(((values - values.mean()) ** 2).sum() / 49 / 50)
    assert estimate.standard_error == pytest.approx(by_hand)
    assert math.isnan(evaluate(Given(), numbered(1), device="cpu").standard_error)


def test_bits_per_dimension():
    """A uniform distribution over 256 values costs 8 bits a sub-pixel, whatever the size."""
    for shape in ((1, 28, 28), (3, 32, 32)):
        assert bits_per_dim(math.prod(shape) * math.log(256), shape) == pytest.approx(8)
    estimate = evaluate(Given(), numbered(3), device="cpu")
    assert estimate.bits_per_dim == pytest.approx(1 / (4 * math.log(2)))
    assert estimate.as_record("test") == {
        "split": "test",
        "kind": "exact",
        "num_samples": None,
        "num_images": 3,
        "log_likelihood": -1.0,
        "standard_error": round(1 / math.sqrt(3), 4),
        "bits_per_dim": round(1 / (4 * math.log(2)), 5),
    }


def test_labels_go_with_their_images():
    estimate = evaluate(Given(), numbered(25), labels=1000 * torch.arange(25), batch_size=4, device="cpu")
    assert estimate.per_image.tolist() == [-1001.0 * i for i in range(25)]


@pytest.mark.parametrize("num_samples", [1, 6, 7, 8, 50])
@pytest.mark.parametrize("max_rows", [1, 20, 1000])
def test_chunks_of_samples_are_combined_exactly(num_samples, max_rows):
    """log 1/M sum w over all M, in whatever pieces they come, even where exp() of a log-weight is 0 or infinite."""
    table = 30 * torch.randn((num_samples, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = table + torch.tensor([-2000.0, 0.0, 2000.0])
    model = Weighed(table)
    x = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    bound = m_sample_bound(model, x, num_samples, max_rows=max_rows)
    torch.testing.assert_close(bound, table.logsumexp(0) - math.log(num_samples))
    assert sum(model.chunks) == 3 * num_samples and max(model.chunks) <= max(3, max_rows)


def test_the_bound_of_a_whole_set_is_that_of_its_weights():
    """5 samples of 23 images, in batches of 4: each image meets its own column, each weight is used once."""
    table = torch.randn((5, 23), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images = torch.arange(23, dtype=torch.uint8).view(23, 1, 1, 1).expand(23, 1, 2, 2)
    estimate = evaluate(Weighed(table), images, num_samples=5, batch_size=4, device="cpu")
    torch.testing.assert_close(estimate.per_image, table.logsumexp(0) - math.log(5))
    assert estimate.num_samples == 5 and estimate.kind == "lower bound"


@pytest.fixture(scope="module")
def iwae(digits):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = IWAE(num_latents=(4,), num_hidden=(16,), num_samples=3)
    model.initialise(digits)
    return model.eval()


def test_how_memory_cuts_the_samples_does_not_move_the_bound(iwae, digits):
    """Other chunks draw other noise; over images the bounds agree within their standard error."""
    x = binarise(digits[:200], torch.Generator().manual_seed(0))
    with torch.no_grad():
        small, large = (
            m_sample_bound(iwae, x, 64, torch.Generator().manual_seed(0), max_rows=rows) for rows in (300, 100_000)
        )
    difference = small - large
    assert not torch.equal(small, large)
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(x))


def test_an_evaluation_repeats_and_leaves_model_and_generator_as_they_were(iwae, digits):
    x, before = digits[:70], torch.get_rng_state()
    for num_samples in (None, 7):
        first, again, other = (
            evaluate(
                iwae.train(), x, num_samples=num_samples, transform=binarise, seed=seed, batch_size=30, device="cpu"
            )
            for seed in (0, 0, 1)
        )
        assert torch.equal(first.per_image, again.per_image)
        assert not torch.equal(first.per_image, other.per_image)
        assert first.num_samples == (num_samples or 3), "the M of the bound that was trained, unless asked otherwise"
    assert iwae.training and all(p.requires_grad and p.grad is None for p in iwae.parameters())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"images": numbered(0)}, "there are no images to evaluate"),
        ({"images": numbered(3) / 255}, r"images must be uint8, .* \(N, C, H, W\), got torch.float32"),
        ({"images": numbered(3)[0]}, r"images must be uint8, .* \(N, C, H, W\), got torch.uint8 of shape"),
        ({"labels": torch.zeros(2)}, "there must be one label per image: got 3 images, 2 labels"),
        ({"labels": torch.zeros(4)}, "there must be one label per image: got 3 images, 4 labels"),
        ({"batch_size": -1}, "batch_size must be at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": 2**63}, r"seed must be an integer from 0 to 2\^32 - 1"),
        ({"seed": -1}, r"seed must be an integer from 0 to 2\^32 - 1"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_samples": 5}, "Given has no log-weights: num_samples is for models with latent variables"),
        ({"device": "meta"}, "device 'meta' is not available here"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"batch_size": 2.5}, "batch_size must be an integer, got 2.5"),
        ({"num_samples": 2.5}, "num_samples must be an integer, got 2.5"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, complaint):
    """Batches of -1 images would evaluate none of them, to a perfect score of 0."""
    model = Given()
    with pytest.raises(ValueError, match=complaint):
        evaluate(model, **{"images": numbered(3), "device": "cpu", **arguments})
    assert model.training


def test_a_bound_is_refused_for_models_without_log_weights(iwae, digits):
    with pytest.raises(ValueError, match="Given has no log-weights"):
        m_sample_bound(Given(), numbered(3), 5)
    with pytest.raises(ValueError, match="there are no images to evaluate"):
        m_sample_bound(iwae, digits[:0], 5)


def test_labels_are_not_dropped_where_log_weights_take_none(iwae, digits):
    with pytest.raises(ValueError, match="labels cannot be combined with num_samples"):
        evaluate(iwae, digits[:3], labels=torch.zeros(3), num_samples=2)


def test_one_number_for_each_image_is_demanded():
    """A scalar would be spread over all images, and look like a perfect agreement between them."""

    class Scalar(Given):
        def log_prob(self, x, condition=None):
            return torch.zeros(())

    with pytest.raises(ValueError, match=r"one log-probability for each of 3 images, got \(\)"):
        evaluate(Scalar(), numbered(3))


@pytest.mark.parametrize("mode", [True, False])
def test_an_evaluation_that_fails_leaves_the_model_in_its_mode(mode):
    """Each module in its own: a frozen part stays frozen."""

    class Failing(Given):
        def log_prob(self, x, condition=None):
            assert not any(module.training for module in self.modules())
            raise KeyboardInterrupt

    model = Failing().train(mode)
    model.frozen = torch.nn.Dropout().eval()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, numbered(3), device="cpu")
    assert model.training == mode and not model.frozen.training


def test_the_record_of_a_single_image_can_be_written():
    """It has no standard error, and JSON no NaN."""
    assert evaluate(Given(), numbered(1), device="cpu").as_record("test")["standard_error"] is None


def test_bits_are_for_each_dimension_of_what_the_model_sees():
    """A transform may change the number of channels."""
    x = torch.randint(256, (20, 3, 8, 8), dtype=torch.uint8)
    model = GatedPixelCNN(1, (8, 8), num_layers=1, num_filters=4, kernel_size=3)
    as_transform, before = evaluate(model, x, transform=grey), evaluate(model, grey(x))
    assert as_transform.bits_per_dim == before.bits_per_dim and as_transform.shape == (1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.int16])
def test_levels_may_be_of_any_integer_type(dtype):
    x = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    model = GatedPixelCNN(1, (8, 8), num_layers=1, num_filters=4, kernel_size=3)
    assert evaluate(model, x.to(dtype)).log_likelihood == evaluate(model, x).log_likelihood
