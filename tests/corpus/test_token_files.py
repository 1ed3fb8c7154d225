"""Token files: the same documents from every format, counts without reading, plain errors."""

import gzip
import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import token_writers as write
import yaml
import zstandard
from tokenizers import Tokenizer, models

from mixopt.corpus import (
    SPLITS,
    CorpusSpec,
    build_corpus,
    count_megatron_tokens,
    expected_tokens,
    metadata_tokens,
)
from mixopt.corpus.sources import domain_files, manifest_digest, read_domain
from mixopt.corpus.token_files import Vocabulary
from mixopt.errors import CorpusError

END = 0
KNOWN = Vocabulary(1000, END)


def documents(count=40, seed=0, length=30):
    """Ids from 1 to 999, an end after each document."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(length // 2, 2 * length, count)
    return [[*rng.integers(1, 1000, n).tolist(), END] for n in sizes]


def spec_of(root, sources, **changes):
    """A corpus of token files, a domain per source."""
    domains = {name: {"sources": [source]} for name, source in sources.items()}
    ids = {"vocab_size": 1000, "end_of_document": END}
    settings = {"name": "ids", "context": 8, "root": root, "tokenizer": {"ids": ids}}
    split = {"validation": 0.2, "confirmation": 0.2}
    return CorpusSpec.model_validate({**settings, "split": split, "domains": domains, **changes})


def read(root, limit=None, **source):
    spec = spec_of(root, {"web": source}).domains["web"]
    files = domain_files("web", spec, root)
    found = read_domain("web", spec, files, 0, limit, KNOWN)
    return [(d.key, d.content.tolist()) for d in found]


DOCS = documents(40)
FORMATS = {
    "megatron": ("web_text_document.idx", lambda f: write.megatron(f / "web_text_document", DOCS)),
    "megatron by its data": ("web.bin", lambda f: write.megatron(f / "web", DOCS, "<i4", 4)),
    "megatron by its prefix": ("web", lambda f: write.megatron(f / "web", DOCS, sequences=3)),
    "mds": ("mds", lambda f: write.mds(f / "mds", DOCS, per_shard=15)),
    "mds of any type": ("mds/index.json", lambda f: write.mds(f / "mds", DOCS, "ndarray")),
    "mds, zstd": ("mds", lambda f: write.mds(f / "mds", DOCS, pack=("zstd", zstandard.compress))),
    "mds, gz": ("mds", lambda f: write.mds(f / "mds", DOCS, pack=("gz", gzip.compress))),
    "parquet": ("*.parquet", lambda f: write.parquet(f / "a.parquet", DOCS)),
    "arrow": ("*.arrow", lambda f: write.arrow(f / "a.arrow", DOCS)),
    "arrow stream": ("*.arrow", lambda f: write.arrow(f / "a.arrow", DOCS, stream=True)),
    "npy": ("web.npy", lambda f: np.save(f / "web.npy", write.flat(DOCS))),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_same_documents_and_is_counted_unread(tmp_path, name):
    pattern, make = FORMATS[name]
    make(tmp_path)
    found = read(tmp_path, tokens=pattern)
    assert [ids for _, ids in found] == DOCS
    assert len({key for key, _ in found}) == len(DOCS)
    counted = metadata_tokens(spec_of(tmp_path, {"web": {"tokens": pattern}}))
    assert counted == {"web": sum(map(len, DOCS))}


def test_ids_without_a_header_need_their_type(tmp_path):
    """As OLMo-core's ``.npy`` and plain ``.bin`` files are."""
    for name in ("part.npy", "train.bin"):
        write.flat(DOCS, "<u4").tofile(tmp_path / name)
        assert [ids for _, ids in read(tmp_path, tokens=name, dtype="uint32")] == DOCS
        with pytest.raises(CorpusError, match=rf"{name} does not say the type of its ids"):
            read(tmp_path, tokens=name)
    (tmp_path / "odd.npy").write_bytes(b"12345")
    with pytest.raises(CorpusError, match="must hold whole ids of 4 bytes, got 5 bytes"):
        read(tmp_path, tokens="odd.npy", dtype="uint32")


def test_rows_of_one_length_are_counted_by_the_index_alone(tmp_path):
    rows = [ids[:12] for ids in DOCS]
    folder = write.mds(tmp_path / "mds", rows, "ndarray:int32:12")
    assert [ids for _, ids in read(tmp_path, tokens="mds")] == rows
    for shard in folder.glob("*.mds"):
        shard.unlink()
    assert metadata_tokens(spec_of(tmp_path, {"web": {"tokens": "mds"}})) == {"web": 12 * 40}
    np.save(tmp_path / "rows.npy", np.array(rows, np.int64))
    assert [ids for _, ids in read(tmp_path, tokens="rows.npy")] == rows


def test_bytes_of_an_mds_column_are_read_by_their_type(tmp_path):
    write.mds(tmp_path / "mds", DOCS, "bytes")
    assert [ids for _, ids in read(tmp_path, tokens="mds", dtype="int32")] == DOCS
    with pytest.raises(CorpusError, match=r"must have a column of ids .* got 'bytes'"):
        read(tmp_path, tokens="mds")


def test_empty_rows_are_counted_as_nothing_and_left_out(tmp_path):
    rows = [DOCS[0], [], DOCS[1], None, [END], DOCS[2]]
    write.parquet(tmp_path / "a.parquet", rows)
    assert [ids for _, ids in read(tmp_path, tokens="a.parquet")] == DOCS[:3]
    counted = metadata_tokens(spec_of(tmp_path, {"web": {"tokens": "a.parquet"}}))
    assert counted == {"web": sum(map(len, DOCS[:3])) + 1}


def test_groups_of_rows_stay_together_and_long_documents_are_cut(tmp_path):
    repo = [f"repo{i // 4}" for i in range(40)]
    write.parquet(tmp_path / "a.parquet", DOCS, repo=repo)
    write.arrow(tmp_path / "b.arrow", DOCS, repo=repo)
    for pattern in ("a.parquet", "b.arrow"):
        found = read(tmp_path, tokens=pattern, group_field="repo")
        assert [key for key, _ in found] == [f"repo={name}" for name in repo]
    pieces = read(tmp_path, limit=40, tokens="a.parquet")
    assert all(len(ids) <= 10 for _, ids in pieces)
    assert [i for _, ids in pieces for i in ids] == [i for ids in DOCS for i in ids]
    with pytest.raises(CorpusError, match="has no column 'owner'; its columns are"):
        read(tmp_path, tokens="a.parquet", group_field="owner")
    np.save(tmp_path / "c.npy", write.flat(DOCS))
    with pytest.raises(CorpusError, match="must hold a text or a number under 'repo' in row 0"):
        read(tmp_path, tokens="c.npy", group_field="repo")


def test_a_corpus_of_token_files_holds_every_document_once(tmp_path):
    other = documents(35, seed=1)
    write.megatron(tmp_path / "web", DOCS)
    # Documents without an end get one.
    write.parquet(tmp_path / "code.parquet", [ids[:-1] for ids in other])
    sources = {"web": {"tokens": "web.idx"}, "code": {"tokens": "code.parquet"}}
    spec = spec_of(tmp_path, sources)
    corpus = build_corpus(spec, tmp_path / "out")
    assert (corpus.vocab_size, corpus.end_of_text, corpus.tokenizer_path) == (1000, END, None)
    for name, asked in (("web", DOCS), ("code", other)):
        found = []
        for split in SPLITS:
            ids = corpus.tokens(name, split)
            assert ids[-1] == END
            parts = np.split(ids, np.flatnonzero(ids == END) + 1)[:-1]
            assert len(parts) == corpus.documents(name, split) >= 2
            found += [part.tolist() for part in parts]
        assert sorted(found) == sorted(asked)
    corpus.verify()
    for name, expected in expected_tokens(spec).items():
        # Held-out documents are whole, so their share is not exact.
        assert corpus.count(name, "train") == pytest.approx(expected, rel=0.25)
    assert corpus.bytes_per_token("web", "train") is None
    moved = spec_of(tmp_path / "copy", sources)
    (tmp_path / "copy").mkdir()
    for file in [*tmp_path.glob("web.*"), tmp_path / "code.parquet"]:
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    assert build_corpus(moved, tmp_path / "again").fingerprint == corpus.fingerprint


def test_copies_of_held_out_documents_never_stay_in_training(tmp_path):
    copies = [DOCS[i] for i in range(8)]
    near = [[*ids[:20], 7, *ids[20:]] for ids in documents(8, seed=5, length=200)]
    far = documents(8, seed=5, length=200)
    write.megatron(tmp_path / "web", [*DOCS, *far])
    np.save(tmp_path / "code.npy", write.flat([*copies, *near, *documents(30, seed=2)]))
    spec = spec_of(tmp_path, {"web": {"tokens": "web"}, "code": {"tokens": "code.npy"}})
    corpus = build_corpus(spec, tmp_path / "out")
    assert corpus.index.exact_duplicates == {"web": 0, "code": 8}
    assert corpus.index.near_duplicates == {"web": 0, "code": 8}


def test_a_cap_on_bytes_reads_a_sample_of_the_whole(tmp_path):
    write.megatron(tmp_path / "web", DOCS)
    spec = spec_of(tmp_path, {"web": {"tokens": "web.idx"}}).domains["web"]
    spec = spec.model_copy(update={"max_bytes": 4 * 300})
    files = domain_files("web", spec, tmp_path)
    found = read_domain("web", spec, files, 0, None, KNOWN)
    assert 300 <= sum(len(d.content) for d in found) < 300 + 61
    numbers = [int(d.key.rsplit(":")[-1]) for d in found]
    assert numbers != sorted(numbers)
    again = read_domain("web", spec, files, 0, None, KNOWN)
    assert [d.key for d in again] == [d.key for d in found]


def test_text_and_token_files_share_a_given_tokenizer(tmp_path):
    words = {"<|endoftext|>": END, **{f"w{i}": i for i in range(1, 1000)}}
    given = Tokenizer(models.WordLevel(words, "w1"))
    given.save(str(tmp_path / "tok.json"))
    write.megatron(tmp_path / "web", DOCS)
    for i in range(30):
        (tmp_path / f"{i}.txt").write_text(f"w{i + 5}" * 40)
    tokenizer = {"tokenizer": {"path": "tok.json"}, "context": 1}
    sources = {"web": {"tokens": "web", "tokenizer": "tok.json"}, "text": {"glob": "*.txt"}}
    corpus = build_corpus(spec_of(tmp_path, sources, **tokenizer), tmp_path / "out")
    assert (corpus.vocab_size, corpus.end_of_text) == (1000, END)
    with pytest.raises(CorpusError, match="'text' is of text, whose tokens are known once"):
        metadata_tokens(spec_of(tmp_path, sources, **tokenizer))
    given.add_tokens(["more"])
    given.save(str(tmp_path / "other.json"))
    sources["web"]["tokenizer"] = "other.json"
    says = r"one tokenizer, but other\.json of domain 'web' is not tok\.json of the corpus"
    with pytest.raises(CorpusError, match=says):
        build_corpus(spec_of(tmp_path, sources, **tokenizer), tmp_path / "no")


def test_domains_that_never_end_a_document_are_warned_of(tmp_path, caplog):
    write.megatron(tmp_path / "web", DOCS)
    write.megatron(tmp_path / "code", [ids[:-1] for ids in documents(40, seed=3)])
    spec = spec_of(tmp_path, {"web": {"tokens": "web"}, "code": {"tokens": "code"}})
    with caplog.at_level(logging.WARNING):
        build_corpus(spec, tmp_path / "out")
    assert "files of domain 'code' never hold the end-of-document id 0" in caplog.text
    assert "files of domain 'web' never" not in caplog.text


def test_a_changed_token_file_is_noticed(tmp_path, monkeypatch):
    write.megatron(tmp_path / "web", DOCS)
    write.mds(tmp_path / "mds", DOCS)
    spec = spec_of(tmp_path, {"web": {"tokens": "web"}, "mds": {"tokens": "mds"}})
    files = {name: domain_files(name, domain, tmp_path) for name, domain in spec.domains.items()}
    whole = manifest_digest(files)
    monkeypatch.setattr("mixopt.corpus.token_files._HASHED_WHOLE", 100)
    monkeypatch.setattr("mixopt.corpus.token_files._BLOCK", 64)
    marks = {whole, manifest_digest(files)}
    for name in ("web.bin", "mds/shard.00000.mds", "web.idx"):
        data = bytearray((tmp_path / name).read_bytes())
        data[-1] ^= 1
        (tmp_path / name).write_bytes(data)
        marks.add(manifest_digest(files))
    assert len(marks) == 5


class Files:
    """Whole files of three kinds, to be damaged."""

    def __init__(self, folder):
        self.folder = folder
        self.index = write.megatron(folder / "web", DOCS)
        self.data = self.index.with_suffix(".bin")
        self.mds = write.mds(folder / "mds", DOCS)
        self.shard, self.shards = self.mds / "shard.00000.mds", self.mds / "index.json"

    def web(self, docs=DOCS, *args, **kwargs):
        """Megatron's files written again."""
        write.megatron(self.folder / "web", docs, *args, **kwargs)

    def packed(self, name, compress):
        """Only packed shards."""
        write.mds(self.mds, DOCS, pack=(name, compress))
        self.shard.unlink()

    def array(self, ids):
        """A NumPy array on disk."""
        np.save(self.folder / "a.npy", ids)
        return self.folder / "a.npy"

    def table(self, **columns):
        """A Parquet file."""
        pq.write_table(pa.table(columns), self.folder / "a.parquet")


def cut(path, size):
    """A file without its last bytes."""
    path.write_bytes(path.read_bytes()[:-size])


def patch(path, old, new):
    """A file with some bytes replaced once."""
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new, 1))


def second_sequence_elsewhere(files):
    """An index whose second sequence does not begin where the first one ends."""
    head = files.index.read_bytes()
    files.index.write_bytes(head[:40] + b"\x01" + head[41:])


def more_samples_than_there_are(files):
    """An index that counts twenty samples in its first shard."""
    plain = json.loads(files.shards.read_text())
    plain["shards"][0]["samples"] = 20
    files.shards.write_text(json.dumps(plain))


def no_tables(files):
    """Files that only begin as tables do."""
    (files.folder / "a.parquet").write_bytes(b"PAR1 not at all")
    (files.folder / "a.arrow").write_bytes(b"ARROW1 not at all")


FAULTS = [
    (
        lambda f: cut(f.data, 3),
        "web",
        r"web\.bin must hold [\d,]+ bytes as its index says, got [\d,]+",
    ),
    (lambda f: f.data.unlink(), "web", r"web\.bin cannot be read: No such file"),
    (
        lambda f: cut(f.index, 200),
        "web",
        r"web\.idx must hold [\d,]+ bytes for its 40 sequences, got",
    ),
    (
        lambda f: patch(f.index, b"MMIDID", b"TNTIDX"),
        "web",
        r"web\.idx is not an index of Megatron's",
    ),
    (
        lambda f: f.web(version=2),
        "web",
        "has version 2 of Megatron's index; this mixopt reads 1",
    ),
    (lambda f: f.web(code=7), "web", "must be of integers, got float32"),
    (lambda f: f.web(code=99), "web", "must be of integers, got the unknown code 99"),
    (second_sequence_elsewhere, "web", "must have its sequences one after another"),
    (
        lambda f: f.web([*DOCS, [5, 1000, END]]),
        "web",
        "ids from 0 to 999, its vocabulary, got 1000 in document 40",
    ),
    (
        lambda f: f.web([[5, -100, END]], "<i4", 4),
        "web",
        "ids from 0 to 999, its vocabulary, got -100 in document 0",
    ),
    (lambda f: f.web([[END], [END]]), "web", "'web' is empty"),
    (
        lambda f: cut(f.shard, 9),
        "mds",
        r"shard\.00000\.mds must hold [\d,]+ bytes as its index says, got",
    ),
    (
        lambda f: f.packed("zstd", lambda data: zstandard.compress(data)[:-9]),
        "mds",
        r"must hold [\d,]+ bytes as its index says|cannot be read",
    ),
    (
        lambda f: f.packed("br", lambda data: data),
        "mds",
        "is compressed with br; this mixopt reads gz, zstd",
    ),
    (
        lambda f: patch(f.shards, b'"format": "mds"', b'"format": "jsonl"'),
        "mds",
        "has shards of jsonl 2; this mixopt reads mds 2",
    ),
    (lambda f: f.shards.write_text("[]"), "mds", "is not an index of MDS shards"),
    (more_samples_than_there_are, "mds", "does not hold the 20 samples that its index says"),
    (
        lambda f: write.mds(f.mds, DOCS, "ndarray:float32"),
        "mds",
        r"must have a column of ids .* got 'ndarray:float32'",
    ),
    (
        lambda f: f.array(write.flat([ids[:-1] for ids in DOCS])),
        "a.npy",
        r"holds no end-of-document id 0 among its [\d,]+ tokens",
    ),
    (
        lambda f: f.array(np.ones(5)),
        "a.npy",
        "must be of integers in one or two dimensions, got float64 in 1",
    ),
    (
        lambda f: cut(f.array(write.flat(DOCS)), 50),
        "a.npy",
        "is not a whole array of numbers",
    ),
    (
        lambda f: f.table(input_ids=["a", "b"]),
        "a.parquet",
        "must have lists of integers under 'input_ids', got string",
    ),
    (
        lambda f: f.table(ids=[[1], [2]], n=[1, 2]),
        "a.parquet",
        "no column 'input_ids' or 'tokens'; its columns are ids, n",
    ),
    (
        lambda f: f.table(tokens=[[1, None]]),
        "a.parquet",
        "must have no missing ids under 'tokens'",
    ),
    (no_tables, "a.parquet", "is not a Parquet file"),
    (no_tables, "a.arrow", "is not an Arrow file"),
]


@pytest.mark.parametrize(("damage", "pattern", "says"), FAULTS)
def test_a_damaged_file_is_named_in_one_sentence(tmp_path, damage, pattern, says):
    damage(Files(tmp_path))
    with pytest.raises(CorpusError, match=says) as caught:
        read(tmp_path, tokens=pattern)
    assert caught.value.message.startswith("Domain 'web'")
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_what_a_prefix_holds_is_counted(tmp_path):
    write.megatron(tmp_path / "web", DOCS)
    assert count_megatron_tokens(tmp_path / "web") == sum(map(len, DOCS))
    assert count_megatron_tokens(tmp_path / "none") is None


IDS = {"ids": {"vocab_size": 1000, "end_of_document": 0}}


@pytest.mark.parametrize(
    ("tokenizer", "source", "says"),
    [
        ({"train": {"vocab_size": 300}}, {"tokens": "a"}, "'a' is of token files, whose tokenizer"),
        (IDS, {"glob": "*.txt"}, "'a' is of text, which `tokenizer.ids` cannot tokenise"),
        ({"ids": {"vocab_size": 9, "end_of_document": 9}}, {"tokens": "a"}, "below vocab_size = 9"),
        ({**IDS, "path": "tok.json"}, {"tokens": "a"}, "exactly one of `path`, `train` and `ids`"),
        (IDS, {"glob": "*.txt", "dtype": "uint16"}, "`dtype` belongs to a `tokens` source"),
        (IDS, {"tokens": "a", "dtype": "float32"}, "dtype"),
        (IDS, {"tokens": "a", "jsonl": "b"}, "a source needs exactly one of"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(tmp_path, tokenizer, source, says):
    plain = {"name": "n", "context": 8, "tokenizer": tokenizer}
    plain["domains"] = {"a": {"sources": [source]}}
    (tmp_path / "corpus.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    with pytest.raises(CorpusError, match=says):
        CorpusSpec.from_yaml(tmp_path / "corpus.yaml")


def test_a_spec_of_text_alone_keeps_its_digest():
    """A corpus that was built before token files could be read is still the corpus of its spec."""
    spec = CorpusSpec.model_validate(
        {"name": "n", "context": 8, "domains": {"a": {"sources": [{"glob": "*.txt"}]}}}
    )
    assert spec.digest().startswith("0d8b2489e5e22898")
