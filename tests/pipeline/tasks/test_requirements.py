"""What a fine-tune lacks is said in one line before it starts."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import tasks
from pipeline.config import params
from pipeline.data.shards import parquet, schema
from pipeline.errors import UserError
from pipeline.tasks import fine_tunes, runner
from stages import finetune
from tests.helpers import tiny
from tests.helpers.doc_examples import write_tokenizer
from tests.helpers.indices import write_index
from tests.helpers.toy import BACKBONE


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A tiny project with a model to start from, as far as a check looks at it."""
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path, tiny.settings())
    model = tmp_path / "runs/small/pretrain/main/model"
    model.mkdir(parents=True)
    config = {"model": "MaskedModeling", "backbone": asdict(replace(BACKBONE, text_length=48))}
    (model / "config.json").write_text(json.dumps(config))
    return tmp_path


def job_of(name, project, **changes):
    fine_tune = fine_tunes.load(name)
    settings = replace(fine_tune.load_params(params.read()), **changes)
    folders = tasks.Folders.of("small", fine_tune.data, Path("init"))
    return runner.FineTuneJob(
        name, fine_tune, project, project / "runs/small/pretrain/main/model", folders, settings
    )


def write_shards(source, columns, splits=("train", "val")):
    folder = tasks.Folders.of("small", source, Path("init")).shards
    write_index(folder, splits)
    table = columns.empty_table()
    for split in splits:
        pq.write_table(table, folder / f"{split}-00000.parquet")


@pytest.mark.parametrize("name", ["coco", "flickr30k", "imagenet1k", "ade20k", "nlvr2", "vqa"])
@pytest.mark.parametrize("missing", ["train", "val"])
def test_splits_are_there(project, name, missing):
    data = fine_tunes.load(name).data
    columns = {
        "ade20k": schema.MASK_SHARD,
        "nlvr2": schema.STATEMENT_SHARD,
        "vqav2": schema.QUESTION_SHARD,
    }
    write_shards(data, columns.get(data, schema.IMAGE_SHARD), tuple({"train", "val"} - {missing}))
    with pytest.raises(
        UserError, match=rf"^fine_tunes.yaml: {name}: .*no split '{missing}'"
    ) as caught:
        runner.check(job_of(name, project))
    assert "\n" not in str(caught.value)
    write_shards(data, columns.get(data, schema.IMAGE_SHARD))
    runner.check(job_of(name, project))


def test_texts_fit_the_position_table(project):
    write_shards("coco", schema.IMAGE_SHARD)
    job = job_of("coco", project)
    job = replace(
        job, params=replace(job.params, inputs=replace(job.params.inputs, text_length=49))
    )
    with pytest.raises(UserError, match="inputs.text_length: 49, but the model .* texts of 48"):
        runner.check(job)


def test_sizes_that_do_not_fit_are_one_line(project):
    write_shards("nlvr2", schema.STATEMENT_SHARD)
    job = job_of("nlvr2", project)
    (job.folders.text_tokenizer.parent).mkdir(parents=True)
    write_tokenizer(job.folders.text_tokenizer.parent)
    job = replace(job, params=replace(job.params, inputs=replace(job.params.inputs, image_size=33)))
    with pytest.raises(UserError, match="^params.yaml: finetune of nlvr2: image_size 33 is not a"):
        runner.run(job)


def test_labels_fit_the_head_without_reading_an_image(project):
    folder = tasks.Folders.of("small", "imagenet1k", Path("init")).shards
    rows = [
        {
            "key": str(label),
            "image": b"no image",
            "captions": [],
            "label": label,
            "width": 1,
            "height": 1,
        }
        for label in range(7)
    ]
    entries = {
        split: parquet.write(
            folder, split, rows, schema.IMAGE_SHARD, rows_per_group=2, groups_per_file=2
        )
        for split in ("train", "val")
    }
    parquet.write_index(folder, entries, rejected={})
    assert parquet.largest(folder, "train", "label") == 6
    with pytest.raises(
        UserError, match=r"imagenet1k.classes: 6, but .* of split train .* at least 7"
    ):
        runner.run(job_of("imagenet1k", project))


def test_an_evaluation_without_data_is_a_warning(project, capsys):
    write_shards("coco", schema.IMAGE_SHARD)
    job = job_of("coco", project)
    finetune._warn_of_evaluation(job.fine_tune, job.folders)
    line = capsys.readouterr().err
    assert "params.yaml: evaluate.coco.split: " in line and "no split 'test'" in line
    write_shards("coco", schema.IMAGE_SHARD, ("train", "val", "test"))
    finetune._warn_of_evaluation(job.fine_tune, job.folders)
    assert capsys.readouterr().err == ""
