"""Transforms: exact where they claim to be, and random with the probabilities they state."""

import pytest
import torch

from pixellib.data import IntensityPermutation, binarise, grey, scale, unscale

LEVELS = torch.arange(256, dtype=torch.uint8)


def test_scale_covers_minus_one_to_one():
    y = scale(LEVELS)
    assert y.dtype == torch.float32
    assert y[0] == -1 and y[255] == 1
    torch.testing.assert_close(y.diff(), torch.full((255,), 2 / 255))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_unscale_inverts_scale_for_every_level(dtype):
    # Another level would be another symbol once intensities are permuted, so nearly right is wrong.
    assert torch.equal(unscale(scale(LEVELS).to(dtype)), LEVELS)


@pytest.mark.parametrize("num_levels", [2, 3, 8, 256, 1000])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
def test_any_number_of_levels_is_scaled_to_the_same_range_and_back(num_levels, dtype):
    levels = torch.arange(num_levels, dtype=dtype)
    y = scale(levels, num_levels)
    assert y.dtype == (torch.float32 if dtype == torch.int64 else dtype), "floats keep their precision"
    torch.testing.assert_close(y, torch.linspace(-1, 1, num_levels, dtype=y.dtype))
    back = unscale(y, num_levels)
    assert back.dtype == (torch.uint8 if num_levels <= 256 else torch.int64)
    assert torch.equal(back.to(dtype), levels)


def test_unscale_rounds_to_the_nearest_level_and_clamps():
    almost_half_a_level = 0.49 * 2 / 255
    assert torch.equal(unscale(scale(LEVELS) + almost_half_a_level), LEVELS)
    assert torch.equal(unscale(scale(LEVELS) - almost_half_a_level), LEVELS)
    assert unscale(torch.tensor([-7.0, 7.0, float("inf")])).tolist() == [0, 255, 255]


def test_binarise_draws_each_level_with_its_own_probability():
    num_draws = 40_000
    draws = binarise(LEVELS.expand(num_draws, 256), torch.Generator().manual_seed(0))
    assert draws.dtype == torch.uint8 and draws.shape == (num_draws, 256)
    assert set(draws.unique().tolist()) == {0, 255}
    share = draws.double().mean(0) / 255
    p = LEVELS.double() / 255
    error = (p * (1 - p) / num_draws).sqrt()
    assert share[0] == 0 and share[255] == 1  # black and white are certain
    z = (share[1:255] - p[1:255]) / error[1:255]
    assert z.abs().max() < 5  # each level alone
    assert (z**2).sum() < 254 + 5 * (2 * 254) ** 0.5  # all together: no small bias common to many levels


def test_a_generator_makes_the_draw_repeat_and_leaves_the_global_one_alone():
    x = torch.full((4, 1, 28, 28), 100, dtype=torch.uint8)
    state = torch.get_rng_state()
    first = binarise(x, torch.Generator().manual_seed(1))
    assert torch.equal(first, binarise(x, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, binarise(x, torch.Generator().manual_seed(2)))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(x, torch.full_like(x, 100))  # the input is not written to


@pytest.mark.parametrize(("num_levels", "window"), [(256, None), (256, 16), (100, 7), (2, 1), (1, None)])
def test_permuted_intensities_are_one_to_one_and_stay_in_their_windows(num_levels, window):
    levels = torch.arange(num_levels, dtype=torch.uint8)
    permutation = IntensityPermutation(num_levels, seed=3, window=window)
    symbols = permutation(levels)
    assert symbols.dtype == torch.uint8
    assert torch.equal(symbols.sort().values, levels)
    assert torch.equal(permutation.inverse(symbols), levels)
    width = window or num_levels
    assert torch.equal(symbols.int() // width, levels.int() // width)
    assert (symbols == levels).all() == (width == 1)


def test_permutations_follow_from_their_seed():
    tables = [IntensityPermutation(seed=seed)(LEVELS) for seed in (0, 0, 1)]
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])
    assert (tables[0].int() - LEVELS.int()).abs().float().mean() > 60  # 85 in the mean, if nothing of the order is left
    image = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    assert torch.equal(IntensityPermutation()(image)[1, 2, 3, 4], tables[0][image[1, 2, 3, 4].int()])


def test_more_than_256_symbols_are_int64():
    permutation = IntensityPermutation(1000, seed=1)
    levels = torch.arange(1000)
    assert permutation(levels).dtype == torch.int64 and permutation(levels).sort().values.equal(levels)
    assert permutation.inverse(permutation(levels)).equal(levels)
    with pytest.raises(ValueError, match=r"expected values 0\.\.999, got -1\.\.3"):
        permutation(torch.tensor([3, -1]))


@pytest.mark.parametrize(("options", "x"), [
    ({"num_levels": 257}, LEVELS), ({"num_levels": 0}, LEVELS), ({"window": 0}, LEVELS), ({"window": 300}, LEVELS),
    ({"num_levels": 8}, LEVELS), ({}, LEVELS.float()), ({"num_levels": 2.5}, LEVELS), ({}, torch.empty(0)),
])  # fmt: skip
def test_what_cannot_be_permuted_is_refused(options, x):
    with pytest.raises(ValueError, match="expected"):
        IntensityPermutation(**options)(x)


def test_brightness_weighs_green_most_and_keeps_greys():
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 7], [255, 255, 255]], dtype=torch.uint8)
    assert grey(colours.view(5, 3, 1, 1)).flatten().tolist() == [76, 150, 29, 7, 255]


@pytest.mark.parametrize("seed", [-1, 2**70, 10**20_000, 0.5], ids=["negative", "large", "huge", "fraction"])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed must be an integer from 0 to 2\^32 - 1"):
        IntensityPermutation(seed=seed)


@pytest.mark.parametrize("transform", [binarise, grey])
@pytest.mark.parametrize("x", [torch.rand(2, 3, 4, 4), torch.zeros(2, 3, 4, 4).long()])
def test_images_that_are_not_uint8_are_refused(transform, x):
    """Images already divided by 255 would all become black."""
    with pytest.raises(ValueError, match=f"{transform.__name__} expected uint8 images, values 0..255, got {x.dtype}"):
        transform(x)


def test_only_colour_images_have_a_brightness():
    with pytest.raises(ValueError, match=r"grey expects colour images \(N, 3, H, W\), got \(2, 1, 4, 4\)"):
        grey(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
