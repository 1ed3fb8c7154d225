"""Installed text: what is taken, what is left out, and no imports along the way."""

import subprocess
import sys

import pytest

from mixopt.corpus.installed import docstrings, installed_files, package_root, read_installed
from mixopt.errors import CorpusError

LONG = "word " * 80


def test_docstrings_are_those_of_modules_classes_and_functions():
    source = (
        f'# comment\n\nr"""Module {LONG}"""\nvalue = """not {LONG}"""\n'
        f"class A(B):  # why\n    '''single {LONG}'''\n"
        f'    def f(\n        self,\n    ) -> int:\n        """Function.\n\n        {LONG}"""\n'
        f'    def g(self):\n        """Short."""\n'
        f'    def h(self):\n        """Doctest {LONG}\n        >>> 1\n        """\n'
    )
    found = list(docstrings(source))
    assert [text.split()[0] for text in found] == ["Module", "Function."]
    assert found[1].startswith("Function.\n\nword")


@pytest.mark.parametrize("kind", ["python", "cpp", "prose", "stubs", "data"])
def test_keys_do_not_depend_on_the_environment(kind):
    files = installed_files(kind)
    assert len(files) > 20
    keys = [key for key, _ in files]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert not any(
        key.startswith("/") or "site-packages" in key or "/tests/" in key for key in keys
    )


def test_generated_headers_licences_and_machine_settings_are_left_out():
    assert not any("ATen/ops/" in key for key, _ in installed_files("cpp"))
    assert any("ATen/core/" in key for key, _ in installed_files("cpp"))
    prose = [path.name.lower() for _, path in installed_files("prose") if path.suffix != ".py"]
    assert prose
    assert not any("license" in name for name in prose)
    keys = [key for key, _ in installed_files("python")]
    assert "stdlib/json/decoder.py" in keys
    assert not any("_sysconfigdata" in key or "/encodings/" in key for key in keys)


def test_a_file_that_is_not_text_gives_nothing(tmp_path):
    (tmp_path / "a.py").write_bytes(b"# -*- coding: latin-1 -*-\n# \xe9\n")
    assert list(read_installed("python", tmp_path / "a.py")) == []


def test_a_package_that_is_missing_is_named():
    with pytest.raises(CorpusError, match="'no_such_package' must be installed"):
        package_root("no_such_package")
    with pytest.raises(CorpusError, match="'no_such_package' must be installed"):
        installed_files("stubs", ("no_such_package",))


def test_finding_files_imports_no_package():
    code = (
        "import sys; from mixopt.corpus.installed import installed_files\n"
        "for kind in ('cpp', 'prose', 'stubs', 'data'): assert installed_files(kind)\n"
        "heavy = {'torch', 'pandas', 'ray', 'sympy', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
