"""A model whose numbers are NaN or infinite has no score and no answer, in any task: comparisons with
NaN are false, and a rank that counts them is the best one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from model import checkpoint
from model.heads.classification import Classification, ClassificationConfig
from model.heads.nlvr2 import NLVR2, NLVR2Config
from model.heads.retrieval import Retrieval, RetrievalConfig
from model.heads.segmentation import Segmentation, SegmentationConfig
from model.heads.vqa import VQA, VQAConfig
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from model.tokenizer.vqkd import VisualTokenizer
from pipeline import tasks
from pipeline.errors import UserError
from pipeline.inference import predictor
from pipeline.tasks import Folders, evaluation
from pipeline.tasks.batch_results import unkept
from pipeline.tasks.classification.training import metrics as classification
from pipeline.tasks.classification.training.data import EvaluationBatch
from pipeline.tasks.nlvr2.training import metrics as nlvr2
from pipeline.tasks.nlvr2.training.data import Examples
from pipeline.tasks.ranking import best_first
from pipeline.tasks.retrieval import predict as retrieval_predict
from pipeline.tasks.retrieval.training import metrics as retrieval
from pipeline.tasks.retrieval.training.data import EvaluationSet
from pipeline.tasks.segmentation.training.data import LabeledImage
from pipeline.tasks.segmentation.training.sliding_window import WindowParams, segment
from pipeline.tasks.vqa.training import metrics as vqa
from pipeline.tasks.vqa.training.data import Question, ShownQuestion
from pipeline.tokenizers.text import TextTokenizer
from tests.helpers.doc_examples import WORDS, write_tokenizer
from tests.helpers.toy import BACKBONE, HEAD
from tests.model.test_checkpoint import TOKENIZER

SMALL = replace(BACKBONE, drop_path=0.0, vocab_size=34)  # ids of `write_tokenizer`'s
HUGE = 3e38  # finite in fp32; what it is multiplied with is not
VALUES = (float("nan"), float("inf"), HUGE)


def pixels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (*shape, 16, 16, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return TextTokenizer.load(folder / "spm.model")


def classify(model: Classification, _: TextTokenizer) -> None:
    classification._classify(model, EvaluationBatch(["a", "b"], pixels(2), torch.tensor([0, 3])))


def pairs(tokenizer: TextTokenizer) -> EvaluationSet:
    ids = [tokenizer.encode(text, 12).astype(np.int64) for text in WORDS]
    return EvaluationSet(["a", "b", "c"], list(WORDS), pixels(3), ids, torch.arange(3))


def retrieve(model: Retrieval, tokenizer: TextTokenizer) -> None:
    retrieval.dual_scores(model, pairs(tokenizer), 2)


def match(model: Retrieval, tokenizer: TextTokenizer) -> None:
    every = torch.arange(3)
    retrieval_predict.match_logits(model, pairs(tokenizer), every, every, 2)


def decide(model: NLVR2, tokenizer: TextTokenizer) -> None:
    ids = torch.from_numpy(tokenizer.encode(WORDS[0], 12).astype(np.int64))[None]
    batch = Examples(
        ["k"], ["g"], [WORDS[0]], torch.ones(1), pixels(1, 2), ids, torch.ones_like(ids).bool()
    )
    nlvr2.predict(model, [batch])


def answer(model: VQA, tokenizer: TextTokenizer) -> None:
    shown = ShownQuestion(Question(1, WORDS[0], (), "a"), pixels(1)[0].numpy())
    list(vqa.predict(model, [shown], tokenizer, 12, 2))


def label(model: Segmentation, _: TextTokenizer) -> None:
    image = LabeledImage("a", Image.fromarray(pixels(1)[0].numpy()), np.ones((16, 16), np.uint8))
    list(segment(model, [image], WindowParams(16, 8, (16, 16), "bicubic", [1.0], False, 2)))


# what builds the model, a weight that all its outputs depend on, and what scores it
SCORED = {
    "classification": (
        lambda: Classification(ClassificationConfig(SMALL, 6)),
        "head.weight",
        classify,
    ),
    "retrieval": (
        lambda: Retrieval(RetrievalConfig(SMALL)),
        "image_projection.weight",
        retrieve,
    ),
    "matching": (lambda: Retrieval(RetrievalConfig(SMALL)), "match.weight", match),
    "nlvr2": (lambda: NLVR2(NLVR2Config(SMALL)), "classifier.3.weight", decide),
    "vqa": (lambda: VQA(VQAConfig(SMALL, tuple("abcd"))), "classifier.3.weight", answer),
    "segmentation": (
        lambda: Segmentation(SegmentationConfig(SMALL, HEAD)),
        "decode_head.classify.weight",
        label,
    ),
}


def spoil(model: torch.nn.Module, name: str, value: float) -> torch.nn.Module:
    """All of a weight; where the value is finite, also the backbone's norms, so that products
    overflow."""
    state = model.state_dict()
    state[name].fill_(value)
    if value == HUGE:
        for other, tensor in state.items():
            if "norm" in other and other.endswith("weight"):
                tensor.fill_(HUGE)
    return model.eval()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("task", SCORED)
def test_no_task_makes_a_score_of_them(task: str, value: float, tokenizer: TextTokenizer) -> None:
    build, name, score = SCORED[task]
    torch.manual_seed(0)
    model = build()
    score(model.eval(), tokenizer)  # which has a score
    with pytest.raises(UserError, match="NaN or infinite") as caught:
        score(spoil(model, name, value), tokenizer)
    assert "\n" not in str(caught.value)


def test_one_number_is_enough() -> None:
    scores = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    labels, every = torch.arange(4), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 3])
    classification.label_ranks(scores, labels)
    retrieval.recalls(scores, scores.T, every)
    for value in (float("nan"), float("inf"), float("-inf")):
        scores[2, 5] = value
        with pytest.raises(UserError, match="logits of the classes: 1 of 36 numbers"):
            classification.label_ranks(scores, labels)
        with pytest.raises(UserError, match="scores of candidates: 1 of 36 numbers"):
            retrieval.recalls(scores, scores.T, every)


def test_a_result_with_one_is_refused_by_its_key(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a task that does not look at its logits itself."""

    class Predict:
        @staticmethod
        def evaluate(*_: object) -> dict[str, object]:
            return {"images": 3, "dual": {"tr_r1": 1.0, "tr_r5": float("nan")}}

    class Params:
        threads = 1
        precision = "fp32"

    monkeypatch.setattr(tasks, "load", lambda *_: Predict)
    checkpoint.save(NLVR2(NLVR2Config(SMALL)), tmp_path)
    folders = Folders(tmp_path, tmp_path)
    with pytest.raises(UserError, match="dual: tr_r5 is nan"):
        evaluation.evaluate("nlvr2", tmp_path, folders, None, Params(), tmp_path, unkept)


# in use: what is spoiled, and what is asked
ASKED = {
    "Classification": ("head.weight", lambda use, image: use.classify(image)),
    "NLVR2": ("classifier.3.weight", lambda use, image: use.truth(image, image, WORDS[0])),
    "VQA": ("classifier.3.weight", lambda use, image: use.answers(image, WORDS[0])),
    "Segmentation": ("decode_head.classify.weight", lambda use, image: use.segment(image)),
    "Retrieval": ("image_projection.weight", lambda use, image: use.image_features([image])),
    "MaskedModeling": ("backbone.norm.weight", lambda use, image: use.image_features([image])),
    "VisualTokenizer": (
        "encode_task_layer.2.weight",
        lambda use, image: use.visual_tokens([image]),
    ),
}


def in_use(name: str) -> torch.nn.Module:
    others = {
        "MaskedModeling": lambda: MaskedModeling(MaskedModelingConfig(SMALL, codebook_size=8)),
        "VisualTokenizer": lambda: VisualTokenizer(TOKENIZER),
    }
    builds = {type(build()).__name__: build for build, _, _ in SCORED.values()} | others
    torch.manual_seed(0)
    return builds[name]()


@pytest.mark.parametrize("name", ASKED)
def test_no_model_in_use_answers_with_them(name: str, tokenizer: TextTokenizer, tmp_path) -> None:
    model, (weight, ask) = in_use(name), ASKED[name]
    image = Image.fromarray(pixels(1)[0].numpy())
    (tmp_path / "spm.model").write_bytes(tokenizer.reader.processor.serialized_model_proto())
    checkpoint.save(model, tmp_path)
    ask(predictor.load(tmp_path), image)
    checkpoint.save(spoil(model, weight, HUGE), tmp_path)  # which is finite
    loaded = predictor.load(tmp_path)
    for call in (
        lambda: ask(loaded, image),
        lambda: loaded.predict_row([image] * (1 + (name == "NLVR2")), WORDS[0]),
    ):
        with pytest.raises(UserError, match="NaN or infinite|is nan|is inf") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_answers_of_equal_logits_come_in_the_order_of_argmax() -> None:
    logits = torch.tensor([[1.0, 7.0, 7.0, 3.0, 7.0], [50.0, 60.0, 40.0, 20.0, 30.0]])
    assert best_first(logits, 3).tolist() == [[1, 2, 4], [1, 0, 2]]
    assert best_first(logits, 9).shape == (2, 5)
    # whose sigmoids are all one
    assert torch.equal(best_first(logits, 1)[:, 0], logits.argmax(dim=1))


def test_of_equal_probabilities_a_statement_is_false() -> None:
    predictions = nlvr2.Predictions(["a", "b", "c"], ["a", "b", "c"], [False] * 3, [0.5, 0.6, 0.4])
    assert predictions.answers() == [False, True, False]
