"""Raw text to fingerprinted token shards, and the sampler that mixes them.

Notation: a corpus has ``d`` domains; a sequence is ``context + 1`` tokens, inputs and targets.
"""

from mixopt.corpus.build import build_corpus
from mixopt.corpus.sampler import MixtureSampler
from mixopt.corpus.sources import expected_tokens
from mixopt.corpus.spec import (
    SPLITS,
    CorpusSpec,
    DomainSpec,
    NearDuplicates,
    SourceSpec,
    Split,
    SplitSpec,
    TokenizerSpec,
    TokenizerTraining,
)
from mixopt.corpus.store import Corpus, Shard

__all__ = [
    "SPLITS",
    "Corpus",
    "CorpusSpec",
    "DomainSpec",
    "MixtureSampler",
    "NearDuplicates",
    "Shard",
    "SourceSpec",
    "Split",
    "SplitSpec",
    "TokenizerSpec",
    "TokenizerTraining",
    "build_corpus",
    "expected_tokens",
]
