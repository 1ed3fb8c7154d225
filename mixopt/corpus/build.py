"""From a spec to a corpus on disk, all of it or nothing."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from mixopt.corpus.dedupe import exact_duplicates, near_duplicates
from mixopt.corpus.documents import Document, SourceFile, hash_order, size_of
from mixopt.corpus.sources import domain_files, manifest_digest, read_domain
from mixopt.corpus.spec import SPLITS, CorpusSpec, Split, SplitSpec
from mixopt.corpus.store import (
    FORMAT,
    INDEX,
    TOKENIZER,
    Corpus,
    Index,
    Shard,
    corpus_fingerprint,
    write_json,
)
from mixopt.corpus.token_files import Vocabulary
from mixopt.corpus.tokenizing import (
    encode_documents,
    given_tokenizer,
    trained_tokenizer,
    vocabulary_of,
)
from mixopt.errors import CorpusError
from mixopt.steps import step

_LOG = logging.getLogger(__name__)

#: Documents below which a validation split is warned of.
FEW = 30

Progress = Callable[[str], None]


class _Counts(NamedTuple):
    """Documents per domain: read, and dropped as exact or near duplicates."""

    read: dict[str, int]
    exact: dict[str, int]
    near: dict[str, int]


def build_corpus(spec: CorpusSpec, out: Path, *, progress: Progress | None = None) -> Corpus:
    """Build the corpus of a spec in ``out``, or return the one already there.

    The work happens in a folder beside ``out`` that is renamed at the end, so ``out`` holds a
    whole corpus or nothing. A corpus already in ``out`` is reused when spec and input files are
    those it was made from. All text is held in memory once.

    Args:
        spec: What to build.
        out: The folder to make.
        progress: Called with one line per step.

    Raises:
        CorpusError: The input is at fault, a split is too short for the context, or ``out`` holds
            something else.
    """
    say = progress or (lambda _line: None)
    out = Path(out)
    with step("looking for the files"):
        files = {
            name: domain_files(name, domain, spec.root) for name, domain in spec.domains.items()
        }
        manifest = manifest_digest(files)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        return _existing(spec, manifest, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _build_into(work, spec, files, manifest, say)
        return _publish(work, spec, manifest, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _existing(spec: CorpusSpec, manifest: str, out: Path) -> Corpus:
    hint = "Choose another --out, or delete that folder to build again."
    if not (out / INDEX).is_file():
        raise CorpusError(f"The output {out} must be a new or empty folder or a corpus.", hint)
    corpus = Corpus.open(out)
    if corpus.index.spec_digest != spec.digest():
        raise CorpusError(
            f"The folder {out} already holds the corpus {corpus.index.name!r} of a different spec.",
            hint,
        )
    if corpus.index.manifest_digest != manifest:
        raise CorpusError(
            f"The corpus in {out} was built from other input files than the spec names now.", hint
        )
    return corpus


def _publish(work: Path, spec: CorpusSpec, manifest: str, out: Path) -> Corpus:
    # mkdtemp makes the folder private; a corpus has the permissions of any new folder.
    umask = os.umask(0)
    os.umask(umask)
    work.chmod(0o777 & ~umask)
    try:
        work.rename(out)
    except OSError:
        # Another process was faster.
        return _existing(spec, manifest, out)
    return Corpus.open(out)


def _build_into(
    work: Path,
    spec: CorpusSpec,
    files: Mapping[str, list[SourceFile]],
    manifest: str,
    say: Progress,
) -> None:
    tokenizer = given_tokenizer(spec)
    known = None if spec.tokenizer.train else vocabulary_of(spec.tokenizer, tokenizer)
    documents, counts = _read_all(spec, files, known, say)
    _warn_of_other_tokenizers(documents, known)
    split = {name: split_documents(kept, spec.split, spec.seed) for name, kept in documents.items()}
    for name, parts in split.items():
        _need_documents(name, parts)
    say("preparing the tokenizer")
    if spec.tokenizer.train:
        with step("training the tokenizer"):
            tokenizer = trained_tokenizer(spec.tokenizer, _training_texts(split))
    vocabulary = vocabulary_of(spec.tokenizer, tokenizer)
    sha256 = None
    if tokenizer is not None:
        tokenizer.save(str(work / TOKENIZER))
        sha256 = hashlib.sha256((work / TOKENIZER).read_bytes()).hexdigest()
    dtype: Literal["<u2", "<u4"] = "<u2" if vocabulary.size <= 2**16 else "<u4"
    shards: dict[str, dict[Split, Shard]] = {}
    for name, parts in split.items():
        with step(f"tokenising {name}"):
            shards[name] = _write_domain(work, spec, name, parts, tokenizer, vocabulary.end, dtype)
        say(f"{name}: " + ", ".join(_told(p, parts[p], s) for p, s in shards[name].items()))
        _warn_of_few(name, parts["validation"][: shards[name]["validation"].documents])
    index = Index(
        format=FORMAT,
        name=spec.name,
        context=spec.context,
        vocab_size=vocabulary.size,
        dtype=dtype,
        end_of_text=vocabulary.end,
        tokenizer_sha256=sha256,
        fingerprint=corpus_fingerprint(sha256 or "ids {} {}".format(*vocabulary), shards),
        spec_digest=spec.digest(),
        manifest_digest=manifest,
        spec=spec.model_dump(mode="json", exclude={"root"}),
        read=counts.read,
        exact_duplicates=counts.exact,
        near_duplicates=counts.near,
        domains=shards,
    )
    write_json(work / INDEX, index.model_dump(mode="json"))


def _write_domain(
    work: Path,
    spec: CorpusSpec,
    domain: str,
    parts: Mapping[Split, list[Document]],
    tokenizer: Tokenizer | None,
    end_of_text: int,
    dtype: str,
) -> dict[Split, Shard]:
    """Tokenise and write the three splits of one domain."""
    (work / domain).mkdir(parents=True)
    shards: dict[Split, Shard] = {}
    for split in SPLITS:
        limit = _token_limit(spec, domain, split)
        contents = [document.content for document in parts[split]]
        encoded = encode_documents(tokenizer, contents, end_of_text, limit)
        _need_context(domain, split, len(encoded.tokens), spec.context)
        data = encoded.tokens.astype(dtype).tobytes()
        (work / domain / f"{split}.bin").write_bytes(data)
        shards[split] = Shard(
            tokens=len(encoded.tokens),
            documents=encoded.documents,
            bytes=encoded.bytes,
            sha256=hashlib.sha256(data).hexdigest(),
        )
        write_json(work / domain / f"{split}.json", shards[split].model_dump())
    return shards


def _read_all(
    spec: CorpusSpec,
    files: Mapping[str, list[SourceFile]],
    vocabulary: Vocabulary | None,
    say: Progress,
) -> tuple[dict[str, list[Document]], _Counts]:
    """Documents of every domain after duplicates are gone, and how many were."""
    names, documents = [], []
    for name, domain in spec.domains.items():
        most = spec.max_document_bytes
        with step(f"reading {name}"):
            found = read_domain(name, domain, files[name], spec.seed, most, vocabulary)
        whole = len({document.key for document in found})
        say(f"{name}: read {len(found):,} documents under {whole:,} keys")
        names += [name] * len(found)
        documents += found
    exact = exact_duplicates(document.content for document in documents)
    near = np.zeros(len(documents), dtype=bool)
    if spec.near_duplicates is not None:
        left = np.flatnonzero(~exact)
        with step("looking for near duplicates"):
            near[left] = near_duplicates([documents[i].content for i in left], spec.near_duplicates)
    say(f"dropped {exact.sum():,} exact and {near.sum():,} near duplicates")
    kept: dict[str, list[Document]] = {name: [] for name in spec.domains}
    counts = _Counts(*(dict.fromkeys(spec.domains, 0) for _ in range(3)))
    for name, document, is_exact, is_near in zip(names, documents, exact, near, strict=True):
        counts.read[name] += 1
        counts.exact[name] += int(is_exact)
        counts.near[name] += int(is_near)
        if not (is_exact or is_near):
            kept[name].append(document)
    return kept, counts


def _training_texts(split: Mapping[str, Mapping[Split, list[Document]]]) -> dict[str, list[str]]:
    texts = {name: [d.content for d in parts["train"]] for name, parts in split.items()}
    return {name: [text for text in kept if isinstance(text, str)] for name, kept in texts.items()}


def _warn_of_other_tokenizers(
    documents: Mapping[str, list[Document]], vocabulary: Vocabulary | None
) -> None:
    """Warn where the end of documents is never seen in a domain, while others have it."""
    if vocabulary is None:
        return
    ids = {
        name: [d.content for d in found if not isinstance(d.content, str)]
        for name, found in documents.items()
    }
    ended = {
        name: any((part == vocabulary.end).any() for part in parts)
        for name, parts in ids.items()
        if parts
    }
    if any(ended.values()):
        for name in (name for name, seen in ended.items() if not seen):
            _LOG.warning(
                "the token files of domain %r never hold the end-of-document id %d, which those of "
                "other domains do: make sure that one tokenizer made them all",
                name,
                vocabulary.end,
            )


def split_documents(
    documents: Sequence[Document], shares: SplitSpec, seed: int
) -> dict[Split, list[Document]]:
    """Documents per split, whole keys at a time, in the order of the keys' seeded hashes.

    Keys with the lowest hashes fill validation until it has its share of the bytes, the next ones
    confirmation, the rest is for training. Unlike a threshold on the hash this keeps a small
    domain from ending with an empty split by bad luck. A key that is larger than a held-out share
    is for training, unless all are. Within a split the first piece of every key comes before any
    second one, so that a cap on tokens leaves as many keys as it can.
    """
    groups: dict[str, list[Document]] = {}
    for document in documents:
        groups.setdefault(document.key, []).append(document)
    size = {key: sum(size_of(d.content) for d in groups[key]) for key in groups}
    keys = sorted(groups, key=lambda key: hash_order(seed, f"split\0{key}"))
    total = sum(size.values())
    validation = _held_out(keys, size, shares.validation * total)
    keys = [key for key in keys if key not in validation]
    confirmation = _held_out(keys, size, shares.confirmation * total)
    keys = [key for key in keys if key not in confirmation]
    chosen = zip(SPLITS, (keys, validation, confirmation), strict=True)
    return {part: _in_turn([groups[key] for key in found]) for part, found in chosen}


def _held_out(keys: Sequence[str], size: Mapping[str, int], wanted: float) -> dict[str, None]:
    """The first keys that fill ``wanted`` bytes; those that alone are larger only where all are."""
    fitting = [key for key in keys if size[key] <= wanted] or sorted(keys, key=size.__getitem__)
    found: dict[str, None] = {}
    filled = 0
    for key in fitting:
        if filled >= wanted:
            break
        found[key] = None
        filled += size[key]
    return found


def _in_turn(groups: Sequence[Sequence[Document]]) -> list[Document]:
    turns = itertools.zip_longest(*groups)
    return [document for turn in turns for document in turn if document is not None]


def _token_limit(spec: CorpusSpec, domain: str, split: Split) -> int | None:
    if split == "train":
        return spec.domains[domain].max_tokens
    if split == "validation":
        return spec.split.max_validation_tokens
    return spec.split.max_confirmation_tokens


def _told(split: Split, documents: Sequence[Document], shard: Shard) -> str:
    """The tokens of a split, and what its cap has left out."""
    left_out = len(documents) - shard.documents
    dropped = f" (its cap leaves out {left_out:,} documents)" if left_out else ""
    return f"{shard.tokens:,} {split} tokens{dropped}"


def _warn_of_few(domain: str, documents: Sequence[Document]) -> None:
    """Warn where the loss on a domain would be that of a few documents."""
    keys = len({document.key for document in documents})
    if keys < FEW:
        _LOG.warning(
            "the validation split of domain %r has %d documents (fewer than %d): its loss is that "
            "of these few; give it more documents or a larger share",
            domain,
            keys,
            FEW,
        )


def _need_documents(domain: str, parts: Mapping[Split, list[Document]]) -> None:
    for split, documents in parts.items():
        if not documents:
            raise CorpusError(
                f"Domain {domain!r} has no document left for the {split} split after duplicates "
                f"were removed.",
                "Give the domain at least three different documents, better hundreds.",
            )


def _need_context(domain: str, split: Split, tokens: int, context: int) -> None:
    if tokens < context + 1:
        raise CorpusError(
            f"Domain {domain!r}: the {split} split must hold at least context + 1 = {context + 1} "
            f"tokens, got {tokens}.",
            "Give the domain more text, raise that split's share or cap, or shorten the context.",
        )
