"""Duplicates: MinHash estimates that track the true Jaccard similarity."""

import numpy as np
import pytest
from datasketch import MinHash

from mixopt.corpus.dedupe import _signatures, exact_duplicates, near_duplicates
from mixopt.corpus.spec import NearDuplicates

from .conftest import prose


def test_exact_duplicates_ignore_runs_of_whitespace():
    texts = ["a b", "a  b\n", "a c", " a\tb", "ab"]
    assert exact_duplicates(texts).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("changed", [0, 4, 12, 40])
def test_signatures_estimate_the_jaccard_similarity(changed):
    rng = np.random.default_rng(changed)
    first = prose(1, 800).split()
    second = list(first)
    for i in rng.choice(800, changed, replace=False):
        second[i] = f"new{i}"
    grams = [{tuple(w[i : i + 5]) for i in range(796)} for w in (first, second)]
    true = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
    permutations = MinHash(num_perm=512, scheme="affine32").permutations
    a, b = _signatures([" ".join(first), " ".join(second)], 5, permutations)
    # Four standard errors of a mean of 512 coin flips.
    assert abs((a == b).mean() - true) <= 4 * np.sqrt(max(true * (1 - true), 0.002) / 512)


def test_the_first_of_similar_documents_is_kept():
    base = [prose(i, 200) for i in range(30)]
    words = base[7].split()
    similar = " ".join([*words[:100], "inserted", *words[100:]])
    half = " ".join(words[:100] + prose(99, 100).split())
    dropped = near_duplicates([*base, similar, half, "short", "short"], NearDuplicates())
    assert np.flatnonzero(dropped).tolist() == [30, 33]
    order_matters = near_duplicates(["a b c d e f", "f e d c b a"], NearDuplicates(ngram=2))
    assert not order_matters.any()
