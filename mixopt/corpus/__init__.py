"""Raw text or token files to fingerprinted token shards, and the sampler that mixes them.

Notation: a corpus has ``d`` domains; a sequence is ``context + 1`` tokens, inputs and targets.
"""

from mixopt.corpus.build import build_corpus
from mixopt.corpus.megatron_files import count_megatron_tokens
from mixopt.corpus.sampler import MixtureSampler
from mixopt.corpus.sources import expected_tokens, metadata_tokens
from mixopt.corpus.spec import (
    SPLITS,
    CorpusSpec,
    DomainSpec,
    NearDuplicates,
    SourceSpec,
    Split,
    SplitSpec,
    TokenIds,
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
    "TokenIds",
    "TokenizerSpec",
    "TokenizerTraining",
    "build_corpus",
    "count_megatron_tokens",
    "expected_tokens",
    "metadata_tokens",
]
