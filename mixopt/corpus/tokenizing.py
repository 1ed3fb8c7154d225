"""The tokenizer of a corpus: given as a file, or a byte-level BPE trained on its training text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mixopt.corpus.spec import TokenizerSpec, TokenizerTraining
from mixopt.errors import CorpusError

_BATCH = 256


class Encoded(NamedTuple):
    """What a list of documents became: ids, documents used and the UTF-8 bytes they stand for."""

    tokens: NDArray[np.uint32]
    documents: int
    bytes: int


def make_tokenizer(
    spec: TokenizerSpec, root: Path, training: Mapping[str, Sequence[str]]
) -> tuple[Tokenizer, int]:
    """Load or train the tokenizer; also the id of its end-of-text token.

    Args:
        spec: Where it comes from.
        root: Folder a relative path starts from.
        training: Training texts per domain; used only when it is trained here.

    Raises:
        CorpusError: The file is no tokenizer, or does not know the end-of-text token.
    """
    if spec.path is not None:
        tokenizer = _load(root / spec.path)
    else:
        assert spec.train is not None, "the spec holds exactly one of path and train"
        tokenizer = _train(spec.train, spec.end_of_text, training)
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
    return tokenizer, end_of_text


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
    tokenizer: Tokenizer, texts: Sequence[str], end_of_text: int, limit: int | None
) -> Encoded:
    """Token ids of the documents, an end-of-text id after each, cut at ``limit`` tokens.

    Text past the limit is never tokenised beyond its batch.
    """
    pieces: list[NDArray[np.uint32]] = []
    total = documents = size = 0
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        for text, encoding in zip(
            batch, tokenizer.encode_batch_fast(batch, add_special_tokens=False), strict=True
        ):
            ids = np.array([*encoding.ids, end_of_text], dtype=np.uint32)
            documents += 1
            if limit is not None and total + len(ids) >= limit:
                kept = limit - total
                pieces.append(ids[:kept])
                size += _covered_bytes(tokenizer, text, kept)
                return Encoded(np.concatenate(pieces), documents, size)
            pieces.append(ids)
            total += len(ids)
            size += len(text.encode("utf-8"))
    tokens = np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint32)
    return Encoded(tokens, documents, size)


def _covered_bytes(tokenizer: Tokenizer, text: str, count: int) -> int:
    """UTF-8 bytes under the first ``count`` tokens of a text."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    if count >= len(encoding.ids):
        return len(text.encode("utf-8"))
    return len(text[: encoding.offsets[count - 1][1]].encode("utf-8")) if count else 0
