"""Text as images of a single row: the network sees only what came before, and tokens can be turned back into bytes."""

from collections import Counter
from itertools import pairwise

import pytest
import torch

from pixellib import Settings, data, evaluate, fit
from pixellib.likelihoods import Categorical, LogisticMixture
from pixellib.series.permuted.symbols import Symbols
from pixellib.series.permuted.text import WORD, BytePairs, CausalRow
from pixellib.series.run import Plan, Run
from pixellib.series.splits import Splits


def text(split, length=None):
    return data.load("austen", split)[0].numpy().tobytes()[:length]


def merged(word, pair, token):
    """Independently of the code that is tested: tokens as characters, pairs replaced as in a string."""
    one, other = map(chr, pair)
    return [ord(c) for c in "".join(map(chr, word)).replace(one + other, chr(token))]


def test_tokens_are_those_of_the_plain_algorithm():
    some = text("train", 3_000)
    words = [list(word) for word in WORD.findall(some)]
    rank = {}
    for token in range(256, 330):
        counts = Counter(pair for word in words for pair in pairwise(word))
        pair = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [merged(word, pair, token) for word in words]
        rank[pair] = token
    pairs = BytePairs.learn(some, 330)
    assert pairs.rank == rank
    assert pairs.tokens(some) == [token for word in words for token in word]


def test_any_bytes_come_back():
    pairs = BytePairs.learn(text("train", 20_000), 500)
    for some in (text("test", 10_000), bytes(range(256)) * 2, b"", b"\n\n  a  \xff\x00z "):
        assert pairs.text(pairs.tokens(some)) == some
    assert len(pairs.tokens(text("test", 10_000))) < 7_000


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ValueError, match="pairs for 257 tokens only, not for 300"):
        BytePairs.learn(b"ab ab", 300)
    with pytest.raises(ValueError, match="num_tokens must be at least 256, got 255"):
        BytePairs.learn(b"ab ab", 255)


@pytest.mark.parametrize("likelihood", [Categorical(300), LogisticMixture(3, "truncated", num_levels=300)])
def test_a_row_is_causal_and_trained(likelihood):
    model = CausalRow(1, (1, 24), 4, 8, likelihood, cycle=2, embedding=4)
    x = torch.randint(300, (1, 1, 1, 24), generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 9] = (x[..., 9] + 1) % 300
    moved = (model.params(x) != model.params(changed))[0].any(0)[0]
    assert moved.nonzero().flatten().tolist() == list(range(10, 17)), "of what came before, the last seven are seen"
    x = torch.arange(300).repeat(16).view(-1, 1, 1, 24)
    before = evaluate(model, x).bits_per_dim
    settings = Settings(steps=40, batch_size=20, learning_rate=0.02, ema_decay=None)
    assert evaluate(fit(model, x, settings, progress=False).model, x).bits_per_dim < before - 0.5


def test_a_row_of_bytes_has_a_softmax_unless_told_otherwise():
    assert CausalRow(1, (1, 8), 1, 4).likelihood == Categorical()


def test_rows_of_several_channels_are_refused():
    with pytest.raises(ValueError, match="a row has 1 channel, got 3"):
        CausalRow(3, (1, 24), likelihood=Categorical())


def test_a_run_of_tokens_sees_the_text_of_its_split():
    symbols = Symbols("inputs and targets", tokens=300, order="frequency")
    options = {"size": [1, 128], "num_layers": 1, "num_filters": 4, "likelihood": Categorical(300)}
    plans = {"reference": Plan(Settings(steps=1, batch_size=1))}
    run = Run("tokens", "tokens", "austen", CausalRow, options, plans, symbols=symbols)
    assert run.identity()["symbols"]["tokens"] == 300 and "tokens" not in Symbols().identity()
    splits = Splits(run, seed=3)
    levels, x = splits.levels("test"), splits.images("test")
    pairs = BytePairs.learn(text("train"), 300)
    assert pairs.text(levels[:2].flatten().tolist()) == text("test")[: len(pairs.text(levels[:2].flatten().tolist()))]
    assert x.shape == levels.shape and x.dtype == torch.int64 and x.max() < 300
    renamed = symbols.permutation(3)(levels)
    assert not torch.equal(x, renamed), "the most frequent come first"
    assert splits.images("train").flatten().bincount().diff().max() <= 0
