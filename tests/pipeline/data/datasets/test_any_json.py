"""Whatever JSON stands where a record or a field of one should: the record is rejected or read, and
those beside it are read."""

import bz2
import copy
import io
import json
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.data.datasets import sbu
from pipeline.data.datasets.formats import json_stream
from pipeline.data.records import Rejected, UrlRow
from pipeline.data.sharding import build, record_reader
from pipeline.data.shards import parquet
from pipeline.errors import UserError
from tests.helpers.official_forms import FORMS, karpathy, tar_bytes

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**64), 10**400, 1e400, float("nan"), 1.5, -0.0]),
    st.text(st.characters(), max_size=8),  # half surrogates among them
    st.sampled_from(["\ud800", "a\nb", "\x00", "x" * 5000, "../../etc/passwd", "/", "."]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
DEEP = "DEEP"  # becomes 100,000 brackets


def paths(value: Any, path: tuple = ()) -> list[tuple]:
    """Of all values in a JSON value."""
    found = [path]
    if isinstance(value, (dict, list)):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            found += paths(value[key], (*path, key))
    return found


def replaced(record: Any, path: tuple, value: Any) -> Any:
    if not path:
        return value
    record = copy.deepcopy(record)
    inner = record
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return record


def records_of(source: str, write, items: list[Any]) -> list:
    with TemporaryDirectory() as folder:
        write(Path(folder), items)
        for path in Path(folder).glob("*.json"):
            path.write_bytes(path.read_bytes().replace(b'"DEEP"', b"[" * 99_999 + b"]" * 99_999))
        return list(record_reader.read(source, Path(folder)))


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@settings(max_examples=40)
@given(data=st.data())
def test_any_value_in_place_of_a_record_or_field_costs_that_record_alone(form, data):
    source, (good, write) = form[0], FORMS[form]
    path = data.draw(st.sampled_from(paths(good)))
    bad = replaced(good, path, data.draw(VALUES))
    records = records_of(source, write, [good, bad])
    assert any(not isinstance(record, Rejected) for record in records)
    assert {record.key for record in records_of(source, write, [good])} <= {
        record.key for record in records
    }


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_a_wrong_type_is_named_with_file_and_number(form):
    source, (good, write) = form[0], FORMS[form]
    rejected = [
        record for record in records_of(source, write, [good, 7]) if isinstance(record, Rejected)
    ]
    if form == ("coco", "urls"):  # of images that are named elsewhere
        assert not rejected
        return
    (record,) = rejected
    assert record.reason == "damaged record: a number in place of an object"
    assert ".json" in record.key and ("[1]" in record.key or record.key.endswith(":2"))


@pytest.mark.parametrize("source", ["flickr30k", "coco"])
def test_deep_nesting_and_long_numbers_cost_one_record(source):
    good, write = FORMS[(source, "split")]
    records = records_of(source, write, [DEEP, karpathy(2) | {"imgid": DEEP}, good])
    assert [record.key.rpartition("/")[2] for record in records][-1].startswith("1")
    assert sum(isinstance(record, Rejected) for record in records) == 2
    text = '{"images": [{"filename": ' + "1" * 5000 + "}, " + json.dumps(good) + "]}"
    items = list(json_stream.json_items(io.StringIO(text), "images"))
    assert items[1] == good and len(items) == 2


@settings(max_examples=100)
@given(st.lists(VALUES, max_size=5), st.integers(1, 30))
@example([12345, -1.5e3, "]", '"', True, None], 1)
def test_any_array_is_read_in_windows_of_any_size(items, chunk):
    text = json.dumps({"a": '"b": [', "b": items})
    original, json_stream._CHUNK = json_stream._CHUNK, chunk
    try:
        found = list(json_stream.json_items(io.StringIO(text), "b"))
    finally:
        json_stream._CHUNK = original
    assert json.dumps(found) == json.dumps(items)


@pytest.mark.parametrize(
    "top", ["null", "7", '"images"', "{}", "[]", '{"images": null}', "", "[" * 9]
)
@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_a_file_that_is_no_list_of_records_is_one_line(tmp_path, form, top):
    source, (good, write) = form[0], FORMS[form]
    write(tmp_path, [good])
    for path in tmp_path.rglob("*.json"):
        path.write_text(top)
    for path in tmp_path.glob("*.json.zip"):
        write_text_zip(path, path.stem, top)
    for path in (*tmp_path.glob("v2_Q*Train*.zip"), *tmp_path.glob("annotations*.zip")):
        names = zip_names(path)
        write_text_zip(path, names[0], top, *names[1:])
    parameters = build.ImageShardParams(2, 2, 0.0, 0)
    with pytest.raises(UserError) as error:
        build.shard(source, tmp_path, tmp_path / "out", parameters)
    assert "\n" not in str(error.value)


def write_text_zip(path: Path, name: str, text: str, *others: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for member in (name, *others):
            archive.writestr(member, text)


def zip_names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


@given(st.lists(VALUES, min_size=1, max_size=4), st.lists(VALUES, min_size=1, max_size=4))
def test_sbu_takes_any_values_for_urls_and_captions(urls, captions):
    count = min(len(urls), len(captions))
    lists = {"image_urls": [*urls[:count], "http://u"], "captions": [*captions[:count], "c"]}
    with TemporaryDirectory() as folder:
        data = tar_bytes({"sbu-captions-all.json": json.dumps(lists).encode()}, "w:gz")
        Path(folder, "sbu-captions-all.tar.gz").write_bytes(data)
        rows = list(sbu.urls(Path(folder)))
    assert rows[-1] == UrlRow(f"{count:07d}", "train", "http://u", "c") and len(rows) == count + 1
    assert all(isinstance(row.url, str) and isinstance(row.caption, str) for row in rows)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_json_with_a_mark_of_its_encoding(tmp_path, encoding):
    good, write = FORMS[("coco", "split")]
    write(tmp_path, [good])
    path = tmp_path / "dataset_coco.json"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    path.write_bytes((mark + path.read_text()).encode(encoding))
    (record,) = record_reader.read("coco", tmp_path)
    assert record.captions == ("A red kite.", "A kite, red.")


@pytest.mark.parametrize(
    "identifier", ["train-1-0-0\n=1", "train-1-0-\r0", "train-1-0-\u2028", "train-\x00-0-0"]
)
def test_identifiers_with_control_characters_reach_no_output(tmp_path, identifier):
    good, write = FORMS[("nlvr2", "statements")]
    write(tmp_path, [good, good | {"identifier": identifier}])
    pair = identifier.rpartition("-")[0]
    for side in (0, 1):
        if "\x00" not in pair:
            (tmp_path / f"train/{pair}-img{side}.png").write_bytes(
                (tmp_path / "train/train-1-0-img0.png").read_bytes()
            )
    build.shard("nlvr2", tmp_path, tmp_path / "out", build.ImageShardParams(2, 2, 0.0, 0))
    assert [row["key"] for row in parquet.read_rows(tmp_path / "out", "train")] == ["train-1-0-0"]
    rejected = parquet.pq.read_table(tmp_path / "out/rejected.parquet").to_pylist()
    assert len(rejected) == 1 and rejected[0]["key"].isprintable()


def test_names_in_tars_that_are_no_utf8_are_rejected(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(
        fileobj=inner, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT
    ) as tar:
        for name in ("n01_\xe9.JPEG", "n01_1.JPEG"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    (tmp_path / "fall11_whole.tar").write_bytes(tar_bytes({"n01.tar": inner.getvalue()}))
    bad, good = record_reader.read("imagenet22k", tmp_path)
    assert bad.reason == "damaged key" and good.key == "n01_1"


PAGE = "<page><ns>0</ns><id>{}</id><revision><text>{}</text></revision></page>"
GOOD_PAGE = PAGE.format(7, "A page of five whole words.")


@pytest.mark.parametrize(
    "page",
    [
        "<page/>",
        "<page><ns>0</ns></page>",
        "<page><id>3</id></page>",
        PAGE.format("", "A page without any id here."),
        PAGE.format("1&#10;2", "An id with a line break."),
        PAGE.format("<b>5</b>", "An id in another element here."),
        "<page><ns>0</ns><id>3</id></page>",
        "<page><ns>0</ns><id>3</id><revision/></page>",
        PAGE.format(3, "&amp;#99999999999999999999; is no character of any kind."),
        PAGE.format(3, "{{" * 3000 + "[[" * 3000),
        "<a>" * 3000 + "</a>" * 3000,
    ],
)
def test_a_damaged_page_of_wikipedia_costs_no_other(tmp_path, page):
    dump = f"<mediawiki>{GOOD_PAGE}{page}{GOOD_PAGE.replace('7', '8')}</mediawiki>"
    path = tmp_path / "enwiki-1-pages-articles-multistream.xml.bz2"
    path.write_bytes(bz2.compress(dump.encode()))
    records = list(record_reader.read("wikipedia", tmp_path))
    assert {"7", "8"} <= {record.key for record in records if not isinstance(record, Rejected)}
