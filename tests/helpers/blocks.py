"""All blocks of params.yaml, as the stages load them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline.config.params import Params
from pipeline.data import datasets
from pipeline.data.download import params as download
from pipeline.data.download.http_client import HttpParams
from pipeline.data.sharding import build
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.orchestration.parallel_map import PoolParams
from pipeline.orchestration.repro import ReproParams
from pipeline.planning.plan import PlanParams
from pipeline.pretraining import variants
from pipeline.released import imports
from pipeline.released.imports import ImportedSize
from pipeline.reporting.tables import TableParams
from pipeline.tasks import evaluations, fine_tunes
from pipeline.tokenizers import vqkd_training
from pipeline.tokenizers.packing import TextTokensParams
from pipeline.tokenizers.sentencepiece_training import TextTokenizerParams
from pipeline.tokenizers.visual_tokens import VisualTokensParams

SINGLE = {
    "plan": PlanParams,
    "http": HttpParams,
    "pool": PoolParams,
    "repro": ReproParams,
    "synthetic": SyntheticParams,
    "text_tokenizer": TextTokenizerParams,
    "text_tokens": TextTokensParams,
    "table": TableParams,
    "imported_size": ImportedSize,
    "imported_weights": download.DownloadParams,
}


def load_all(params: Params, key: str) -> None:
    """Load every block that reads something under a top-level key. Raises UserError for what is
    wrong with one."""
    if key in SINGLE:
        params.load(SINGLE[key], key)
    if key in ("download", "url_fetch"):
        for source in datasets.names():
            download.load_params(params, source)
    elif key == "shard":
        for source in datasets.names():
            params.load(build.params_class(source), "shard.common", f"shard.{source}")
    elif key == "visual_tokens":
        for stream in ("images", "pairs"):
            params.load(VisualTokensParams, "visual_tokens.common", f"visual_tokens.{stream}")
    elif key in ("finetune", "evaluate"):
        _load_fine_tunes(params, key)
    elif key == "imports":
        for name in params.subtree("imports"):
            imports.load(name, params)
    if key in ("visual_tokenizer", "loop"):
        vqkd_training.load_params(params)
    if key in ("pretrain", "loop"):
        for variant in params.subtree("pretrain.variants"):
            variants.load_params(params, variant)


def _load_fine_tunes(params: Params, key: str) -> None:
    budgets: set[str] = set()  # one fine-tune of each is enough
    for name in fine_tunes.names():
        fine_tune = fine_tunes.load(name)
        if key == "evaluate":
            listed = evaluations.load(name)
            listed.load_params(params)
            part = f"{listed.data}-test"
            if part in params.subtree("evaluate"):
                replace(listed, data=part).load_params(params)
        elif fine_tune.budget not in budgets:
            budgets.add(fine_tune.budget)
            fine_tune.load_params(params)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where every scalar and every list of a tree is."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def value_at(tree: Any, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def replaced(tree: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of the tree with another value at a path."""
    if not path:
        return value
    return {**tree, path[0]: replaced(tree[path[0]], path[1:], value)}
