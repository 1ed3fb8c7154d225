import importlib.metadata
import json

import pytest

from mixopt.cli import main
from mixopt.export import EXPORTERS
from mixopt.tune import doctor


def test_the_doctor_tells_what_is_there_from_what_is_not(monkeypatch, capsys):
    known = {"psycopg": "3.2", "megatron-core": "0.1", "grain": "0.2.18"}

    def version(package):
        if package in known or package == "ray":
            return known.get(package, "2.60")
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", "--json"])
    found = {row["what"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["PostgreSQL"] == {"what": "PostgreSQL", "found": True, "says": "psycopg 3.2"}
    assert "pip install 'mixopt[service]'" in found["service"]["says"]
    assert found["Ray"]["says"] == "2.60, joins 10.0.0.1:6379"
    assert "checked with" in found["trainer megatron"]["says"]
    assert found["trainer maxtext"]["says"] == "grain 0.2.18"
    assert not found["trainer levanter"]["found"]
    assert {name.removeprefix("trainer ") for name in found} >= set(EXPORTERS) - {
        "schedule",
        "nanotron",
        "gpt-neox",
    }


def test_the_doctor_prints_a_table(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["doctor"])
    text = capsys.readouterr().out
    assert "CPU" in text
    assert "cores" in text
