"""What a corpus is made of: the pydantic model behind a corpus YAML, and its error texts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from mixopt.errors import CorpusError, SpaceError
from mixopt.space.model import Frozen
from mixopt.space.yamlfile import load_yaml, validate_node

Split = Literal["train", "validation", "confirmation"]
SPLITS: tuple[Split, ...] = get_args(Split)
InstalledKind = Literal["python", "cpp", "prose", "stubs", "data"]

_PART = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_DOMAIN_NAME = re.compile(rf"{_PART}(/{_PART})*")
_KINDS = ("glob", "files", "jsonl", "parquet", "installed", "tokens")
_OF_TOKENS = ("token_field", "dtype", "tokenizer")
TokenType = Literal["uint8", "uint16", "uint32", "int32", "int64"]


def _unset(value: object) -> bool:
    # What only token files have is left out of a spec without any, whose digest stays as it was.
    return not value


class TokenizerTraining(Frozen):
    """A byte-level BPE trained on the training split, the same amount from every domain.

    Attributes:
        vocab_size: Entries of the vocabulary, the 256 bytes and the end-of-text token included.
        bytes_per_domain: Text taken from each domain (less where a domain has less).
    """

    vocab_size: int = Field(default=2048, ge=257, le=2**31)
    bytes_per_domain: int = Field(default=1_000_000, ge=1)


class TokenIds(Frozen):
    """What is known of the tokenizer of token files whose ``tokenizer.json`` is not at hand.

    Attributes:
        vocab_size: Entries of the vocabulary; every id is below it.
        end_of_document: Id between documents.
    """

    vocab_size: int = Field(ge=2, le=2**31, examples=[50304])
    end_of_document: int = Field(ge=0, examples=[50256])

    @model_validator(mode="after")
    def _end_is_known(self) -> TokenIds:
        if self.end_of_document >= self.vocab_size:
            raise SpaceError(
                f"end_of_document must be below vocab_size = {self.vocab_size}, got "
                f"{self.end_of_document}",
                "write both as the tokenizer of the token files has them",
            )
        return self


class TokenizerSpec(Frozen):
    """``path`` of a Hugging Face ``tokenizer.json``, ``train`` settings, or the ``ids`` alone.

    Attributes:
        path: File of the ``tokenizers`` library, relative to the spec's root.
        train: Settings of a tokenizer trained here.
        ids: Of a corpus of token files alone: their vocabulary.
        end_of_text: The token put after every document; must be in a given vocabulary.
    """

    path: str | None = None
    train: TokenizerTraining | None = None
    ids: TokenIds | None = Field(default=None, exclude_if=_unset)
    end_of_text: str = "<|endoftext|>"

    @model_validator(mode="after")
    def _one_of(self) -> TokenizerSpec:
        if sum(given is not None for given in (self.path, self.train, self.ids)) != 1:
            raise SpaceError(
                "exactly one of `path`, `train` and `ids` must be given",
                "write `path: tokenizer.json`, `train: {vocab_size: 2048}` or, for token files, "
                "`ids: {vocab_size: 50304, end_of_document: 50256}`",
            )
        return self


class SplitSpec(Frozen):
    """Shares of each domain's text that are held out, and caps on the held-out tokens.

    Attributes:
        validation: Share of bytes the search sees as its metrics.
        confirmation: Share of bytes the search never sees.
        max_validation_tokens: Cap per domain; None keeps all.
        max_confirmation_tokens: Cap per domain; None keeps all.
    """

    validation: float = Field(default=0.05, gt=0, lt=1)
    confirmation: float = Field(default=0.05, gt=0, lt=1)
    max_validation_tokens: int | None = Field(default=None, ge=1)
    max_confirmation_tokens: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSpec:
        if self.validation + self.confirmation >= 1:
            raise SpaceError(
                f"validation + confirmation must be below 1, got "
                f"{self.validation + self.confirmation:g}",
                "write shares that leave text to train on, such as 0.05 and 0.05",
            )
        return self


class NearDuplicates(Frozen):
    """MinHash settings: documents whose estimated Jaccard similarity reaches ``threshold`` go.

    Attributes:
        threshold: Similarity of word ``ngram`` sets from which the later document is dropped.
        num_perm: Length of the MinHash signature.
        ngram: Words per shingle.
    """

    threshold: float = Field(default=0.7, gt=0, le=1)
    num_perm: int = Field(default=64, ge=8, le=1024)
    ngram: int = Field(default=5, ge=1, le=64)


class SourceSpec(Frozen):
    """One place text or token ids come from; exactly one of the six kinds.

    Attributes:
        glob: Patterns of UTF-8 text files, one document each.
        files: Text files by name, one document each.
        jsonl: Patterns of JSON-lines files (plain, .gz, .zst), one document per line.
        parquet: Patterns of Parquet files, one document per row.
        installed: A kind of text that installed packages carry.
        text_field: Field of a JSON line or Parquet column holding the text.
        group_field: Field or column that names what a row is part of (a document, a repository);
            rows of one group never part between splits. None takes each row for itself.
        packages: For ``installed``: the import names looked through; None takes the default list.
        tokens: Patterns of token files: Megatron's ``.idx`` (with its ``.bin``; the prefix will
            do), folders of MDS shards, ``.parquet``, ``.arrow``, ``.npy``, or ids without a header.
        token_field: For ``tokens``: the column of ids in MDS, Parquet and Arrow.
        dtype: For ``tokens``: type of ids in files that do not say it.
        tokenizer: For ``tokens``: the tokenizer.json they were made with, to be sure that it is
            that of the other domains.
    """

    glob: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    jsonl: tuple[str, ...] = ()
    parquet: tuple[str, ...] = ()
    installed: InstalledKind | None = None
    text_field: str = "text"
    group_field: str | None = None
    packages: tuple[str, ...] | None = None
    tokens: tuple[str, ...] = Field(default=(), exclude_if=_unset)
    token_field: str | None = Field(default=None, exclude_if=_unset, examples=["input_ids"])
    dtype: TokenType | None = Field(default=None, exclude_if=_unset)
    tokenizer: str | None = Field(default=None, exclude_if=_unset)

    @field_validator("glob", "files", "jsonl", "parquet", "tokens", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> SourceSpec:
        given = [kind for kind in _KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise SpaceError(
                f"a source needs exactly one of {', '.join(_KINDS)}, got {given}",
                "write, for example, `glob: texts/*.txt`; give another kind a source of its own",
            )
        if self.packages is not None and self.installed is None:
            raise SpaceError("`packages` belongs to an `installed` source", "leave it out")
        if self.group_field is not None and not (self.jsonl or self.parquet or self.tokens):
            raise SpaceError(
                "`group_field` belongs to a `jsonl`, `parquet` or `tokens` source", "leave it out"
            )
        misplaced = [name for name in _OF_TOKENS if getattr(self, name) and not self.tokens]
        if misplaced:
            raise SpaceError(f"`{misplaced[0]}` belongs to a `tokens` source", "leave it out")
        return self


class DomainSpec(Frozen):
    """The sources of one domain.

    Attributes:
        sources: Where the text comes from.
        max_tokens: Cap on training tokens; None keeps all.
        max_bytes: Stop reading after this much text, a token counting as four bytes; files (and
            the documents of token files) are visited in an order drawn from the seed, and none
            gives more than its part, so what is read is a sample of the whole.
    """

    sources: tuple[SourceSpec, ...] = Field(min_length=1, examples=[[{"glob": "web/*.txt"}]])
    max_tokens: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)


class CorpusSpec(Frozen):
    """Everything that decides a corpus; the same spec on the same text gives the same tokens.

    Attributes:
        name: A name for people.
        tokenizer: Given or trained here.
        context: Sequence length in tokens; every split must hold at least ``context + 1``.
        seed: Seed of the split and of the order of documents.
        split: Held-out shares.
        max_document_bytes: Longer documents are cut into pieces of so many bytes (a token counts
            as four), which stay in one split; None keeps them whole.
        near_duplicates: MinHash settings; None removes exact duplicates only.
        domains: Domains by name.
        root: Folder that relative paths start from; ``from_yaml`` sets it to the file's folder.
    """

    name: str = Field(min_length=1, examples=["my-corpus"])
    tokenizer: TokenizerSpec = TokenizerSpec(train=TokenizerTraining())
    context: int = Field(ge=1, examples=[128])
    seed: int = 0
    split: SplitSpec = SplitSpec()
    max_document_bytes: Annotated[int, Field(ge=1)] | None = 48 * 1024
    near_duplicates: NearDuplicates | None = NearDuplicates()
    domains: dict[str, DomainSpec] = Field(
        min_length=1, examples=[{"web": {"sources": [{"glob": "web/*.txt"}]}}]
    )
    root: Path = Path()

    @field_validator("domains")
    @classmethod
    def _named(cls, domains: dict[str, DomainSpec]) -> dict[str, DomainSpec]:
        for name in domains:
            if not _DOMAIN_NAME.fullmatch(name):
                raise SpaceError(
                    f"domain name {name!r} must be letters, digits and any of _ . + - "
                    f"(it becomes a folder), with / between the levels of a tree",
                    "rename it, such as web-news",
                )
        for name in domains:
            inner = [other for other in domains if other.startswith(f"{name}/")]
            if inner:
                raise SpaceError(
                    f"domain name {name!r} must not be a level of another; {inner[0]!r} is below "
                    "it",
                    f"rename it, such as {name}/other",
                )
        if len({name.casefold() for name in domains}) < len(domains):
            raise SpaceError(
                "domain names must differ in more than upper and lower case", "rename one"
            )
        return domains

    @model_validator(mode="after")
    def _tokenizer_fits(self) -> CorpusSpec:
        sources = [(name, source) for name, d in self.domains.items() for source in d.sources]
        tokens = [name for name, source in sources if source.tokens]
        texts = [name for name, source in sources if not source.tokens]
        if tokens and self.tokenizer.train is not None:
            raise SpaceError(
                f"domain {tokens[0]!r} is of token files, whose tokenizer must be given",
                "write `tokenizer: {path: tokenizer.json}`, or what is known of it, such as "
                "`tokenizer: {ids: {vocab_size: 50304, end_of_document: 50256}}`",
            )
        if texts and self.tokenizer.ids is not None:
            raise SpaceError(
                f"domain {texts[0]!r} is of text, which `tokenizer.ids` cannot tokenise",
                "write `tokenizer: {path: tokenizer.json}`, that of the token files",
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> CorpusSpec:
        """Read a spec from a YAML file; relative paths in it start from the file's folder.

        Raises:
            CorpusError: The file is unreadable, is not YAML, repeats a key, or breaks the model;
                the message names file, line and key.
        """
        path = Path(path)
        try:
            data, node = load_yaml(path)
            root = path.resolve().parent / str(data.get("root", "."))
            return validate_node(cls, {**data, "root": root}, node, path)
        except SpaceError as error:
            raise CorpusError(error.message, error.hint) from error

    def digest(self) -> str:
        """SHA-256 (hex) of the spec without its root, so that moving the folder changes nothing."""
        return hashlib.sha256(self.model_dump_json(exclude={"root"}).encode()).hexdigest()
