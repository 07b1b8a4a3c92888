"""What notebook 10 makes of images: symbols that one can go back from, and an order found without looking."""

import dataclasses

import pytest
import torch

from pixellib import checkpoints, data
from pixellib.data import IntensityPermutation, grey
from pixellib.likelihoods import LogisticMixture, Permuted
from pixellib.models import GatedPixelCNN, PixelCNNpp
from pixellib.series import paths, runs
from pixellib.series.permuted import symbols as symbols_of_notebook_10
from pixellib.series.permuted.order import order_by_predictions, used_first
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.run import Run

scrambled = IntensityPermutation(seed=2)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Nothing is shipped, trainings go to a folder of this test, and data sets have 200 images in each split."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, split: tuple(part[:200] for part in load(name, split)))
    for folder in ("WORK", "CHECKPOINTS", "RESULTS"):
        monkeypatch.setattr(paths, folder, tmp_path / folder.lower())


def photographs():
    return data.load("offline_crops", "train")[0][:20]


def test_photographs_become_grey_and_are_renamed_only_where_inputs_are_permuted():
    x, levels = photographs(), grey(photographs())
    assert torch.equal(Symbols().of(x, 3), levels)
    assert torch.equal(Symbols(permuted="targets").of(x, 3), levels)
    both = Symbols(permuted="inputs and targets", window=16)
    assert torch.equal(both.of(x, 3), IntensityPermutation(256, 3, 16)(levels))
    assert not torch.equal(both.of(x, 3), both.of(x, 4))


def test_a_permutation_may_have_a_seed_of_its_own_and_photographs_their_colours():
    x = photographs()
    apart = Symbols(permuted="inputs and targets", permutation_seed=7)
    assert torch.equal(apart.of(x, 3), apart.of(x, 4)) and torch.equal(
        apart.of(x, 3), IntensityPermutation(256, 7)(grey(x))
    )
    colours = Symbols(permuted="inputs and targets", colours=True)
    assert torch.equal(colours.of(x, 3), IntensityPermutation(256, 3)(x))
    assert apart.identity()["permutation_seed"] == 7 and colours.identity()["colours"]
    assert Symbols().identity().keys() == {"permuted", "window", "order"}, "as in records made before there were these"


def test_targets_are_permuted_by_the_likelihood():
    base = LogisticMixture(2)
    assert Symbols(permuted="inputs and targets").likelihood(base, 1) is base
    permuted = Symbols(permuted="targets").likelihood(base, 1)
    assert isinstance(permuted, Permuted) and permuted.likelihood is base
    assert torch.equal(permuted.permutation.table, IntensityPermutation(256, 1).table)


def test_the_order_is_found_in_the_training_images_as_they_were_scrambled():
    x, train = photographs(), data.load("offline_crops", "train")[0]
    symbols = Symbols(permuted="inputs and targets", order="neighbours")
    found = symbols.of(x, 5, symbols.find_order(train, 5))
    pairs = torch.stack([found.flatten().double(), grey(x).flatten().double()])
    assert pairs.corrcoef()[0, 1].abs() > 0.98


def test_a_run_finds_its_order_in_training_images_and_uses_it_for_all_splits():
    run = runs.get("permuted-grey-mixture-scrambled-by-neighbours")
    expected = run.symbols.find_order(data.load("offline_crops", "train")[0], seed=1)
    levels = grey(data.load("offline_crops", "test")[0])
    assert torch.equal(run.images("test", "quick", seed=1), expected(IntensityPermutation(256, 1)(levels)))


class Undecided(torch.nn.Linear):
    """Predicts, for each pixel, a hump of levels about the true one, in the names that a permutation gave them."""

    def forward(self, x):
        level = scrambled.inverse(x).double()[:, None]  # (B, 1, C, H, W)
        levels = scrambled.inverse(torch.arange(256, dtype=torch.uint8)).view(1, 256, 1, 1, 1)
        self.log_pmf = (-(((levels - level) / 8) ** 2)).log_softmax(1)
        return self

    def conditional_log_pmf(self, x):
        return self.log_pmf


def test_an_order_is_found_in_what_a_model_takes_for_alike():
    """No two pixels are neighbours here, so all that is known is between which symbols the model is undecided."""
    x = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1)
    place = order_by_predictions(Undecided(1, 1), x)(x).flatten().long()
    true = scrambled.inverse(x).flatten().long()
    line = place[true.argsort()]
    assert torch.equal(line, torch.arange(256)) or torch.equal(line, torch.arange(256).flip(0))


def test_an_order_by_predictions_asks_the_softmax_of_the_same_seed_about_training_images(monkeypatch):
    softmax, asked, seen = runs.get("permuted-mnist-softmax-scrambled"), [], []
    symbols = Symbols("inputs and targets", order="predictions", softmax=softmax)
    run = dataclasses.replace(runs.get("permuted-mnist-mixture-scrambled"), symbols=symbols)
    monkeypatch.setattr(Run, "trained", lambda self, profile, seed: asked.append((self.name, profile, seed)))
    monkeypatch.setattr(
        symbols_of_notebook_10, "order_by_predictions", lambda _, x, __: seen.append(x) or IntensityPermutation(seed=9)
    )
    images = run.images("test", seed=3)
    assert asked == [(softmax.name, "reference", 3)]
    assert torch.equal(seen[0], softmax.images("train", seed=3)[:200])
    assert torch.equal(images, IntensityPermutation(seed=9)(softmax.images("test", seed=3)))


def test_targets_and_both_permuted_are_the_same_problem():
    """With an embedding the input's names mean nothing: the two arms differ in what they draw, not in kind."""
    both = runs.get("permuted-mnist-softmax-scrambled")
    run = dataclasses.replace(both, symbols=Symbols("targets"))
    x = run.images("validation")[:2]
    targets = run.build(seed=1)
    renamed = both.build(seed=1)
    table = IntensityPermutation(seed=1).table.long()
    with torch.no_grad():
        renamed.embedding.weight[table] = targets.embedding.weight.clone()
        torch.testing.assert_close(renamed.log_prob(both.images("validation", seed=1)[:2]), targets.log_prob(x))


def test_symbols_that_occur_are_packed_first_and_keep_their_order():
    x = torch.tensor([7, 3, 200, 3], dtype=torch.uint8).view(1, 1, 2, 2)
    assert used_first(x)(x).flatten().tolist() == [1, 0, 2, 0]
    both = Symbols(permuted="inputs and targets", order="used first")
    assert both.of(x, 5, both.find_order(x, 5)).max() == 2


@pytest.mark.parametrize("network", [PixelCNNpp, GatedPixelCNN])
@pytest.mark.parametrize("likelihood", [LogisticMixture(8, "truncated"), Permuted(LogisticMixture(8), scrambled)])
def test_components_can_begin_side_by_side_over_the_whole_range(network, likelihood):
    """Symbols may be anywhere: a component that begins far from one and as broad as all is slow to get there."""
    x = data.load("mnist", "train")[0][:8]
    model = network(channels=1, size=(28, 28), likelihood=likelihood, init_output=True)
    model.initialise(x)
    with torch.no_grad():
        predicted = model(x)
    mixture = getattr(predicted, "symbols", predicted)
    centres = 127.5 * (mixture.means[:, 0].movedim(1, -1) + 1)  # (B, H, W, K), in levels
    assert (centres - (torch.arange(8) + 0.5) * 255 / 8).abs().median() < 16
    assert mixture.log_scales.exp().mean() == pytest.approx(1 / 16, rel=0.2)


def test_bits_of_black_white_and_other_pixels_add_up_to_the_image():
    run = runs.get("permuted-mnist-mixture-scrambled")
    model = run.build("quick")
    row = run.evaluate(model, "test", "quick")[0]
    levels = data.load("mnist", "test")[0][: row["num_images"]]
    images = run.images("test", "quick")[: row["num_images"]]
    share = {"black": (levels == 0), "white": (levels == 255), "between": (levels > 0) & (levels < 255)}
    bits_of = run.symbols.bits_by_level(model, images, levels)
    total = sum(bits_of[name] * pixels.float().mean().item() for name, pixels in share.items())
    assert total == pytest.approx(row["bits_per_dim"], rel=1e-4)


@pytest.mark.parametrize(
    "name", ["permuted-mnist-softmax-scrambled", "permuted-codes-cifar10-mixture-scrambled-by-neighbours"]
)
def test_a_run_of_symbols_trains_and_is_loaded_with_its_own_permutation(name, elsewhere):
    run = runs.get(name)
    record = run.train("quick", seed=1, device="cpu", progress=False)
    symbols = record["identity"]["symbols"]
    assert record["seed"] == 1 and symbols["order"] == ("neighbours" if "neighbours" in name else None)
    path = run.folder("quick", 1) / f"{name}.safetensors"
    model = run.load(path, "quick", seed=1)
    test = run.images("test", "quick", seed=1)[:40]
    again = -model.log_prob(test).mean().item()
    assert again == pytest.approx(-record["results"][-1]["log_likelihood"], rel=1e-4)
    with pytest.raises(checkpoints.CheckpointError, match="seed is 1, not 0"):  # whose permutation is another
        run.load(path, "quick", seed=0)


def test_a_checkpoint_made_from_other_codes_is_refused(elsewhere):
    """Codes of a VQ-VAE that was trained anew are other symbols."""
    run = runs.get("permuted-codes-mnist-softmax-scrambled")
    run.train("quick", device="cpu", progress=False)
    codes, path = run.symbols.codes, run.folder("quick") / f"{run.name}.safetensors"
    encoder = codes.folder("quick") / f"{codes.name}.safetensors"
    tensors, header = checkpoints.load(encoder)
    run.load(path, "quick")
    checkpoints.save(encoder, {name: 2 * t for name, t in tensors.items()}, header)
    with pytest.raises(checkpoints.CheckpointError, match=r"upstream\.codes\.weights_sha256"):
        run.load(path, "quick")


def test_what_must_be_trained_before_a_run_is_named():
    assert runs.get("permuted-grey-softmax-scrambled").upstream() == {}
    codes = runs.get("permuted-codes-mnist-softmax-scrambled").upstream("reference", seed=2)
    assert codes == {"codes": (runs.get("vqvae-mnist"), 0)}, "all seeds see the codes of one VQ-VAE"
    assert runs.get("iwae-k5").upstream("reference", seed=2) == {"start": (runs.get("iwae-k1"), 2)}
    assert runs.get("iwae-k5").upstream("quick") == {}
