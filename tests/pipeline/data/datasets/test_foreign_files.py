"""What other systems leave beside the files of a data set changes no record, label or key; forms
that people have their data in are read alike; different images have different keys."""

import json
import os
import shutil
import socket
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import datasets
from pipeline.data.datasets import bookcorpus
from pipeline.data.datasets.formats import names
from pipeline.data.records import ImageRecord, MaskRecord, Rejected
from pipeline.data.sharding import record_reader
from tests.helpers.official_forms import FORMS, jpeg, karpathy, tar_bytes

FOREIGN = [
    "._{}",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir/{}",
    "__MACOSX/._{}",
    "lost+found/{}",
    ".ipynb_checkpoints/{}",
    ".{}.partial",
    "{}.partial",
    "{}.crdownload",
    "{}~",
    ".Trash-1000/files/{}",
]


def with_foreign(members: dict[str, bytes]) -> dict[str, bytes]:
    """Each member behind everything that may stand beside it."""
    mixed = {}
    for name, data in members.items():
        folder, _, last = name.rpartition("/")
        for pattern in FOREIGN:
            mixed[f"{folder}/{pattern.format(last)}".lstrip("/")] = b"\0\5\x16\7 foreign"
        mixed[name] = data
    return mixed


def write_folder(root: Path, members: dict[str, bytes]) -> None:
    for name, data in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def imagenet(form: str, mixed) -> dict[str, bytes]:
    """The same two synsets in any form."""
    images = {
        "n01440764": {"n01440764_1.JPEG": b"a", "n01440764_2.JPEG": b"b"},
        "n02119789": {"n02119789_7.JPEG": b"c"},
    }
    inner = {f"{wnid}.tar": tar_bytes(mixed(files)) for wnid, files in images.items()}
    if form.endswith("fall11_whole.tar"):
        return {"fall11_whole.tar": tar_bytes(mixed(inner))}
    if form.endswith(".gz"):
        return {"winter21_whole.tar.gz": tar_bytes(mixed(inner), "w:gz")}
    if form == "folder of tars":
        return mixed({f"winter21_whole/{name}": data for name, data in inner.items()})
    flat = {}
    for wnid, files in images.items():
        flat |= {f"train/{wnid}/{name}": data for name, data in files.items()}
    return mixed(flat)


@pytest.mark.parametrize("mixed", [dict, with_foreign])
@pytest.mark.parametrize(
    "form", ["fall11_whole.tar", "winter21_whole.tar.gz", "folder of tars", "class folders"]
)
def test_imagenet22k_is_the_same_in_every_form_and_company(tmp_path, form, mixed):
    write_folder(tmp_path, imagenet(form, mixed))
    assert list(record_reader.read("imagenet22k", tmp_path)) == [
        ImageRecord("n01440764_1", "train", b"a", (), 0),
        ImageRecord("n01440764_2", "train", b"b", (), 0),
        ImageRecord("n02119789_7", "train", b"c", (), 1),
    ]
    assert all(names.is_data(path.name) for path in datasets.load("imagenet22k").files(tmp_path))


def test_copies_of_tars_are_no_classes(tmp_path):
    tar = tar_bytes({"n02_1.JPEG": b"x"})
    copies = {
        "n01440764 (1).tar": tar,
        "other.tar": tar,
        "n01440764.tar": tar,
        "n02119789.tar": tar,
    }
    again = {"copy/n01440764.tar": tar}
    (tmp_path / "fall11_whole.tar").write_bytes(tar_bytes(copies | again))
    records = list(record_reader.read("imagenet22k", tmp_path))
    assert [r.label for r in records if isinstance(r, ImageRecord)] == [0, 1, 0]
    assert [r for r in records if isinstance(r, Rejected)] == [
        Rejected("n01440764 (1)", "unknown synset"),
        Rejected("other", "unknown synset"),
    ]


def test_imagenet1k_of_class_folders_needs_no_devkit(tmp_path):
    members = {
        "train/n01440764/n01440764_1.JPEG": b"a",
        "train/n02119789/n02119789_7.JPEG": b"c",
        "val/n01440764/ILSVRC2012_val_00000002.JPEG": b"d",
        "val/n02119789/own.png": b"e",
        "val/n03/ILSVRC2012_val_00000003.JPEG": b"f",
    }
    write_folder(tmp_path, with_foreign(members))
    assert list(record_reader.read("imagenet1k", tmp_path)) == [
        ImageRecord("n01440764_1", "train", b"a", (), 0),
        ImageRecord("n02119789_7", "train", b"c", (), 1),
        ImageRecord("ILSVRC2012_val_00000002", "val", b"d", (), 0),
        ImageRecord("val/n02119789/own.png", "val", b"e", (), 1),
        Rejected("val/n03", "unknown synset"),
    ]
    assert len(datasets.load("imagenet1k").files(tmp_path)) == 5
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").mkdir()
    (tmp_path / "val/ILSVRC2012_val_00000001.JPEG").write_bytes(b"flat")
    with pytest.raises(FileNotFoundError, match="devkit"):
        datasets.load("imagenet1k").files(tmp_path)


def test_what_is_no_validation_image_takes_no_label(tmp_path, monkeypatch):
    """The devkit has a label for each number, for the file of that number alone."""
    from pipeline.data.datasets import imagenet1k

    members = {"ILSVRC2012_val_00000001.JPEG": b"a", "ILSVRC2012_val_00000002.JPEG": b"b"}
    others = {"notes_00000001.txt": b"?", "ILSVRC2012_val_00000001.xml": b"?", "1": b"?"}
    (tmp_path / "v.tar").write_bytes(tar_bytes(with_foreign(others | members)))
    entries = list(imagenet1k._validation_images(tmp_path / "v.tar", [4, 5, 6]))
    assert [(e.key, e.label) for e in entries if not isinstance(e, Rejected)] == [
        ("ILSVRC2012_val_00000001", 4),
        ("ILSVRC2012_val_00000002", 5),
    ]
    assert [e.reason for e in entries if isinstance(e, Rejected)] == ["no ground truth"] * 3 + [
        "missing image"
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_flickr30k_and_ade20k_take_no_foreign_files(tmp_path, packed):
    good, write = FORMS[("flickr30k", "split")]
    flickr, ade = tmp_path / "flickr", tmp_path / "ade"
    flickr.mkdir()
    write(flickr, [good])
    masks = with_foreign({"images/training/ADE_train_00000001.jpg": b"i"})
    masks |= with_foreign({"annotations/training/ADE_train_00000001.png": b"m"})
    if packed:
        (flickr / "flickr30k-images/1.jpg").unlink()
        (flickr / "flickr30k-images").rmdir()
        members = with_foreign({"flickr30k-images/1.jpg": jpeg()})
        (flickr / "flickr30k-images.tar.gz").write_bytes(tar_bytes(members, "w:gz"))
        ade.mkdir()
        with zipfile.ZipFile(ade / "ADEChallengeData2016.zip", "w") as archive:
            for name, data in masks.items():
                archive.writestr(f"ADEChallengeData2016/{name}", data)
    else:
        write_folder(flickr, with_foreign({"flickr30k-images/1.jpg": jpeg()}))
        write_folder(ade / "ADEChallengeData2016", masks)
    (record,) = record_reader.read("flickr30k", flickr)
    assert record.key == "1"
    (mask,) = record_reader.read("ade20k", ade)
    assert (mask.key, mask.image, mask.mask) == ("ADE_train_00000001", b"i", b"m")


def test_only_books_are_books(tmp_path):
    write_folder(tmp_path, with_foreign({"pg1.txt": b"A line of a book."}))
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert bookcorpus.files(tmp_path) == [tmp_path / "pg1.txt"]


def test_links_are_followed_and_pipes_sockets_and_loops_are_not(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    write_folder(elsewhere, {"a.jpg": b"a", "deep/b.jpg": b"b"})
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "linked").symlink_to(elsewhere)
    (folder / "c.jpg").symlink_to(elsewhere / "a.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder)
        listening.bind("socket.jpg")
        assert names.files_below(folder) == ["c.jpg", "linked/a.jpg", "linked/deep/b.jpg"]


@pytest.mark.parametrize("source", ["coco", "flickr30k", "vg", "vqav2", "nlvr2"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, source):
    form = next(form for form in FORMS if form[0] == source)
    good, write = FORMS[form]
    write(tmp_path, [good])
    images = [path for path in tmp_path.rglob("*") if path.suffix in (".jpg", ".png")]
    for path in images:
        path.unlink()
        os.mkfifo(path)
    records = list(record_reader.read(source, tmp_path))
    if images:
        assert {record.reason.partition(":")[0] for record in records} == {"missing image"}
    for path in [path for path in tmp_path.iterdir() if path.is_file()]:
        data = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(FileNotFoundError):
            datasets.load(source).files(tmp_path)
        path.unlink()
        path.write_bytes(data)


@given(
    st.lists(
        st.sampled_from(
            [
                "1.jpg",
                "cam1/1.jpg",
                "cam2/1.jpg",
                "1.png",
                "1.JPG",
                "A.jpg",
                "a.jpg",
                "cam1.jpg",
                "./cam1/2.jpg",
                "x/../3.jpg",
                "COCO_train2014_000000000001.jpg",
            ]
        ),
        unique=True,
    )
)
def test_different_images_have_different_keys(files):
    official = names.re.compile(r"COCO_\w+_\d{12}\.jpg|\d+\.jpg")
    keys = [names.image_key(name, official, "train2014") for name in files]
    assert len(set(keys)) == len(files)
    assert all(names.image_key(name, official) == "1" for name in files if name == "1.jpg")


def test_images_of_one_name_in_several_folders_are_all_kept(tmp_path):
    files = ["cam1/0001.jpg", "cam2/0001.jpg", "0002.jpg", "0002.png", "B.jpg", "b.jpg"]
    entries = [karpathy(0) | {"filename": name, "filepath": "train2014"} for name in files]
    entries += [karpathy(0) | {"filename": "B.jpg", "filepath": "val2014"}]
    for root in (tmp_path / "coco", tmp_path / "flickr"):
        for folder in ("train2014", "val2014", "flickr30k-images"):
            write_folder(root / folder, {name: name.encode() for name in files})
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps({"images": entries}))
    (tmp_path / "flickr/dataset_flickr30k.json").write_text(json.dumps({"images": entries[:-1]}))
    coco = {r.key: r.image for r in record_reader.read("coco", tmp_path / "coco")}
    assert coco == {f"train2014/{n}": n.encode() for n in files} | {"val2014/B.jpg": b"B.jpg"}
    flickr = {r.key: r.image for r in record_reader.read("flickr30k", tmp_path / "flickr")}
    assert flickr == {
        name.removesuffix(".jpg") if name == "0002.jpg" else name: name.encode() for name in files
    }


def test_ade20k_images_of_ones_own(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for split in ("training", "validation"):
        write_folder(root / "annotations" / split, {"0001.png": b"m", "0003.png": b"n"})
        write_folder(
            root / "images" / split, {"0001.jpg": b"1", "0001.png": b"2", "0003.JPG": b"3"}
        )
    records = list(record_reader.read("ade20k", tmp_path))
    assert all(isinstance(record, MaskRecord) for record in records)
    assert [(r.key, r.image, r.mask) for r in records[:3]] == [
        ("training/0001.jpg", b"1", b"m"),
        ("training/0001.png", b"2", b"m"),
        ("training/0003.JPG", b"3", b"n"),
    ]
    assert len({record.key for record in records}) == 6


@pytest.mark.parametrize("name", ["data/train", "./a/b.jpg", "../x.jpg", "a.b/c", "thumbs.dbx.jpg"])
def test_ordinary_names_are_data(name):
    assert names.is_data(name)
