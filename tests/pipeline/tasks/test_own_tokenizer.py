"""A model with a tokenizer of its own keeps it: in fine-tuning, evaluation, export and use."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow.pyfunc.model import PythonModelContext

from model import checkpoint
from model.pretraining.masked_modeling import MaskedModeling, MaskedModelingConfig
from pipeline.config import params
from pipeline.data.sharding import build
from pipeline.data.shards import parquet
from pipeline.data.synthetic.writers import vqav2
from pipeline.errors import UserError
from pipeline.inference import mlflow_pyfunc, predictor
from pipeline.tasks import Folders, evaluation, evaluations, fine_tunes, runner
from pipeline.tasks.batch_results import unkept
from pipeline.tokenizers.text import TextTokenizer
from pipeline.tokenizers.text.wordpiece import WordPiece
from pipeline.tracking import client as tracking
from pipeline.utils import workdir
from stages import export
from tests.helpers import tiny
from tests.helpers.doc_examples import write_tokenizer
from tests.helpers.indices import write_index
from tests.helpers.released_tokenizers import write_bert
from tests.helpers.toy import BACKBONE
from tests.pipeline.tasks.test_vqa import SYNTHETIC

INIT = Path("runs/small/pretrain/main/model")
TUNED = Path("runs/small/finetune/vqa/model")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    """A project whose pretrained model reads WordPiece, and what a fine-tune made of it."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(tracking, "installed", lambda: False)
        tiny.write(root, tiny.settings())
        (root / "official").mkdir()
        vqav2.write(root / "official", SYNTHETIC)
        shards = root / "data/small/shards"
        for source in set(tiny.SOURCES) - {"vqav2"}:
            write_index(shards / source)
        build.shard(
            "vqav2", root / "official", shards / "vqav2", build.ImageShardParams(4, 64, 0.0, 0)
        )
        write_tokenizer(root / "data/small/text_tokenizer")
        backbone = replace(BACKBONE, vocab_size=1200, text_length=48)
        checkpoint.save(
            MaskedModeling(MaskedModelingConfig(backbone, codebook_size=8)), root / INIT
        )
        write_bert(root / INIT)
        runner.run(job(root / "work"))
        workdir.publish(root / "work", TUNED.parent)
        yield root


def job(work_dir: Path) -> runner.FineTuneJob:
    fine_tune = fine_tunes.load("vqa")
    work_dir.mkdir(exist_ok=True)
    settings = fine_tune.load_params(params.read())
    folders = Folders.of("small", fine_tune.data, INIT)
    return runner.FineTuneJob("vqa", fine_tune, work_dir, INIT, folders, settings)


def test_a_fine_tune_reads_texts_as_the_model_that_it_started_from(project: Path) -> None:
    folders = job(project / "work").folders
    assert folders.text_tokenizer == INIT / "vocab.txt"
    assert (project / TUNED / "vocab.txt").read_bytes() == (
        project / INIT / "vocab.txt"
    ).read_bytes()
    assert Folders.of("small", "vqav2", TUNED).text_tokenizer == TUNED / "vocab.txt"


def test_it_is_evaluated_with_it(project: Path, tmp_path: Path, monkeypatch) -> None:
    loaded = []
    monkeypatch.setattr(
        WordPiece,
        "ids",
        lambda self, text, ids=WordPiece.ids: loaded.append(text) or ids(self, text),
    )
    fine_tune = fine_tunes.load("vqa")
    settings = params.read()
    result = evaluation.evaluate(
        fine_tune.task,
        TUNED,
        Folders.of("small", "vqav2", TUNED),
        fine_tune.load_params(settings).inputs,
        evaluations.load("vqa").load_params(settings),
        tmp_path,
        unkept,
    )
    questions = sum(
        len(row["questions"])
        for row in parquet.read_rows(project / "data/small/shards/vqav2", "test")
    )
    assert result["questions"] == questions and len(loaded) >= questions


def test_an_export_and_a_served_model_have_it(project: Path) -> None:
    text = "Is the ring [MASK]?"
    expected = list(TextTokenizer.load(INIT / "vocab.txt").encode(text, 48))
    write_tokenizer(project / "exports/small/vqa")  # of an export before
    (project / "exports/small/vqa/model.safetensors").touch()
    export.main("vqa")
    exported = project / "exports/small/vqa"
    assert {path.name for path in exported.iterdir()} - {"texts"} == {
        *("model.safetensors", "config.json", "vocab.txt", "README.md")
    }
    assert (
        "| `vocab.txt` | the WordPiece list of its texts |" in (exported / "README.md").read_text()
    )
    model = predictor.load(exported)
    assert model.ids([text])[0].tolist() == [expected]
    served = mlflow_pyfunc.Served()
    artifacts = {"model": str(TUNED), "text_tokenizer": str(TUNED / "vocab.txt")}
    served.load_context(PythonModelContext(artifacts, {}))
    image = mlflow_pyfunc.example()["image"][0]
    (answers,) = served.predict(None, pd.DataFrame({"image": [image], "text": [text]}))["answers"]
    assert answers == [answer for answer, _ in model.answers(image, text)]


def test_a_list_with_more_pieces_than_embeddings_stops_the_fine_tune(
    project: Path, tmp_path: Path
) -> None:
    small = replace(BACKBONE, vocab_size=1000, text_length=48)
    config = MaskedModelingConfig(small, codebook_size=8)
    checkpoint.save(MaskedModeling(config), tmp_path / "init")
    write_bert(tmp_path / "init")
    folders = Folders.of("small", "vqav2", tmp_path / "init")
    wrong = replace(job(tmp_path / "work"), init=tmp_path / "init", folders=folders)
    with pytest.raises(
        UserError, match="vocab.txt: has 1,0.. ids, the model has embeddings of 1,000"
    ):
        runner.run(wrong)
