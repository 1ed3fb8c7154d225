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
    assert [d.content for d in documents] == TEXTS
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
    assert [d.content for d in read(tmp_path, limit=7, glob="*.txt")] == ["äää"] * 6 + ["ää"]
    assert [d.content for d in read(tmp_path, limit=1, glob="*.txt")] == ["ä"] * 20
    (tmp_path / "b.jsonl").write_text('{"text": "x\\ud800y"}')
    assert read(tmp_path, jsonl="*.jsonl")[0].content == "x?y"


def test_pieces_end_with_a_line_where_one_ends_late(tmp_path):
    (tmp_path / "a.txt").write_text("one two\nthree four\nfive")
    pieces = read(tmp_path, limit=12, glob="*.txt")
    assert [d.content for d in pieces] == ["one two\n", "three four\n", "five"]
    assert {d.key for d in pieces} == {"a.txt"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_of_one_group_share_a_key(tmp_path, kind):
    rows = [{"text": f"text {i}", "repository": ["x", 7, "x"][i]} for i in range(3)]
    if kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    else:
        names = [str(row["repository"]) for row in rows]
        table = pa.table({"text": [row["text"] for row in rows], "repository": names})
        pq.write_table(table, tmp_path / "a.parquet")
    source = {kind: f"a.{kind}", "group_field": "repository"}
    keys = [d.key for d in read(tmp_path, **source)]
    assert keys == ["repository=x", "repository=7", "repository=x"]
    missing = "must hold a text or a number under 'owner', got nothing"
    if kind == "parquet":
        missing = r"has no column 'owner'(.|\n)*Set group_field to one of its columns"
    with pytest.raises(CorpusError, match=missing):
        read(tmp_path, **{**source, "group_field": "owner"})


def test_no_single_file_fills_max_bytes(tmp_path):
    for name in "abcd":
        rows = [json.dumps({"text": f"{name} {i:04}"}) for i in range(200)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows[: 10 if name == "a" else 200]))
    spec = DomainSpec.model_validate({"sources": [{"jsonl": "*.jsonl"}], "max_bytes": 1200})
    found = read_domain("mail", spec, domain_files("mail", spec, tmp_path), 0, None)
    counts = {name: sum(d.content.startswith(name) for d in found) for name in "abcd"}
    assert sum(len(d.content) for d in found) == 1200
    assert counts["a"] == 10
    # What the short file leaves goes to those read after it.
    assert all(counts[name] >= 42 for name in "bcd")


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
