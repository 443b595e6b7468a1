"""Archives with any bytes in them: read, or refused by the errors that are documented, in bounded
time and memory."""

import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data.datasets.formats import archives, fields, json_stream, tars
from pipeline.data.datasets.formats.archives import BadMember, FileSlice, Tree
from pipeline.data.datasets.formats.fields import BadRecord
from pipeline.data.records import Rejected
from pipeline.data.sharding import record_reader
from pipeline.errors import UserError
from tests.helpers.official_forms import jpeg, karpathy, tar_bytes

BLOCK = 512
KINDS = b"0\x001234567LKxgSVDMNXA\xff"


def header(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    """A header of 512 bytes with a right checksum, whatever size it claims."""
    block = bytearray(BLOCK)
    block[: min(len(name), 100)] = name[:100]
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    if 0 <= size < 8**11:
        block[124:136] = b"%011o\0" % size
    else:
        sign = b"\x80" if size >= 0 else b"\xff"
        block[124:136] = sign + (size % (1 << 88)).to_bytes(11, "big")
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", len(records), kind) + records + bytes(-len(records) % BLOCK)


def pax_record(name: str, value: str) -> bytes:
    rest = f" {name}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest)
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


SIZES = st.sampled_from([0, 1, 5, 511, 512, 4096, 2**33, 4 << 60, -1, -512, -(2**40)])
HEADERS = st.builds(
    lambda name, size, kind, body: header(name, size, kind) + body + bytes(-len(body) % BLOCK),
    st.binary(max_size=30) | st.sampled_from([b"././@LongLink", b"a.tar", b"n01_1.JPEG"]),
    SIZES,
    st.integers(0, len(KINDS) - 1).map(lambda index: KINDS[index : index + 1]),
    st.binary(max_size=40),
)
NAMES = ["size", "path", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.map", "hdrcharset"]
PAX_VALUES = ["1", "0", "-5", "x", "9" * 30, "BINARY", "1,2,3", "a\n5 b=", "\udcff"]
PAX = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(PAX_VALUES)), max_size=4).map(
    lambda records: pax(b"".join(pax_record(*record) for record in records))
)
BLOCKS = st.lists(HEADERS | PAX | st.binary(max_size=20).map(pax), max_size=5).map(b"".join)


def read_both_ways(data: bytes) -> None:
    """Whole members may be unusable; the tar may be refused; nothing else happens."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tar")
        path.write_bytes(data)
        try:
            for _, member in tars.in_tar(archives.whole_file(path)):
                try:
                    assert len(member.read()) == member.size
                except BadMember:
                    continue
        except tarfile.TarError:
            pass
    try:
        for _, stream, size in tars.in_stream(io.BytesIO(data)):
            try:
                tars.load_member(stream, size).read()
            except BadMember:
                continue
    except tarfile.TarError:
        pass


@settings(max_examples=200)
@given(BLOCKS, st.booleans())
@example(header(b"a", 4 << 60) + b"x" * BLOCK, True)  # took millenia to skip
@example(header(b"a", -1024) + header(b"b", 0), True)
@example((header(b"././@LongLink", 5, b"L") + b"n" * BLOCK) * 3000 + header(b"a", 0), True)
@example(pax(b"11 size=-5\n") + header(b"a", 0), True)
@example(header(b"a", 512, b"S") + b"x" * BLOCK, True)
@example(pax(pax_record("GNU.sparse.map", "x")) + header(b"a", 0), True)
def test_any_headers(blocks, ended):
    read_both_ways(blocks + bytes(2 * BLOCK) * ended)


@settings(max_examples=100)
@given(st.data())
def test_any_damage_to_a_tar(data):
    whole = bytearray(tar_bytes({"n01/a.JPEG": b"x" * 600, "b" * 150: b"y"}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, 3 * BLOCK))] = data.draw(st.integers(0, 255))
    read_both_ways(bytes(whole[: data.draw(st.sampled_from([None, 700, 1500]))]))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
@pytest.mark.parametrize("size", [1 << 20, 8 << 30, 4 << 60])
def test_long_headers_are_refused_by_their_claim(kind, size):
    class Counting(io.BytesIO):
        longest = 0

        def read(self, size=-1):
            self.longest = max(self.longest, size)
            return super().read(size)

    stream = Counting(header(b"././@LongLink", size, kind) + b"n" * (2 << 20))
    with pytest.raises(tarfile.TarError, match=f"a header of {size} bytes"):
        list(tars.in_stream(stream))
    assert stream.longest <= 1 << 20


@pytest.mark.parametrize("name", ["fall11_whole.tar", "winter21_whole.tar.gz"])
def test_a_refused_tar_of_a_synset_costs_no_other(tmp_path, name):
    inner = {
        "n01.tar": pax(b"1" * 100_000) + header(b"a", 0),
        "n02.tar": header(b"a", 512, b"S") + b"x" * BLOCK,
        "n03.tar": header(b"n03_1.JPEG", 4 << 60),
        "n04.tar": tar_bytes({"n04_1.JPEG": b"x"}),
    }
    (tmp_path / name).write_bytes(tar_bytes(inner, "w:gz" if name.endswith("gz") else "w"))
    records = list(record_reader.read("imagenet22k", tmp_path))
    assert [record.key for record in records] == ["n01", "n02", "n03", "n04_1"]
    assert {r.reason.partition(":")[0] for r in records if isinstance(r, Rejected)} == {
        "damaged tar"
    }


def test_an_outer_tar_with_an_absurd_claim_is_one_line(tmp_path):
    bomb = gzip.compress(header(b"n01.tar", 4 << 60) + b"x" * BLOCK)
    (tmp_path / "winter21_whole.tar.gz").write_bytes(bomb)
    with pytest.raises(UserError, match="a member of 4611686018427387904 bytes"):
        list(record_reader.read("imagenet22k", tmp_path))


def test_members_without_number_do_not_fill_the_memory(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(header(b"a.JPEG", 0) * 10_000)
    for read in (lambda: tars.in_tar(archives.whole_file(path)), lambda: tars.in_stream(path)):
        tracemalloc.start()
        try:
            count = sum(1 for _ in read())
            assert count == 10_000 and tracemalloc.get_traced_memory()[1] < 4e6
        finally:
            tracemalloc.stop()


@given(st.data())
def test_any_damage_to_a_zip(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", data.draw(st.sampled_from([0, 8, 12, 14]))) as archive:
        archive.writestr("in/a.jpg", b"a" * 60)
        archive.writestr("in/caf\xe9.jpg", b"b")
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.zip")
        path.write_bytes(bytes(whole[: data.draw(st.sampled_from([None, 40, len(whole) - 5]))]))
        try:
            with Tree(path, "in/") as tree:
                for name in tree.names():
                    try:
                        assert len(tree.read(name)) == tree.size(name)
                    except BadMember:
                        continue
            with json_stream.open_text(path, "a.jpg") as stream:
                stream.read()
        except (zipfile.BadZipFile, FileNotFoundError):
            pass


@pytest.mark.parametrize("content", [b"[", b"1", b'"x', b"[]", b"{", b'{"a":', b" ", b"\xff"])
def test_json_that_expands_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch, content):
    monkeypatch.setattr(json_stream, "LARGEST", 1 << 18)
    monkeypatch.setattr(json_stream, "_CHUNK", 1 << 14)
    monkeypatch.setattr(json_stream, "_DEEPEST", 1 << 12)
    monkeypatch.setattr(fields, "_MOST_DAMAGED", 100)
    for folder in ("train2014", "val2014"):
        (tmp_path / folder).mkdir()
    with zipfile.ZipFile(tmp_path / "caption_datasets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset_coco.json", b'{"images":[' + content * (1 << 22))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="not Karpathy's split of coco") as error:
            list(record_reader.read("coco", tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 6e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)


def test_many_damaged_records_are_left_out_where_more_are_good(monkeypatch):
    monkeypatch.setattr(fields, "_MOST_DAMAGED", 3)

    def parse(item):
        if item is None:
            raise BadRecord("damaged record: null")
        return item

    items = [1, 1, None] * 20
    assert sum(isinstance(r, Rejected) for r in fields.parsed(items, parse, "f")) == 20
    with pytest.raises(ValueError, match="4 of the first 4 records are damaged"):
        list(fields.parsed([None] * 9, parse, "f"))


@pytest.mark.parametrize("reason", ["encrypted", "unknown method"])
def test_zips_that_cannot_be_read_are_one_line(tmp_path, reason):
    for folder in ("train2014", "val2014"):
        (tmp_path / folder).mkdir()
    (tmp_path / "train2014/1.jpg").write_bytes(jpeg())
    path = tmp_path / "caption_datasets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dataset_coco.json", json.dumps({"images": [karpathy(1)]}))
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\1\2")
    where = (6, 8) if reason == "encrypted" else (8, 10)
    data[where[0]] = data[central + where[1]] = 1 if reason == "encrypted" else 77
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match="caption_datasets.zip"):
        list(record_reader.read("coco", tmp_path))


def test_a_file_that_shrinks_while_it_is_read_is_cut_short(tmp_path):
    (tmp_path / "a").write_bytes(b"xy")
    with pytest.raises(BadMember, match="cut short"):
        FileSlice(tmp_path / "a", 1, 2).read()
