"""Trunks in an object store that speaks S3."""

import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSystem

from mixopt.proxy import ProxyTrainer

from .conftest import run
from .test_branch import OTHER, RICH, straight, two_phase


@pytest.fixture(scope="module")
def bucket():
    """The URI of an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "any")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "any")
        where = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        files, _ = FileSystem.from_uri(f"s3://runs/?{where}&allow_bucket_creation=true")
        files.create_dir("runs")
        yield f"s3://runs/study/trunks?{where}", files
    server.stop()


def test_an_ending_branches_off_a_trunk_in_a_bucket(corpus, settings, bucket, caplog):
    place, files = bucket
    expected = straight(corpus, settings, two_phase(OTHER))
    assert run(ProxyTrainer(corpus, settings, place), two_phase(RICH)) == straight(
        corpus, settings, two_phase(RICH)
    )
    other = ProxyTrainer(corpus, settings, place)
    assert run(other, two_phase(OTHER)) == expected
    assert other.last_run.tokens_reused == 35 * 64
    # Damaged, it is trained again.
    (trunk,) = (f.path for f in files.get_file_info(selector("runs/study/trunks")) if f.is_file)
    with files.open_output_stream(trunk) as stream:
        stream.write(b"half a file")
    assert run(other, two_phase(OTHER)) == expected
    assert other.last_run.tokens_reused == 0
    assert "cannot be read and is removed" in caplog.text


def test_a_bucket_that_is_away_costs_the_trunk_only(corpus, settings, bucket, caplog):
    place = bucket[0].replace("s3://runs/", "s3://nowhere/")
    trial = two_phase(RICH)
    assert run(ProxyTrainer(corpus, settings, place), trial) == straight(corpus, settings, trial)
    assert "is not kept" in caplog.text


def selector(folder):
    from pyarrow.fs import FileSelector

    return FileSelector(folder)
