"""dvc.yaml and the files of parameters: dependencies are neither missing nor superfluous, every key
exists at every scale, and DVC changes one line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import params, yaml_reader
from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.synthetic import generate
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.utils.import_graph import ImportGraph
from tests.helpers import tiny

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = "pipeline/data/synthetic"
PRESETS = sorted((ROOT / "params").glob("*.yaml"))
# What stages import but what cannot change what they write; folders end in a slash.
HARMLESS = (
    "model/config_types.py",  # refuses files
    "model/hub.py",  # fetches models that people name; stages name folders
    "model/meta.py",  # shapes without numbers
    "model/timm_import.py",  # how timm is imported
    "model/weights_file.py",  # refuses files
    "pipeline/config/",  # the values themselves are dependencies
    "pipeline/data/datasets/facts.py",  # reads the YAML, which is a dependency
    "pipeline/data/datasets/shard_counts.py",  # counts, which can stop a stage
    "pipeline/data/download/http_client.py",  # how files come: checksums tell what they are
    "pipeline/data/sharding/coverage.py",  # checks, which can stop a stage
    "pipeline/data/url_fetch/progress.py",  # messages
    "pipeline/errors.py",  # exceptions
    "pipeline/orchestration/",  # where functions run
    "pipeline/reporting/tables.py",  # imported by coverage
    "pipeline/tokenizers/visual_token_ids.py",  # refuses what is no number
    "pipeline/tracking/",  # what MLflow gets
    "pipeline/training/curve_plots.py",  # figures
    "pipeline/utils/dvc_state.py",  # files of DVC's own
    "pipeline/utils/entry_point.py",  # the command line
    "pipeline/utils/files.py",  # files that are whole or absent
    "pipeline/utils/machine_errors.py",  # messages
    "pipeline/utils/finite.py",  # refuses what is no number
    "pipeline/utils/malloc.py",  # how a process gets its memory
    "pipeline/utils/model_folder.py",  # errors
    "pipeline/utils/progress.py",  # messages
    "pipeline/utils/safe_checkpoint.py",  # refuses files
    "pipeline/utils/torch_archive.py",  # refuses files
    "pipeline/utils/surroundings.py",  # TMPDIR and HOME
    "pipeline/utils/workdir.py",  # unfinished work
)
# The same, of some stages.
HARMLESS_IN = {
    # fetching URLs and what readers of records need
    "download": (
        "pipeline/data/records.py",
        "pipeline/data/shards/",
        "pipeline/data/transforms/",
        "pipeline/data/url_fetch/",
        "pipeline/utils/seeds.py",
    ),
    "download_urls": ("pipeline/utils/seeds.py",),  # of the synthetic data, a dependency
    "released_weights": ("pipeline/data/url_fetch/",),
    # what readers of records need, and what MLflow gets
    "import": (
        "pipeline/data/datasets/__init__.py",
        "pipeline/data/datasets/vqa_question_types.py",
        "pipeline/data/records.py",
        "pipeline/data/shards/",
        "pipeline/data/url_fetch/",
        "pipeline/inference/",
        "pipeline/tasks/row_columns.py",
        "pipeline/training/",
    ),
    # classes of parameters
    "decontamination": ("pipeline/data/download/params.py", "pipeline/data/url_fetch/params.py"),
    "shard": ("pipeline/data/download/params.py", "pipeline/data/url_fetch/"),
    "shard_pairs": ("pipeline/data/download/params.py", "pipeline/data/url_fetch/params.py"),
    # how the model was trained, which is a dependency itself
    "evaluate": ("pipeline/data/loading/", "pipeline/training/"),
}
# Read by no stage, or by all in order to find files: no dependency.
NO_DEPENDENCY = {"scale", "preset", "synthetic_code", "plan", "http", "pool", "repro"}
DOWNLOADS = ("download", "download_urls")
# Lists whose entries name stages, and blocks that a scale without such an entry does not read.
LISTS = {"evaluations", "fine_tunes"}
EMPTY_HERE = "pretrain.warm_starts"
NOT_EVERYWHERE = tuple(f"evaluate.{part}-test" for part in ("flickr30k", "nlvr2", "imagenet1k"))


@pytest.fixture(scope="module")
def stages() -> dict[str, Any]:
    """DVC's stages with all templates resolved, by name."""
    repo = pytest.importorskip("dvc.repo").Repo(str(ROOT))
    return {stage.name: stage for stage in repo.index.stages}


@pytest.fixture(scope="module")
def graph() -> ImportGraph:
    return ImportGraph(ROOT)


def test_stages_depend_on_the_code_that_they_import(
    stages: dict[str, Any], graph: ImportGraph
) -> None:
    tree = yaml_reader.parse((ROOT / "params.yaml").read_bytes())
    unused = () if tree["synthetic_code"] == SYNTHETIC else (f"{SYNTHETIC}/",)
    for name, stage in stages.items():
        harmless = HARMLESS + HARMLESS_IN.get(name.partition("@")[0], ()) + unused
        closure = {path for path in graph.closure(modules(name)) if path.endswith(".py")}
        missing = {path for path in closure if not covered(path, files_of(stage))}
        missing = {path for path in missing if not path.startswith(harmless)}
        assert {path for path in missing if not path.endswith("__init__.py")} == set(), name


def test_what_stages_depend_on_beyond_their_imports(
    stages: dict[str, Any], graph: ImportGraph, capsys: pytest.CaptureFixture
) -> None:
    """Folders hold more than a stage imports; printed (`pytest -s`), and none of it costly."""
    for name, stage in stages.items():
        closure = set(graph.closure(modules(name)))
        beyond = sorted(set(python_files(files_of(stage))) - closure)
        print(f"{name}: {', '.join(beyond) or 'nothing'}")
        if name.startswith(("pretrain", "finetune", "evaluate", "visual_token")):
            assert not [path for path in beyond if path.startswith("pipeline/data/synthetic")]


@pytest.mark.parametrize("part", tiny.PARTS)
def test_a_part_of_a_data_set_needs_no_other_data(stages: dict[str, Any], part: str) -> None:
    data = [
        dep.def_path for dep in stages[f"shard@{part}"].deps if dep.def_path.startswith("data/")
    ]
    assert data == [out.def_path for out in stages[f"download@{part}"].outs]
    assert not [dep for dep in stages[f"download@{part}"].deps if dep.def_path.startswith("data/")]


def test_an_evaluation_of_released_weights_needs_no_other_data(stages: dict[str, Any]) -> None:
    """Neither Flickr30k nor training images nor anything that is trained."""
    makers = {out.def_path: name for name, stage in stages.items() for out in stage.outs}
    needed, pending = set(), ["evaluate@vlmo-coco"]
    while pending:
        name = pending.pop()
        needed.add(name)
        pending += {makers[dep.def_path] for dep in stages[name].deps if dep.def_path in makers}
    assert needed == {
        "download@coco-test",
        "evaluate@vlmo-coco",
        "import@vlmo-coco",
        "shard@coco-test",
    }


def test_an_edit_redoes_no_more_than_it_must(stages: dict[str, Any]) -> None:
    for name, stage in stages.items():
        deps = files_of(stage)
        if name.startswith(("pretrain", "visual_tokenizer")):
            assert not covered("model/heads/segmentation.py", deps), name
            assert not covered("pipeline/tasks/segmentation/training/task.py", deps), name
        if name.startswith("finetune"):
            task = task_of(name)
            for module in ("cost", "predict", "visualize", "row_predictor"):
                assert not covered(f"pipeline/tasks/{task}/{module}.py", deps), name
            others = {"vqa", "nlvr2", "retrieval", "classification", "segmentation"} - {task}
            assert not any(covered(f"model/heads/{other}.py", deps) for other in others)


def test_generated_data_is_no_dependency_at_the_papers_scale() -> None:
    """`download` depends on the code that params.yaml names."""
    trees = {path.stem: yaml_reader.parse(path.read_bytes()) for path in PRESETS}
    assert trees["small"]["synthetic_code"] == trees["medium"]["synthetic_code"]
    source = (ROOT / trees["paper"]["synthetic_code"]).read_text(encoding="utf-8")
    assert source.startswith('"""') and source.rstrip().endswith('"""')  # a docstring alone


def test_generated_files_need_no_other_sizes_than_recorded(
    stages: dict[str, Any], tmp_path: Path
) -> None:
    """So the number of one data set's records generates no other one anew."""
    every = params.convert(SyntheticParams, tiny.settings()["synthetic"], "synthetic")
    for name in datasets.names():
        (stage,) = (stages[f"{kind}@{name}"] for kind in DOWNLOADS if f"{kind}@{name}" in stages)
        recorded = {key.removeprefix("synthetic.sizes.") for key in params_of(stage)}
        sizes = {key: size for key, size in every.sizes.items() if key in recorded}
        (tmp_path / name).mkdir()
        generate.write(name, tmp_path / name, replace(every, sizes=sizes))


def test_outputs_belong_to_one_scale(stages: dict[str, Any]) -> None:
    scale = yaml_reader.parse((ROOT / "params.yaml").read_bytes())["scale"]
    outs = [out.def_path for stage in stages.values() for out in stage.outs]
    roots = {"/".join(path.split("/")[:2]) for path in outs}
    assert roots == {f"data/{scale}", f"runs/{scale}", f"results/{scale}"}


def test_every_parameter_is_a_dependency_and_no_other(stages: dict[str, Any]) -> None:
    tree = yaml_reader.parse((ROOT / "params.yaml").read_bytes())
    wanted = {key for stage in stages.values() for key in params_of(stage)}
    known = set(keys(tree))
    assert wanted <= known
    lone = {key for key in known if not any(inside(key, other) for other in wanted)}
    lone = {key for key in lone if not any(inside(other, key) for other in wanted)}
    lone = {key for key in lone if not key.startswith((*NOT_EVERYWHERE, EMPTY_HERE))}
    assert {key for key in lone if key.split(".")[0] not in NO_DEPENDENCY | LISTS} == set()


def test_every_value_counts_in_dvcs_run_cache() -> None:
    """DVC looks for a finished run by a hash of the stage without keys `size` and `nfiles`, which it
    means of files: two values under such a key would be one run, with the model of the first."""
    get_hash = pytest.importorskip("dvc.stage.cache")._get_cache_hash
    for path in (*PRESETS, ROOT / "fine_tunes.yaml"):
        for key, value in leaves(yaml_reader.parse(path.read_bytes())):
            stages = [{"params": {path.name: nested(key, of)}} for of in (value, "another")]
            assert get_hash(stages[0]) != get_hash(stages[1]), f"{path.name}: {key}"


def test_presets_have_the_same_keys() -> None:
    """But for data sets that a preset does without, in lists of its own, where small's pretraining
    differs from its ablations, and in budgets, which say what differs."""
    trees = (yaml_reader.parse(path.read_bytes()) for path in PRESETS)
    lists = ("imports.", "evaluations.", "fine_tunes.", "pretrain.warm_starts.")
    lists += ("synthetic.world.sizes.", "pretrain.budgets.main.loop")
    lists += (
        "finetune.flickr30k_ablation.",
        "finetune.flickr30k_coco.",
        "finetune.nlvr2_ablation.",
    )
    first, *others = (
        {key for key in keys(tree) if ".sources." not in key and not key.startswith(lists)}
        for tree in trees
    )
    for path, other in zip(PRESETS[1:], others, strict=True):
        assert first ^ other == set(), path.name


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_narrow_and_say_their_name_twice(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 1_020
    tree = yaml_reader.parse(path.read_bytes())
    assert tree["scale"] == tree["preset"] == path.stem


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("finetune.vqa.lr=7e-4", 7e-4),
        ("pretrain.common.lr=7e-4", 7e-4),
        ("finetune.common.seed=7", 7),
        ("finetune.nlvr2.loop.gradient_accumulation=7", 7),
        ("evaluate.flickr30k.rerank_k=7", 7),
        ("pretrain.variants.mvlm.budget=main", "main"),
        ("pretrain.common.data.pairs.order.batch_size=7", 7),
        ("download.coco.origin=local", "local"),
        ("loop.precision=bf16", "bf16"),
        ("visual_tokenizer.teacher_file=a.pt", "a.pt"),
        ("url_fetch.common.client.contact=me@my.org", "me@my.org"),
        ("visual_tokens.pairs.view.flip=0.25", 0.25),
        ("table.section=mine", "mine"),
    ],
)
def test_dvc_changes_one_line(path: Path, override: str, value: Any, tmp_path: Path) -> None:
    """`dvc exp run -S`: DVC's own writer rewraps long lines and respells some values."""
    apply = pytest.importorskip("dvc.utils.hydra").apply_overrides
    copy = tmp_path / "params.yaml"
    copy.write_bytes(path.read_bytes())
    before = copy.read_text(encoding="utf-8").splitlines()
    apply(copy, [override])
    after = copy.read_text(encoding="utf-8").splitlines()
    assert len(after) == len(before)
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1
    node: Any = yaml_reader.parse(copy.read_bytes())
    for part in override.partition("=")[0].split("."):
        node = node[part]
    assert node == value


def test_scale_and_preset_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params" / "small.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("scale: small", "scale: paper", 1))
    with pytest.raises(params.UserError, match="make scale SCALE=paper"):
        params.read()


def modules(name: str) -> list[str]:
    """What a stage runs: its entry point, and what that loads by name."""
    stage, _, item = name.partition("@")
    entry = {
        "download_urls": "download",
        "shard_pairs": "shard",
        "import": "imports",
    }.get(stage, stage)
    found = [f"stages.{entry}"]
    if entry in ("download", "shard"):
        found.append(f"pipeline.data.datasets.{facts.whole(item)}")
    if entry == "finetune":
        found.append(f"pipeline.tasks.{task_of(name)}.training.task")
    if entry == "evaluate":
        parts = ("training.data", "predict")
        found += [f"pipeline.tasks.{task_of(name)}.{part}" for part in parts]
    return found


def task_of(name: str) -> str:
    """Of a fine-tune or an evaluation."""
    stage, _, item = name.partition("@")
    key = "evaluations" if stage == "evaluate" else "fine_tunes"
    files = ("fine_tunes.yaml", "params.yaml")
    trees = [yaml_reader.parse((ROOT / file).read_bytes())[key] for file in files]
    return (trees[0] | trees[1])[item]["task"]


def files_of(stage: Any) -> list[str]:
    """Files and folders of code that a stage depends on."""
    paths = [dep.def_path for dep in stage.deps]
    return [path for path in paths if path.startswith(("model", "pipeline/", "stages"))]


def params_of(stage: Any) -> set[str]:
    return {key for dep in stage.deps for key in getattr(dep, "params", ())}


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a tree that are no blocks, by dotted key."""
    if not isinstance(tree, dict):
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def nested(key: str, value: Any) -> Any:
    """The tree with one value under a dotted key."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def covered(path: str, deps: list[str]) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


def python_files(deps: list[str]) -> Iterator[str]:
    for dep in deps:
        found = sorted((ROOT / dep).rglob("*.py")) if (ROOT / dep).is_dir() else [ROOT / dep]
        for path in found:
            if path.suffix == ".py" and path.read_text(encoding="utf-8").strip():
                yield path.relative_to(ROOT).as_posix()


def inside(key: str, block: str) -> bool:
    return key == block or key.startswith(f"{block}.")


def keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
