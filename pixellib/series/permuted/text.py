"""Text as images of a single row: a causal network along the row, and byte-pair tokens in place of bytes."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from pixellib.likelihoods import Categorical, Likelihood
from pixellib.models.autoregressive.base import AutoregressiveModel
from pixellib.models.checks import check_counts

WORD = re.compile(rb" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+")  # no token reaches across such pieces


class CausalRow(AutoregressiveModel):
    """Dilated causal convolutions with gates along a row, as in WaveNet (van den Oord et al. 2016).

    num_layers gated layers of num_filters features; their dilations are 1, 2, 4, ... up to 2^(cycle - 1), and then
    begin again. channels is 1, and rows do not see each other. likelihood: Categorical() unless given. Other arguments:
    see AutoregressiveModel.

    ValueError for other channels, and for numbers below 1.

    >>> import torch
    >>> model = CausalRow(1, (1, 12), num_layers=2, num_filters=4, likelihood=Categorical(1000), embedding=4)
    >>> model.log_prob(torch.randint(1000, (5, 1, 1, 12))).shape
    torch.Size([5])
    """

    def __init__(
        self,
        channels: int = 1,
        size: Sequence[int] = (1, 256),
        num_layers: int = 12,
        num_filters: int = 64,
        likelihood: Likelihood | None = None,
        kernel_size: int = 2,
        cycle: int = 6,
        embedding: int | None = 32,
        init_output: bool = False,
    ):
        likelihood = Categorical() if likelihood is None else likelihood
        super().__init__(channels, size, likelihood, embedding=embedding, init_output=init_output)
        check_counts(num_layers=num_layers, num_filters=num_filters, kernel_size=kernel_size, cycle=cycle)
        if channels != 1:
            raise ValueError(f"a row has 1 channel, got {channels}")
        self.dilations = [2 ** (i % cycle) for i in range(num_layers)]
        self.first = nn.Conv2d(self.num_inputs, num_filters, 1)
        self.gates = nn.ModuleList(
            nn.Conv2d(num_filters, 2 * num_filters, (1, kernel_size), dilation=(1, d)) for d in self.dilations
        )
        self.mix = nn.ModuleList(nn.Conv2d(num_filters, num_filters, 1) for _ in self.dilations)
        self.last = nn.Conv2d(num_filters, likelihood.num_params(channels), 1)

    @property
    def output_layer(self) -> nn.Conv2d:
        return self.last

    def network(self, y: Tensor, condition: None = None) -> Tensor:
        h = self.first(F.pad(y, (1, -1)))  # each place sees what came before it
        for gate, mix in zip(self.gates, self.mix, strict=True):
            back = (gate.kernel_size[1] - 1) * gate.dilation[1]
            value, opening = gate(F.pad(h, (back, 0))).chunk(2, 1)
            h = h + mix(value.tanh() * opening.sigmoid())
        return self.last(F.elu(h))


class BytePairs:
    """Tokens learned from a text: the pair of tokens that occurs most often becomes a token, again and again.

    Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016. Tokens 0 to 255
    are the bytes. Of pairs that are equally frequent, the first by number is taken.

    >>> pairs = BytePairs.learn(b"low lower lowest", num_tokens=258)
    >>> [pairs.text([token]) for token in pairs.tokens(b"low lower")]
    [b'low', b' ', b'low', b'e', b'r']
    """

    def __init__(self, merges: Sequence[tuple[int, int]]):
        self.rank = {tuple(pair): 256 + i for i, pair in enumerate(merges)}
        self._bytes = [bytes([i]) for i in range(256)]
        for left, right in merges:
            self._bytes.append(self._bytes[left] + self._bytes[right])
        self._of_word = lru_cache(maxsize=None)(self._merge)

    @classmethod
    def learn(cls, text: bytes, num_tokens: int) -> "BytePairs":
        """ValueError for fewer tokens than bytes, or if the text has too few pairs that occur twice."""
        check_counts(at_least=256, num_tokens=num_tokens)
        words = [[list(word), count] for word, count in sorted(Counter(WORD.findall(text)).items())]
        counts, where = Counter(), defaultdict(set)
        for i, (word, count) in enumerate(words):
            for pair in pairwise(word):
                counts[pair] += count
                where[pair].add(i)
        heap, merges = [(-count, pair) for pair, count in counts.items()], []
        heapify(heap)
        while len(merges) < num_tokens - 256:
            while heap and -heap[0][0] != counts[heap[0][1]]:  # that count was overtaken by another
                heappop(heap)
            if not heap or heap[0][0] > -2:
                raise ValueError(f"the text has pairs for {256 + len(merges)} tokens only, not for {num_tokens}")
            _, best = heappop(heap)
            changed = set()
            for i in sorted(where.pop(best)):
                word, count = words[i]
                joined = words[i][0] = _joined(word, best, 256 + len(merges))
                for pair in pairwise(word):
                    counts[pair] -= count
                for pair in pairwise(joined):
                    counts[pair] += count
                    where[pair].add(i)
                changed.update(pairwise(word), pairwise(joined))
            for pair in changed:
                heappush(heap, (-counts[pair], pair))
            merges.append(best)
        return cls(merges)

    def tokens(self, text: bytes) -> list[int]:
        return [token for word in WORD.findall(text) for token in self._of_word(word)]

    def text(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self._bytes[token] for token in tokens)

    def _merge(self, word: bytes) -> list[int]:
        tokens = list(word)
        while len(tokens) > 1:
            pair = min(pairwise(tokens), key=lambda pair: self.rank.get(pair, 1 << 30))
            if pair not in self.rank:
                break
            tokens = _joined(tokens, pair, self.rank[pair])
        return tokens


def _joined(word: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """The word with each occurrence of the pair, from the left, made one token."""
    found, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            found.append(token)
            i += 2
        else:
            found.append(word[i])
            i += 1
    return found
