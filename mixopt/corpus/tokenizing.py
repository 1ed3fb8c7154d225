"""The vocabulary of a corpus: a tokenizer given or trained on its text, or what ids are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mixopt.corpus.documents import Content, Ids, size_of
from mixopt.corpus.spec import CorpusSpec, TokenizerSpec, TokenizerTraining
from mixopt.corpus.token_files import Vocabulary
from mixopt.errors import CorpusError

_BATCH = 256


class Encoded(NamedTuple):
    """What a list of documents became: ids, documents used and the UTF-8 bytes they stand for.

    Bytes are None where documents were ids already.
    """

    tokens: NDArray[np.uint32]
    documents: int
    bytes: int | None


def given_tokenizer(spec: CorpusSpec) -> Tokenizer | None:
    """The tokenizer that a spec names; None where it is trained here, or only its ids are known.

    Raises:
        CorpusError: The file is no tokenizer, does not know the end-of-text token, or is not that
            of a domain's token files.
    """
    given = spec.tokenizer.path
    named = [
        (f"domain {name!r}", source.tokenizer)
        for name, domain in spec.domains.items()
        for source in domain.sources
        if source.tokenizer
    ]
    named = [("the corpus", given), *named] if given else named
    loaded = [_load(spec.root / path) for _, path in named]
    for (who, path), tokenizer in zip(named, loaded, strict=True):
        if tokenizer.get_vocab() != loaded[0].get_vocab():
            raise CorpusError(
                f"All domains must have one tokenizer, but {path} of {who} is not {named[0][1]} of "
                f"{named[0][0]}.",
                "Tokenise one of them again: ids and shares of tokens hold under one vocabulary.",
            )
    return _ready(loaded[0], spec.tokenizer) if given else None


def trained_tokenizer(spec: TokenizerSpec, training: Mapping[str, Sequence[str]]) -> Tokenizer:
    """A tokenizer trained on the training texts per domain."""
    assert spec.train is not None, "the spec holds exactly one of path, train and ids"
    return _ready(_train(spec.train, spec.end_of_text, training), spec)


def vocabulary_of(spec: TokenizerSpec, tokenizer: Tokenizer | None) -> Vocabulary:
    """Entries of the vocabulary and the id between documents."""
    if tokenizer is None:
        assert spec.ids is not None, "only the ids of token files come without a tokenizer"
        return Vocabulary(spec.ids.vocab_size, spec.ids.end_of_document)
    end = tokenizer.token_to_id(spec.end_of_text)
    assert end is not None, "tokenizers without it are refused"
    return Vocabulary(tokenizer.get_vocab_size(with_added_tokens=True), end)


def _ready(tokenizer: Tokenizer, spec: TokenizerSpec) -> Tokenizer:
    end_of_text = tokenizer.token_to_id(spec.end_of_text)
    if end_of_text is None:
        raise CorpusError(
            f"The tokenizer {spec.path} must know the end-of-text token {spec.end_of_text!r}.",
            "Set tokenizer.end_of_text to the one it uses.",
        )
    # The name of the end-of-text token inside a document is text, not a boundary.
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _load(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(
            f"The tokenizer {path} cannot be read: {error.strerror}.", "Check tokenizer.path."
        ) from error
    # The library raises bare Exception for a file it cannot parse.
    except Exception as error:
        raise CorpusError(
            f"The tokenizer {path} is not a Hugging Face tokenizer.json: {error}.",
            "Save it with tokenizers' Tokenizer.save or transformers' save_pretrained.",
        ) from error


def _train(
    settings: TokenizerTraining, end_of_text: str, training: Mapping[str, Sequence[str]]
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=[end_of_text],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_equal_shares(training, settings.bytes_per_domain), trainer)
    return tokenizer


def _equal_shares(training: Mapping[str, Sequence[str]], limit: int) -> Iterator[str]:
    for texts in training.values():
        left = limit
        for text in texts:
            if left <= 0:
                break
            encoded = text.encode("utf-8")[:left]
            left -= len(encoded)
            yield encoded.decode("utf-8", errors="ignore")


def encode_documents(
    tokenizer: Tokenizer | None, contents: Sequence[Content], end: int, limit: int | None
) -> Encoded:
    """Token ids of the documents, an end after each, cut at ``limit`` tokens.

    Text past the limit is never tokenised beyond its batch.
    """
    pieces: list[NDArray[np.uint32]] = []
    total = documents = size = 0
    told = all(isinstance(content, str) for content in contents)
    for start in range(0, len(contents), _BATCH):
        batch = contents[start : start + _BATCH]
        for content, found in zip(batch, _ids_of(tokenizer, batch, end), strict=True):
            ids = np.append(found, end).astype(np.uint32)
            documents += 1
            if limit is not None and total + len(ids) >= limit:
                kept = limit - total
                pieces.append(ids[:kept])
                size += _covered_bytes(tokenizer, content, kept)
                return Encoded(np.concatenate(pieces), documents, size if told else None)
            pieces.append(ids)
            total += len(ids)
            size += size_of(content)
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint32)
    return Encoded(tokens, documents, size if told else None)


def _ids_of(tokenizer: Tokenizer | None, batch: Sequence[Content], end: int) -> Iterator[Ids]:
    """Texts tokenised together, and ids as they are; an end that closes these is left out."""
    texts = [content for content in batch if isinstance(content, str)]
    encoded = iter(
        tokenizer.encode_batch_fast(texts, add_special_tokens=False) if tokenizer else ()
    )
    for content in batch:
        if isinstance(content, str):
            yield np.array(next(encoded).ids)
        else:
            yield content[:-1] if content[-1] == end else content


def _covered_bytes(tokenizer: Tokenizer | None, content: Content, count: int) -> int:
    """UTF-8 bytes under the first ``count`` tokens of a text."""
    if tokenizer is None or not isinstance(content, str):
        return 0
    encoding = tokenizer.encode(content, add_special_tokens=False)
    if count >= len(encoding.ids):
        return size_of(content)
    return size_of(content[: encoding.offsets[count - 1][1]]) if count else 0
