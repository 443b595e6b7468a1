"""Every reader on small files in its official format, faults included. All records are invented."""

import bz2
import io
import json
import pickle
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.data import datasets
from pipeline.data.datasets import cc3m, coco, flickr30k, sbu, vg, wikipedia
from pipeline.data.datasets.formats import json_stream, sentence_splitter
from pipeline.data.records import ImageRecord, Rejected, TextRecord, UrlRow
from pipeline.data.sharding import record_reader
from pipeline.data.synthetic.generate import write
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.data.url_fetch import placeholders
from pipeline.data.url_fetch.journal import FETCHED
from pipeline.errors import UserError
from tests.helpers import real_data, tiny
from tests.helpers.official_forms import tar_bytes, write_zip
from tests.helpers.worlds import FULL


def karpathy(dataset: str, images: list[tuple[str, str, str, list[str]]]) -> bytes:
    """Rows of (folder, file name, split, captions)."""
    return json.dumps(
        {
            "images": [
                ({"filepath": folder} if folder else {})
                | {
                    "filename": name,
                    "split": split,
                    "imgid": number,
                    "sentids": [],
                    "sentences": [
                        {"tokens": text.split(), "raw": text, "imgid": number, "sentid": 0}
                        for text in texts
                    ],
                }
                for number, (folder, name, split, texts) in enumerate(images)
            ],
            "dataset": dataset,
        }
    ).encode()


def test_coco_joins_images_split_and_captions(tmp_path):
    write_zip(tmp_path / "train2014.zip", {"train2014/COCO_train2014_000000000009.jpg": b"nine"})
    write_zip(tmp_path / "val2014.zip", {"val2014/COCO_val2014_000000000042.jpg": b"forty-two"})
    write_zip(
        tmp_path / "caption_datasets.zip",
        {
            "dataset_coco.json": karpathy(
                "coco",
                [
                    (
                        "val2014",
                        "COCO_val2014_000000000042.jpg",
                        "restval",
                        [" A kite \n above  a pond. ", "  "],
                    ),
                    ("train2014", "COCO_train2014_000000000009.jpg", "train", ["Two boats."]),
                    ("val2014", "COCO_val2014_000000000043.jpg", "test", ["Nobody sees this."]),
                    ("test2014", "COCO_test2014_000000000044.jpg", "test", ["No such zip."]),
                ],
            )
        },
    )
    assert len(coco.files(tmp_path)) == 3
    assert list(record_reader.read("coco", tmp_path)) == [
        Rejected("COCO_val2014_000000000042#1", "empty caption"),
        ImageRecord(
            "COCO_val2014_000000000042",
            "train",
            b"forty-two",
            ("A kite above a pond.",),
            -1,
            ("coco 42",),
        ),
        ImageRecord(
            "COCO_train2014_000000000009", "train", b"nine", ("Two boats.",), -1, ("coco 9",)
        ),
        Rejected("COCO_val2014_000000000043", "missing image"),
        Rejected("COCO_test2014_000000000044", "missing image"),
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_flickr30k_reads_the_tar_or_a_folder(tmp_path, packed):
    images = {"11.jpg": b"a", "12.jpg": b"b", "13.jpg": b"c"}
    split = karpathy(
        "flickr30k",
        [
            ("", "11.jpg", "train", ["One."]),
            ("", "13.jpg", "test", [" "]),
            ("", "14.jpg", "val", ["Lost."]),
        ],
    )
    if packed:
        members = {f"flickr30k-images/{name}": data for name, data in images.items()}
        (tmp_path / "flickr30k-images.tar.gz").write_bytes(tar_bytes(members, "w:gz"))
        write_zip(tmp_path / "caption_datasets.zip", {"dataset_flickr30k.json": split})
    else:
        (tmp_path / "flickr30k_images").mkdir()
        for name, data in images.items():
            (tmp_path / "flickr30k_images" / name).write_bytes(data)
        (tmp_path / "dataset_flickr30k.json").write_bytes(split)
    assert len(flickr30k.files(tmp_path)) == (2 if packed else 4)
    assert list(record_reader.read("flickr30k", tmp_path)) == [
        ImageRecord("11", "train", b"a", ("One.",), -1),
        Rejected("12", "in no split"),
        Rejected("13#0", "empty caption"),
        Rejected("13", "no caption"),
        Rejected("14", "missing image"),
    ]


def test_vg_finds_the_zip_by_url_and_drops_repeated_phrases(tmp_path):
    write_zip(tmp_path / "images.zip", {"VG_100K/5.jpg": b"five"})
    write_zip(tmp_path / "images2.zip", {"VG_100K_2/77.jpg": b"seventy-seven"})
    data = [
        {
            "image_id": number,
            "url": f"https://example.org/rak248/{folder}/{number}.jpg",
            "width": 8,
            "height": 6,
            "coco_id": 9 if number == 77 else None,
            "flickr_id": 81 if number == 77 else None,
        }
        for folder, number in (("VG_100K_2", 77), ("VG_100K", 5), ("VG_100K", 6), ("VG_100K", 8))
    ]
    regions = [
        {
            "id": number,
            "regions": [
                {
                    "region_id": 1,
                    "image_id": number,
                    "phrase": phrase,
                    "x": 0,
                    "y": 0,
                    "width": 2,
                    "height": 2,
                }
                for phrase in phrases
            ],
        }
        for number, phrases in (
            (77, ["a cat under the table ", "A cat  under the Table", "a mat"]),
            (5, ["", "the sky"]),
            (6, ["a door"]),
            (7, ["a wall"]),
        )
    ]
    write_zip(tmp_path / "image_data.json.zip", {"image_data.json": json.dumps(data).encode()})
    write_zip(
        tmp_path / "region_descriptions.json.zip",
        {"region_descriptions.json": json.dumps(regions).encode()},
    )
    assert len(vg.files(tmp_path)) == 4
    assert list(record_reader.read("vg", tmp_path)) == [
        Rejected("77#1", "repeated phrase"),
        ImageRecord(
            "77",
            "train",
            b"seventy-seven",
            ("a cat under the table", "a mat"),
            -1,
            ("coco 9", "flickr 81"),
        ),
        Rejected("5#0", "empty caption"),
        ImageRecord("5", "train", b"five", ("the sky",), -1),
        Rejected("6", "missing image"),
        Rejected("7", "no image_data entry"),
        Rejected("8", "no region descriptions"),
    ]


@pytest.mark.parametrize(
    "name, mode", [("fall11_whole.tar", "w"), ("winter21_whole.tar.gz", "w:gz")]
)
def test_imagenet22k_streams_nested_tars(tmp_path, name, mode):
    inner = {"n02.tar": {"n02_1.JPEG": b"x", "n02_2.JPEG": b"y"}, "n01.tar": {"n01_7.JPEG": b"z"}}
    members = {f"whole/{wnid}": tar_bytes(images) for wnid, images in inner.items()}
    (tmp_path / name).write_bytes(tar_bytes(members | {"whole/n03.tar": b"rubbish" * 200}, mode))
    records = list(record_reader.read("imagenet22k", tmp_path))
    assert records[:3] == [
        ImageRecord("n02_1", "train", b"x", (), 1),
        ImageRecord("n02_2", "train", b"y", (), 1),
        ImageRecord("n01_7", "train", b"z", (), 0),
    ]
    assert records[3].key == "n03" and records[3].reason.startswith("damaged tar")


def test_cc3m_splits_lines_at_the_one_tab(tmp_path):
    (tmp_path / "Train_GCC-training.tsv").write_text(
        'a "quoted boat , at sea\thttp://a.example/1?x=y\nno address\ntwo\ttabs\there\n'
    )
    (tmp_path / "GCC-1.1.0-Validation.tsv").write_text(
        "caf\u00e9\u2028 terrace\thttps://b.example/2\n"
    )
    assert list(cc3m.urls(tmp_path)) == [
        UrlRow("train_0000000", "train", "http://a.example/1?x=y", 'a "quoted boat , at sea'),
        UrlRow("train_0000001", "train", "", "no address"),
        UrlRow("train_0000002", "train", "", "two"),
        UrlRow("val_0000000", "val", "https://b.example/2", "caf\u00e9\u2028 terrace"),
    ]


def test_sbu_reads_parallel_arrays(tmp_path):
    lists = {
        "image_urls": ["http://s.example/1.jpg", "http://s.example/2.jpg"],
        "user_ids": ["a", "b"],
        "captions": ["  One   day", "Two"],
    }
    path = tmp_path / "sbu-captions-all.tar.gz"
    path.write_bytes(tar_bytes({"sbu-captions-all.json": json.dumps(lists).encode()}, "w:gz"))
    assert list(sbu.urls(tmp_path)) == [
        UrlRow("0000000", "train", "http://s.example/1.jpg", "  One   day"),
        UrlRow("0000001", "train", "http://s.example/2.jpg", "Two"),
    ]
    path.write_bytes(
        tar_bytes({"sbu-captions-all.json": json.dumps(lists | {"captions": []}).encode()}, "w:gz")
    )
    with pytest.raises(UserError, match="of one length"):
        list(sbu.urls(tmp_path))


@pytest.mark.parametrize("source", ["cc3m", "sbu"])
def test_fetched_rows_become_records(tmp_path, source):
    (tmp_path / "fetched").mkdir()
    url = "http://farm4.staticflickr.com/31/2970_164f0c_z.jpg"
    rows = [
        {"key": "0", "url": url, "status": "ok", "image": b"p", "caption": " red  kite "},
        {"key": "1", "url": "u", "status": "http 404", "image": None, "caption": "gone"},
        {"key": "2", "url": "u", "status": "ok", "image": b"q", "caption": ""},
    ]
    pq.write_table(
        pa.Table.from_pylist(rows, FETCHED), tmp_path / "fetched" / "train-00000.parquet"
    )
    placeholders.mark(tmp_path / "fetched", 2)
    assert list(record_reader.read(source, tmp_path)) == [
        ImageRecord("0", "train", b"p", ("red kite",), -1, ("flickr 2970",)),
        Rejected("1", "http 404"),
        Rejected("2#0", "empty caption"),
        Rejected("2", "no caption"),
    ]


PAGE = """<page><title>{title}</title><ns>{ns}</ns><id>{id}</id>{extra}<revision><id>9</id><timestamp/>
<contributor><username>n</username><id>3</id></contributor><text xml:space="preserve">{text}</text></revision></page>"""
WIKITEXT = """{{Infobox tower|height={{convert|9|m}}}}
[[File:Tower.jpg|thumb|A picture with a [[link]] in it.]]
'''Brackwell Tower''' is a [[lighthouse|light tower]] near [[Dunmere]].&lt;ref name="a"&gt;Book, p. 4.&lt;/ref&gt; \
It was built by J. R. Holt &amp;amp; Sons in 1871&amp;nbsp;for the harbour.

== History ==
{| class="wikitable"
| cell one || cell two and three and four
|}
* Short item
The keepers left in spring. See [http://x.example the old report] for all of it.&lt;!-- hidden --&gt;
== References ==
Nobody should read this line of references here.
[[Category:Towers]] [[de:Turm]]
"""


def test_wikipedia_keeps_the_prose_of_articles(tmp_path):
    pages = [
        PAGE.format(title="Tower", ns=0, id=17, extra="", text=WIKITEXT),
        PAGE.format(
            title="Turm", ns=0, id=18, extra='<redirect title="Tower"/>', text="#REDIRECT [[Tower]]"
        ),
        PAGE.format(
            title="Talk:Tower", ns=1, id=19, extra="", text="This is a talk page with many words."
        ),
        PAGE.format(title="Stub", ns=0, id=20, extra="", text=""),
    ]
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>W</sitename></siteinfo>'
    streams = [head + pages[0], "".join(pages[1:3]), pages[3], "</mediawiki>"]
    path = tmp_path / "enwiki-20220301-pages-articles-multistream.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(stream.encode()) for stream in streams))
    assert list(record_reader.read("wikipedia", tmp_path)) == [
        TextRecord(
            "17",
            "train",
            (
                "Brackwell Tower is a light tower near Dunmere.",
                "It was built by J. R. Holt & Sons in 1871 for the harbour.",
                "The keepers left in spring.",
                "See the old report for all of it.",
            ),
        ),
        Rejected("18", "redirect"),
        Rejected("19", "not an article"),
        Rejected("20", "no prose"),
    ]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="damaged dump"):
        list(record_reader.read("wikipedia", tmp_path))


@pytest.mark.parametrize("name", ["multistream.xml", "multistream1.xml-p1p99", ""])
def test_wikipedia_reads_each_stream_by_itself(tmp_path, monkeypatch, name):
    """A plain dump is one entry, into however many streams it was compressed."""
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/"><siteinfo/>'
    pages = [
        PAGE.format(title=n, ns=0, id=n, extra="", text=f"This is article number {n}.")
        for n in range(1, 6)
    ]
    first = [head, pages[0]] if name else [head + pages[0][:90], pages[0][90:]]
    streams = [bz2.compress(part.encode()) for part in (*first, *pages[1:], "</mediawiki>")]
    path = tmp_path / f"enwiki-20220301-pages-articles{name and '-'}{name or '.xml'}.bz2"
    path.write_bytes(b"".join(streams))
    (tmp_path / f"{path.name.partition('.')[0]}-index.xml.bz2").write_bytes(b"not this")
    assert len(list(wikipedia.entries(tmp_path))) == (7 if name else 1)
    monkeypatch.setattr(record_reader, "PIECE", 1)
    assert list(record_reader.read("wikipedia", tmp_path)) == [
        TextRecord(str(n), "train", (f"This is article number {n}.",)) for n in range(1, 6)
    ]
    for size in (
        -1,
        -len(streams[-1]),
        len(streams[0]) + 40,
    ):  # in the last stream, without it, in the second
        path.write_bytes(b"".join(streams)[:size])
        with pytest.raises(UserError, match="damaged dump"):
            list(record_reader.read("wikipedia", tmp_path))


@pytest.mark.parametrize("content", [b"", b"<html>no dump</html>"])
def test_what_is_no_dump_is_named(tmp_path, content):
    (tmp_path / "enwiki-20220301-pages-articles-multistream.xml.bz2").write_bytes(content)
    with pytest.raises(UserError, match="multistream.xml.bz2: not a bz2 file"):
        list(record_reader.read("wikipedia", tmp_path))


def test_sbu_is_read_in_chunks_and_keys_inside_strings_are_no_keys(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 50)
    urls = [f"http://s.example/{number}.jpg" for number in range(40)]
    texts = ['a "captions": [ trap', *(f"caption {number}" for number in range(39))]
    lists = {
        "user_ids": ['"captions":["x"]', '"image_urls": [1'],
        "image_urls": urls,
        "captions": texts,
    }
    (tmp_path / "sbu-captions-all.tar.gz").write_bytes(
        tar_bytes({"sbu-captions-all.json": json.dumps(lists).encode()}, "w:gz")
    )
    assert [(row.url, row.caption) for row in sbu.urls(tmp_path)] == list(
        zip(urls, texts, strict=True)
    )


@pytest.mark.parametrize("source", ["coco", "flickr30k", "vg", "imagenet22k", "bookcorpus"])
def test_pieces_hold_everything_once_and_in_order(tmp_path, monkeypatch, source):
    write(source, tmp_path, SyntheticParams(1, 24, 90, tiny.SIZES, world=FULL))
    whole = list(record_reader.read(source, tmp_path))
    monkeypatch.setattr(record_reader, "PIECE", 3000)
    assert len(list(record_reader.pieces(source, tmp_path))) > 3
    assert list(record_reader.read(source, tmp_path)) == whole
    assert pickle.loads(pickle.dumps(list(record_reader.pieces(source, tmp_path)))) == list(
        record_reader.pieces(source, tmp_path)
    )


def test_bookcorpus_is_read_64_lines_at_a_time(tmp_path):
    lines = [f"line number {number} ." for number in range(70)]
    (tmp_path / "books_large_p1.txt").write_text("\n\n".join(lines) + "\n")
    (tmp_path / "books_large_p2.txt").write_text("the end .\n")
    assert list(record_reader.read("bookcorpus", tmp_path)) == [
        TextRecord("books_large_p1_0000000", "train", tuple(lines[:64])),
        TextRecord("books_large_p1_0000001", "train", tuple(lines[64:])),
        TextRecord("books_large_p2_0000000", "train", ("the end .",)),
    ]


def test_bookcorpus_accepts_gutenberg_texts(tmp_path):
    text = (
        'License.\r\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\r\n\r\nMrs. Vane _never_\r\nsmiled. "Why?" '
        "She laughed.\r\n\r\nCaf\xe9 noir.\r\n*** END OF THIS PROJECT ***\r\nmore license\r\n"
    )
    (tmp_path / "12.txt").write_bytes(text.encode("latin-1"))
    assert list(record_reader.read("bookcorpus", tmp_path)) == [
        TextRecord(
            "12", "train", ("Mrs. Vane never smiled.", '"Why?"', "She laughed.", "Caf\xe9 noir.")
        )
    ]


def test_sentences_end_where_they_should():
    text = (
        'Dr. Ames met Mr. Cole at 5 p.m. in the U.S. embassy. "Really?" he asked. It cost 3.5 pounds! '
        "(Too much.) ok. no"
    )
    assert sentence_splitter.split(text) == [
        "Dr. Ames met Mr. Cole at 5 p.m. in the U.S. embassy.",
        '"Really?" he asked.',
        "It cost 3.5 pounds!",
        "(Too much.) ok. no",
    ]
    assert sentence_splitter.split("") == []


def test_json_arrays_are_streamed_across_chunks(monkeypatch):
    items = [{"n": number, "text": "x" * number, "inner": [{"]": "}"}]} for number in range(30)]
    monkeypatch.setattr(json_stream, "_CHUNK", 17)
    assert list(json_stream.json_items(io.StringIO(json.dumps(items)))) == items
    assert list(json_stream.json_items(io.StringIO("[ ]"))) == []
    with pytest.raises(ValueError, match="cut short"):
        list(json_stream.json_items(io.StringIO(json.dumps(items)[:-5])))


@pytest.mark.parametrize(
    "name", ["coco", "flickr30k", "vg", "imagenet22k", "cc3m", "sbu", "wikipedia", "bookcorpus"]
)
def test_missing_files_are_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        datasets.load(name).files(tmp_path)


def test_unknown_sources_are_refused():
    for name in ("records", "moon"):
        with pytest.raises(UserError, match="known: ade20k, ade20k-test, bookcorpus, cc3m"):
            datasets.load(name)


@real_data.needs("flickr30k", "wikipedia", "books", "cc3m")
class TestRealSlices:
    def test_flickr30k(self):
        records = list(record_reader.read("flickr30k", real_data.folder("flickr30k")))
        assert len(records) == 120 and all(isinstance(record, ImageRecord) for record in records)
        assert sum(len(record.captions) for record in records) == 600
        assert Counter(record.split for record in records) == {"train": 80, "val": 20, "test": 20}

    def test_wikipedia(self):
        records = list(record_reader.read("wikipedia", real_data.folder("wikipedia")))
        articles = [record for record in records if isinstance(record, TextRecord)]
        rejected = Counter(r.reason for r in records if isinstance(r, Rejected))
        assert len(articles) == 18 and rejected == {"redirect": 12, "incomplete sentence": 3}
        text = " ".join(sentence for record in articles for sentence in record.sentences)
        assert not any(mark in text for mark in ("[[", "]]", "{{", "}}", "<ref", "'''", "\n"))
        assert not any(empty in text for empty in (" ()", "(;", "(,", " ,"))

    def test_books(self):
        (book,) = record_reader.read("bookcorpus", real_data.folder("books"))
        assert len(book.sentences) > 1000
        assert not any(
            "Gutenberg License" in sentence or "\n" in sentence for sentence in book.sentences
        )

    def test_cc3m_list(self):
        rows = list(
            cc3m.rows(real_data.folder("cc3m") / "Validation_GCC-1.1.0-Validation.tsv", "val")
        )
        assert len(rows) == 1000 and all(row.url.startswith("http") and row.caption for row in rows)
