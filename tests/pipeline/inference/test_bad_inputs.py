"""What saved and served models say of images, texts and arguments that they cannot use."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModelContext
from mlflow.pyfunc.scoring_server import predictions_to_json
from PIL import Image

from model import checkpoint
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.vqa import VQA, VQAConfig
from pipeline.errors import UserError
from pipeline.inference import mlflow_pyfunc, predictor
from pipeline.tasks import saved_model
from pipeline.tokenizers import text
from tests.helpers.doc_examples import WORDS, write_tokenizer
from tests.helpers.image_files import encoded, exif, scene
from tests.helpers.toy import BACKBONE

IMAGE = encoded(scene(), "JPEG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of random weights, and the tokenizer of all."""
    root = tmp_path_factory.mktemp("models")
    backbone = replace(BACKBONE, vocab_size=write_tokenizer(root))
    checkpoint.save(VQA(VQAConfig(backbone, ("ring", "star"))), root / "vqa")
    checkpoint.save(Retrieval(RetrievalConfig(backbone)), root / "retrieval")
    checkpoint.save(Retrieval(RetrievalConfig(backbone, matching=False)), root / "dual encoder")
    checkpoint.save(NLVR2(NLVR2Config(backbone)), root / "nlvr2")
    for name in ("vqa", "retrieval", "dual encoder", "nlvr2"):
        text.put_into(root / name, root / "spm.model")
    return root


def load(folder, name):
    return predictor.load(folder / name)


def served(folder, name, rows):
    """Answers as MLflow's server gets them, and as its clients do."""
    model = mlflow_pyfunc.Served()
    model.load_context(PythonModelContext({"model": str(folder / name)}, {}))
    answers = model.predict(None, pd.DataFrame(rows, dtype=object))
    predictions_to_json(answers, buffer := io.StringIO())

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(buffer.getvalue(), parse_constant=refuse)["predictions"]


BAD_ROWS = {
    "not an image": ({"image": b"<html>", "text": "x"}, "image: not an image"),
    "empty": ({"image": b"", "text": "x"}, "image: empty image"),
    "cut off": ({"image": IMAGE[:-200], "text": "x"}, "image: damaged image: OSError"),
    "HEIC": (
        {"image": b"\0\0\0\x18ftypheic", "text": "x"},
        "image: format not read: HEIC; convert",
    ),
    "16 bits": (
        {"image": encoded(Image.new("I;16", (4, 4)), "PNG"), "text": "x"},
        "image: more than",
    ),
    "a path": ({"image": "/etc/passwd", "text": "x"}, "image: expected the bytes of a file, found"),
    "a list": ({"image": [1, 2], "text": "x"}, "image: expected the bytes of a file, found list"),
    "number": ({"image": IMAGE, "text": 3}, "text: expected a string, found int"),
    "half a pair": ({"image": IMAGE, "text": "\ud83d"}, "text: it has half a surrogate pair"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_bad_row_does_not_cost_the_answers_to_the_others(folder, name):
    row, reason = BAD_ROWS[name]
    good = {"image": IMAGE, "text": WORDS[0]}
    first, bad, last = served(folder, "vqa", [good, row, good])
    assert bad["error"].startswith(reason) and "\n" not in bad["error"] and bad["answers"] is None
    assert first == last and first["error"] is None and len(first["answers"]) == 2
    assert served(folder, "vqa", [row]) == [{"error": bad["error"]}]


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("vqa", {"image": IMAGE}, "VQA reads image, text; given: image"),
        ("vqa", {"text": "x"}, "VQA reads image, text; given: text"),
        ("nlvr2", {"image": IMAGE, "text": "x"}, "reads image, image2, text; given: image, text"),
        ("retrieval", {"image": None}, "reads image, text; given: none of them"),
    ],
)
def test_a_request_without_what_the_model_needs_gets_status_400(folder, name, row, reason):
    with pytest.raises(MlflowException, match=reason) as refused:
        served(folder, name, [row, row])
    assert refused.value.get_http_status_code() == 400


def test_one_row_without_what_the_model_needs_does_not_cost_the_answers_to_others(folder):
    lacking, good = served(folder, "vqa", [{"image": IMAGE}, {"image": IMAGE, "text": WORDS[0]}])
    assert lacking["error"].endswith("given: image") and lacking["answers"] is None
    assert good["error"] is None and len(good["answers"]) == 2


def test_the_second_image_is_named(folder):
    row = {"image": IMAGE, "image2": b"?", "text": "x"}
    assert served(folder, "nlvr2", [row])[0]["error"] == "image2: not an image"


@pytest.mark.parametrize("empty", [None, float("nan"), pd.NA])
def test_an_empty_field_is_none(folder, empty):
    (answer,) = served(folder, "retrieval", [{"image": IMAGE, "text": empty}])
    assert set(answer) == {"image_embedding", "error"} and answer["error"] is None


def test_a_served_image_is_turned_upright(folder):
    turned = encoded(scene(), "PNG", exif=exif(8))
    upright = encoded(scene().transpose(Image.Transpose.ROTATE_90), "PNG")
    rows = [{"image": data} for data in (turned, upright, encoded(scene(), "PNG"))]
    first, second, other = served(folder, "retrieval", rows)
    assert first == second != other


def test_a_dual_encoder_alone_serves_similarity_without_a_match(folder):
    (answer,) = served(folder, "dual encoder", [{"image": IMAGE, "text": "a ring"}])
    assert -1 <= answer["similarity"] <= 1 and not answer.get("match") and not answer.get("error")
    assert "match" in served(folder, "retrieval", [{"image": IMAGE, "text": "a ring"}])[0]


def test_paths_bytes_and_opened_images_give_the_same(folder, tmp_path):
    (tmp_path / "image.jpg").write_bytes(IMAGE)
    path = tmp_path / "image.jpg"
    vectors = load(folder, "retrieval").image_features([path, str(path), IMAGE, Image.open(path)])
    assert all(vector.equal(vectors[0]) for vector in vectors)


@pytest.mark.parametrize(
    "name, method, arguments, message",
    [
        ("retrieval", "match", ([IMAGE] * 7, ["a", "b"]), "match: 7 images and 2 captions"),
        ("retrieval", "match", ([IMAGE], []), "texts: the list is empty"),
        ("dual encoder", "match", ([IMAGE], ["a"]), "match: this model compares vectors alone"),
        ("retrieval", "similarity", ([], ["a"]), "images: the list is empty"),
        ("retrieval", "similarity", ([IMAGE], "a caption"), "texts: expected a list, found str"),
        ("retrieval", "image_features", ("image.jpg",), "images: expected a list, found str"),
        ("retrieval", "image_features", (scene(),), "images: expected a list, found Image"),
        ("retrieval", "image_features", (None,), "images: expected a list, found NoneType"),
        ("retrieval", "image_features", (["none.jpg"],), "none.jpg: no such file"),
        (
            "retrieval",
            "image_features",
            ([3],),
            "expected an image, its bytes or its path, found int",
        ),
        ("retrieval", "text_features", ([None],), "text: expected a string, found NoneType"),
        ("retrieval", "text_features", (["\udc00"],), "text: it has half a surrogate pair"),
        ("vqa", "answers", ([IMAGE], "x"), "expected an image, its bytes or its path, found list"),
        ("vqa", "answers", (IMAGE, ["x"]), "text: expected a string, found list"),
        ("vqa", "answers", (IMAGE, "x", 0), "best: expected a number from 1, found 0"),
        ("vqa", "answers", (IMAGE, "x", 1.5), "best: expected a number from 1, found 1.5"),
        (
            "nlvr2",
            "truth",
            (IMAGE, None, "x"),
            "expected an image, its bytes or its path, found None",
        ),
    ],
)
def test_arguments_that_cannot_be_used_are_named_in_one_line(
    folder, name, method, arguments, message
):
    with pytest.raises(UserError) as caught:
        getattr(load(folder, name), method)(*arguments)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_text_at_use_is_what_a_shard_would_hold() -> None:
    assert saved_model._text(" red &amp; blue\n\x00boats\u200b ") == "red & blue boats"
