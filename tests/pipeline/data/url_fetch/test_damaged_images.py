"""Fetched images that were damaged on the disk are not read as others."""

import pytest

from pipeline.data.datasets.formats import fetched_urls
from pipeline.data.url_fetch.journal import Journal, UrlResult
from pipeline.errors import UserError
from pipeline.utils import files

IMAGE = bytes(range(256))


@pytest.fixture
def root(tmp_path):
    files.write_json(tmp_path / "fetched/placeholders.json", [])
    journal = Journal(tmp_path / "fetched/train-00000.parquet")
    journal.add(UrlResult(0, "a", "http://x.example/a.jpg", "ok", 1, "a caption"), IMAGE)
    journal.finish(1)
    return tmp_path


def read(root):
    with fetched_urls.open_reader(root) as records:
        return [record for entry in fetched_urls.entries(root) for record in records(entry)]


def test_a_flipped_bit_of_an_image_names_the_file(root):
    [record] = read(root)
    assert record.image == IMAGE
    path = root / "fetched/train-00000.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(IMAGE) + 77] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"train-00000.parquet: damaged \(row group 0: .*CRC"):
        read(root)


@pytest.mark.parametrize("size", [0, 9, 300])
def test_a_file_that_is_cut_off_ends_in_one_line(root, size):
    path = root / "fetched/train-00000.parquet"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"train-00000.parquet: damaged \("):
        read(root)
