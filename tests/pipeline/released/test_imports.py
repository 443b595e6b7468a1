"""Released files of every family and task, in their official layouts, become model folders by the
stages, and models of these folders answer, are exported, evaluated and started from."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from model import checkpoint
from pipeline.config import params
from pipeline.data.download import http_client, manifest
from pipeline.data.download.manifest import OfficialFile
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.released import files as released_files
from pipeline.released import imports as released
from pipeline.released import synthetic
from pipeline.tokenizers import text
from pipeline.utils import files
from stages import export, imports
from tests.helpers import tiny

SQUARE = {"image_size": 32, "text_length": 40}
WINDOWS = {"image_size": 32, "long_side": 64, "short_side": 32, "stride": 16}
WINDOWS |= {"normalize": "imagenet", "resize_filter": "opencv"}
# task of the file: inputs, classes, the class of the model
KINDS = {
    "pretrained": (SQUARE, None),
    "indomain": (SQUARE, None),
    "itc": (SQUARE, None),
    "coco": (SQUARE, None),
    "flickr30k": (SQUARE, None),
    "nlvr2": (SQUARE, None),
    "vqa": (SQUARE, 3),
    "imagenet1k": ({"image_size": 32, "resize": 36}, 6),
    "ade20k": (WINDOWS, 5),
}
FILES = {
    "vlmo-pretrained": ("vlmo_base_patch16_224.pt", "Retrieval"),
    "vlmo-vqa": ("vlmo_base_patch16_480_vqa.pt", "VQA"),
    "vlmo-nlvr2": ("vlmo_base_patch16_384_nlvr2.pt", "NLVR2"),
    "vlmo-coco": ("vlmo_base_patch16_384_coco.pt", "Retrieval"),
    "vlmo-flickr30k": ("vlmo_base_patch16_384_f30k.pt", "Retrieval"),
    "beit3-pretrained": ("beit3_base_patch16_224.pth", "MaskedModeling"),
    "beit3-indomain": ("beit3_base_indomain_patch16_224.pth", "MaskedModeling"),
    "beit3-itc": ("beit3_base_itc_patch16_224.pth", "Retrieval"),
    "beit3-vqa": ("beit3_base_patch16_480_vqa.pth", "VQA"),
    "beit3-nlvr2": ("beit3_base_patch16_224_nlvr2.pth", "NLVR2"),
    "beit3-coco": ("beit3_base_patch16_384_coco_retrieval.pth", "Retrieval"),
    "beit3-flickr30k": ("beit3_base_patch16_384_f30k_retrieval.pth", "Retrieval"),
    "beit3-imagenet1k": ("beit3_base_patch16_224_in1k.pth", "Classification"),
    "beit-imagenet1k": ("beit_base_patch16_224_pt22k_ft22kto1k.pth", "Classification"),
    "beit-ade20k": ("beit_base_patch16_640_pt22k_ft22ktoade20k.pth", "Segmentation"),
    "beitv2-pretrained": ("beitv2_base_patch16_224_pt1k.pth", "ImageEncoder"),
    "beitv2-imagenet1k": ("beitv2_base_patch16_224_pt1k_ft21kto1k.pth", "Classification"),
    "beitv2-ade20k": ("beitv2_base_patch16_224_pt1k_ft21ktoade20k.pth", "Segmentation"),
}
IMAGE = Image.new("RGB", (50, 40), (200, 30, 90))


def entry(name: str) -> dict:
    family, _, task = name.partition("-")
    inputs, classes = KINDS[task]
    made = {"family": family, "task": task, "file": FILES[name][0], "inputs": inputs}
    if name == "beitv2-pretrained":
        made["inputs"] = {"image_size": 32}
    return made | ({"classes": classes} if classes else {})


def write_project(folder: Path, origin: str = "synthetic", path: Path | str = "") -> None:
    tree = tiny.settings()
    tree["imports"] = {name: entry(name) for name in FILES}
    tree["imported_size"] |= {"patch_size": 8}
    tree["imported_weights"] |= {"origin": origin, "path": str(path)}
    tiny.write(folder, tree)


def made_up_files(name: str, folder: Path) -> Path:
    """Those of an import, as params.yaml in the current folder makes them up."""
    folder.mkdir()
    synthetic.write(released.load(name), folder, params.load(SyntheticParams, "synthetic"))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every released file, made up, and the models in them."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", "none")
        write_project(root)
        for name in FILES:
            imports.main(name)
    return root


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another folder with the same parameters, and nothing made in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    write_project(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_model_folder_has_all_that_belongs_to_the_model(project: Path, name: str) -> None:
    run = project / "runs/small/import" / name
    model = checkpoint.load(run / "model")
    assert type(model).__name__ == FILES[name][1]
    tokenizer = text.in_folder(run / "model")
    reads_texts = name.startswith(("vlmo", "beit3")) and "imagenet1k" not in name
    assert (tokenizer is not None) == reads_texts
    if reads_texts:
        assert tokenizer.name == ("vocab.txt" if name.startswith("vlmo") else "beit3.spm")
    classes = run / "model/classes.json"
    assert classes.exists() == name.endswith(("imagenet1k", "ade20k"))
    if classes.exists():
        assert len(files.read_json(classes)) == KINDS[name.partition("-")[2]][1]
    saved = files.read_json(run / "params.json")
    assert saved["released"]["file"] == FILES[name][0]
    assert saved["released"]["origin"] == "synthetic"
    assert len(saved["released"]["sha256"]) == 64


@pytest.mark.parametrize("name", FILES)
def test_it_is_exported_and_answers(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    export.main(name)
    folder = project / "exports/small" / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert FILES[name][0] in card and "made up" in card
    if FILES[name][1] == "ImageEncoder":  # which answers nothing
        return
    loaded = predictor.load(folder)
    images = [IMAGE, IMAGE] if FILES[name][1] == "NLVR2" else [IMAGE]
    assert loaded.predict_row(images, "Is the ring red?")


def test_the_same_files_come_out_again(project: Path, elsewhere: Path) -> None:
    for name in ("vlmo-coco", "beit3-vqa", "beit-ade20k"):
        imports.main(name)
        for path in sorted((project / "runs/small/import" / name).rglob("*")):
            again = elsewhere / path.relative_to(project)
            assert path.is_dir() or again.read_bytes() == path.read_bytes(), path.name
    assert not list((elsewhere / ".work").glob("import-*"))


def test_files_of_ones_own_are_read_and_a_missing_one_is_named(elsewhere: Path) -> None:
    mine = made_up_files("beit3-vqa", elsewhere / "mine")
    write_project(elsewhere, "local", mine)
    with pytest.raises(UserError, match=r"^params.yaml: imported_weights.path: no vlmo_base"):
        imports.main("vlmo-vqa")
    with pytest.raises(UserError, match="beit3.spm|v2_Annotations"):
        # the annotations of the real data set have checksums, which these do not
        imports.main("beit3-vqa")


def test_an_edit_of_inputs_fetches_nothing_again(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = made_up_files("vlmo-coco", elsewhere / "mine")
    write_project(elsewhere, "upstream")
    fetched: list[str] = []

    def fetch(wanted: Sequence[OfficialFile], folder: Path, *_: object) -> None:
        for file in wanted:
            if not (target := http_client.finished_path(folder, file)).exists():
                target.parent.mkdir(parents=True)
                shutil.copyfile(mine / file.name, target)
                fetched.append(file.name)

    monkeypatch.setattr(http_client, "get", fetch)
    imports.main("vlmo-coco")
    edited = copy.deepcopy(params.read().tree)
    edited["imports"]["vlmo-coco"]["inputs"]["text_length"] = 30
    tiny.write(elsewhere, edited)
    imports.main("vlmo-coco")
    saved = files.read_json(elsewhere / "runs/small/import/vlmo-coco/params.json")
    assert saved["inputs"]["text_length"] == 30 and saved["released"]["origin"] == "upstream"
    assert fetched == [FILES["vlmo-coco"][0], "vocab.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "cifar"}, "imports.vlmo-coco.task: 'cifar'; files of vlmo are for pretrained"),
        ({"family": "clip"}, "imports.vlmo-coco.family: expected"),
        ({"inputs": {"image_size": 32}}, "imports.vlmo-coco.inputs.text_length: missing key"),
        ({"inputs": SQUARE | {"crop": 1}}, "imports.vlmo-coco.inputs: unknown key crop"),
        ({"file": "../x.pt"}, "imports.vlmo-coco.file: expected a file name"),
        ({"classes": 0}, "imports.vlmo-coco.classes: expected"),
    ],
)
def test_a_wrong_entry_is_one_line(tmp_path: Path, monkeypatch, change, message) -> None:
    monkeypatch.chdir(tmp_path)
    tree = tiny.settings()
    tree["imports"]["vlmo-coco"] |= change
    tiny.write(tmp_path, tree)
    with pytest.raises(UserError) as error:
        imports.main("vlmo-coco")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_import_lists_the_others(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path, tiny.settings())
    with pytest.raises(UserError, match="imports: no 'vlmo' .known: vlmo-coco, beit3-vqa"):
        imports.main("vlmo")


@pytest.mark.parametrize("scale", ["paper"])
def test_presets_name_files_that_are_known(scale: str, monkeypatch) -> None:
    monkeypatch.chdir(tiny.ROOT)
    preset = params.preset(scale)
    known = {
        source: {file.name for file in manifest.read(source).files}
        for source in ("weights", "vqav2", "imagenet1k")
    }
    for name in preset.subtree("imports"):
        imported = released.load(name, preset)
        for source, wanted in released_files.wanted(imported).items():
            assert set(wanted) <= known[source], name


def test_weights_are_those_of_the_file(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    folder = made_up_files("vlmo-coco", tmp_path / "files")
    theirs = torch.load(folder / FILES["vlmo-coco"][0], weights_only=True)["state_dict"]
    ours = checkpoint.load(project / "runs/small/import/vlmo-coco/model").state_dict()
    patches = ours["backbone.patch_embed.weight"]
    assert torch.equal(patches, theirs["transformer.patch_embed.proj.weight"])
