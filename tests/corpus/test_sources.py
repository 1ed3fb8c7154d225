"""Readers: the same text from every format, and errors that name domain, file and line."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mixopt.corpus.sources import domain_files, manifest_digest, read_domain
from mixopt.corpus.spec import DomainSpec
from mixopt.errors import CorpusError

TEXTS = ["first text", "größer — zweiter", "third\nwith lines"]


def read(root, limit=None, **source):
    spec = DomainSpec.model_validate({"sources": [source]})
    return read_domain("mail", spec, domain_files("mail", spec, root), 0, limit)


def lines(field="text"):
    rows = [json.dumps({field: text, "id": i}) for i, text in enumerate(TEXTS)]
    return ("\n".join([*rows[:2], "", rows[2]]) + "\n").encode()


@pytest.fixture
def formats(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines())
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines("body"), mtime=0))
    half = len(lines()) // 2
    compress = zstandard.ZstdCompressor().compress
    # Two frames, the first ending inside a line, and no line break at the end.
    packed = compress(lines()[:half]) + compress(lines()[half:].rstrip())
    (tmp_path / "c.jsonl.zst").write_bytes(packed)
    pq.write_table(pa.table({"id": [1, 2, 3], "body": TEXTS}), tmp_path / "d.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ({"jsonl": "a.jsonl"}, ["a.jsonl:1", "a.jsonl:2", "a.jsonl:4"]),
        ({"jsonl": "*.gz", "text_field": "body"}, ["b.jsonl.gz:1", "b.jsonl.gz:2", "b.jsonl.gz:4"]),
        ({"jsonl": ["*.zst"]}, ["c.jsonl.zst:1", "c.jsonl.zst:2", "c.jsonl.zst:4"]),
        ({"parquet": "*.parquet", "text_field": "body"},
         ["d.parquet:0", "d.parquet:1", "d.parquet:2"]),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_documents(formats, source, keys):
    documents = read(formats, **source)
    assert [d.text for d in documents] == TEXTS
    assert [d.key for d in documents] == keys


def test_keys_start_after_the_fixed_part_of_a_pattern(tmp_path):
    (tmp_path / "x" / "deep").mkdir(parents=True)
    (tmp_path / "x" / "deep" / "one.md").write_text("one")
    (tmp_path / "x" / "two.md").write_text("two")
    found = domain_files(
        "mail", DomainSpec.model_validate({"sources": [{"glob": str(tmp_path / "x/**/*.md")},
                                                       {"files": "x/two.md"}]}), tmp_path
    )  # fmt: skip
    # A file named twice is read once.
    assert [file.key for file in found] == ["deep/one.md", "two.md"]


def test_cuts_keep_whole_characters_and_lone_surrogates_become_text(tmp_path):
    (tmp_path / "a.txt").write_text("ää" * 10)
    assert read(tmp_path, limit=7, glob="*.txt")[0].text == "äää"
    (tmp_path / "b.jsonl").write_text('{"text": "x\\ud800y"}')
    assert read(tmp_path, jsonl="*.jsonl")[0].text == "x?y"


def test_the_manifest_notices_content_and_names(formats):
    spec = DomainSpec.model_validate({"sources": [{"jsonl": "*.jsonl*", "text_field": "text"}]})

    def digest():
        return manifest_digest({"mail": domain_files("mail", spec, formats)})

    before = digest()
    assert digest() == before
    (formats / "a.jsonl").write_bytes(lines().replace(b"first", b"frist"))
    changed = digest()
    assert changed != before
    (formats / "a.jsonl").rename(formats / "e.jsonl")
    assert digest() not in (before, changed)


@pytest.mark.parametrize(
    ("name", "content", "source", "message"),
    [
        ("a.txt", b"ok \xff", {"glob": "*.txt"}, r"'mail': .*a\.txt must be UTF-8, but byte 3"),
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', {"jsonl": "a.jsonl"},
         r"'mail': .*a\.jsonl:2 is not JSON: Expecting value at column"),
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', {"jsonl": "a.jsonl"},
         r"'mail': .*a\.jsonl:2 must hold text under 'text', got nothing"),
        ("a.jsonl", b'{"text": 7}\n', {"jsonl": "a.jsonl"}, r":1 must hold text .* got int"),
        ("a.jsonl", b"[1]\n", {"jsonl": "a.jsonl"}, r":1 must hold text .* got nothing"),
        ("a.jsonl", b'\n{"text": "\xff"}\n', {"jsonl": "a.jsonl"}, r"a\.jsonl:2 must be UTF-8"),
        ("a.jsonl.gz", gzip.compress(lines(), mtime=0)[:-9], {"jsonl": "*.gz"},
         r"'mail': .*a\.jsonl\.gz cannot be read"),
        ("a.jsonl.gz", b"plain", {"jsonl": "*.gz"}, r"cannot be read: Not a gzipped file"),
        ("a.jsonl.zst", zstandard.ZstdCompressor().compress(lines())[:-3], {"jsonl": "*.zst"},
         r"a\.jsonl\.zst cannot be read: .* ends before its end mark"),
        ("a.jsonl.zst", b"plain", {"jsonl": "*.zst"}, r"a\.jsonl\.zst cannot be read"),
        ("a.parquet", b"PAR1 no", {"parquet": "*.parquet"}, r"a\.parquet is not a Parquet file"),
        ("a.txt", b" \n", {"glob": "*.txt"}, "'mail' is empty: its 1 files hold no text"),
        ("a.txt", b"x", {"glob": "*.rst"}, r"'mail': the pattern '\*\.rst' matches no file"),
        ("a.txt", b"x", {"files": "b.txt"}, r"'mail': .*b\.txt cannot be read: No such file"),
        ("a.txt", b"x", {"files": "."}, "cannot be read: Is a directory"),
    ],
)  # fmt: skip
def test_a_file_at_fault_is_named(tmp_path, name, content, source, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read(tmp_path, **source)


def test_a_parquet_file_without_the_column_or_with_a_hole_is_named(tmp_path):
    pq.write_table(pa.table({"body": ["x", None]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet has no column 'text'; its columns are body"):
        read(tmp_path, parquet="*.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet row 1 must hold text under 'body'"):
        read(tmp_path, parquet="*.parquet", text_field="body")
