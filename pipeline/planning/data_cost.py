"""What the sources of a scale are made of: files to fetch or to get by hand, records, bytes, time
to shard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.params import Params
from pipeline.data import datasets
from pipeline.data.datasets import facts
from pipeline.data.download import released_weights
from pipeline.data.download.official_files import OfficialFiles, PlannedFile
from pipeline.data.download.params import DownloadParams, load_params
from pipeline.data.synthetic.params import SyntheticParams
from pipeline.released import files as released_files
from pipeline.released import imports
from pipeline.tokenizers import visual_tokens

VIEW = 4 * 4 + 12 * 4 + 1  # bytes that describe a view: box, colors, flip
CODE = 2  # bytes of a visual token
# Of the synthetic data:
PIXEL = 0.6  # bytes of an image for each of its pixels, raw or in a shard
TEXT_BYTES = {"pages": 2000, "lines": 50}  # of one
QUESTIONS = 5.5  # of an image
EXAMPLES = 8  # of a set of NLVR2


@dataclass(frozen=True)
class PlannedSource:
    """One source."""

    name: str
    origin: str
    files: list[PlannedFile]
    unit: str  # what a record is
    records: float
    shards: float  # bytes
    core_seconds: float  # to shard them; 0: moments
    images: float  # for training: those that are tokenized, if it is pretrained on
    tested: float  # images, questions or examples that evaluation sees

    @property
    def raw(self) -> float:
        """Bytes of the official files and of the images behind their URLs."""
        return sum(file.bytes for file in self.files) or self.shards

    @property
    def to_fetch(self) -> float:
        """Bytes that are not here yet and that a program can fetch."""
        return sum(map(_missing, self.files))

    @property
    def by_hand(self) -> list[PlannedFile]:
        """What no program can fetch."""
        return [file for file in self.files if file.by_hand]


def planned_sources(params: Params) -> list[PlannedSource]:
    """All sources of a scale; nothing is downloaded."""
    synthetic = params.load(SyntheticParams, "synthetic")
    names = [name for name in params.subtree("download") if name != "common"]
    sources = [_planned(params, name, synthetic) for name in names] + _weights(params)
    return [*sources, *(_imported(params, name) for name in params.subtree("imports"))]


def raw(sources: Sequence[PlannedSource]) -> float:
    """Bytes of official files and images of all sources, each file once."""
    lone = sum(source.raw for source in sources if not source.files)
    return lone + sum(file.bytes for file in _distinct(sources))


def to_fetch(sources: Sequence[PlannedSource]) -> float:
    """Bytes that are not here yet and that a program can fetch, each file once."""
    return sum(map(_missing, _distinct(sources)))


def visual_token_bytes(params: Params, sources: Sequence[PlannedSource], patches: int) -> float:
    """On disk, for the views of all images."""
    return views(params, sources) * (CODE * patches + VIEW)


def views(params: Params, sources: Sequence[PlannedSource]) -> float:
    """How many views are tokenized."""
    per_image: dict[str, int] = {}
    for stream in visual_tokens.STREAMS:
        tokens = visual_tokens.load_stream(params, stream)
        per_image |= dict.fromkeys(tokens.sources, tokens.views)
    return sum(source.images * per_image.get(source.name, 0) for source in sources)


def _distinct(sources: Sequence[PlannedSource]) -> Iterable[PlannedFile]:
    """COCO's images, for one, are in several data sets: such files have the same addresses, or are
    got by hand under the same name. Other entries are of one source alone."""
    files = {}
    for source in sources:
        for file in source.files:
            is_shared = file.addresses or file.by_hand
            files[file.name, "" if is_shared else source.name] = file
    return files.values()


def _missing(file: PlannedFile) -> int:
    return 0 if file.by_hand else max(file.bytes - file.here, 0)


def _planned(params: Params, name: str, synthetic: SyntheticParams) -> PlannedSource:
    origin_params = load_params(params, name)
    if origin_params.origin == "none":
        unit = facts.read(name).plan.unit
        return PlannedSource(name, "none", [], unit, 0.0, 0.0, 0.0, 0.0, 0.0)
    if origin_params.origin == "synthetic":
        return _generated(name, synthetic, params.subtree(f"shard.{name}.val_fraction"))
    known = facts.read(name)
    plan = known.plan
    if known.pretraining is not None:
        images = known.pretraining.images
    else:
        images = plan.records if datasets.load(name).KIND == "image" else 0
    return PlannedSource(
        name,
        origin_params.origin,
        OfficialFiles(name, origin_params).planned(),
        plan.unit,
        plan.records,
        plan.shard_bytes,
        plan.records / plan.records_per_second,
        images,
        plan.tested,
    )


def _weights(params: Params) -> list[PlannedSource]:
    """The released files that the two tokenizers start from, if any."""
    origin_params = params.load(DownloadParams, "released_weights")
    names = {Path(path).name for path in released_weights.named(params)}
    planned = OfficialFiles(released_weights.NAME, origin_params).planned()
    files = [file for file in planned if file.name in names]
    if not files:
        return []
    count = float(len(files))
    return [
        PlannedSource("weights", origin_params.origin, files, "files", count, 0.0, 0.0, 0.0, 0.0)
    ]


def _imported(params: Params, name: str) -> PlannedSource:
    """The files of an import."""
    origin_params = params.load(DownloadParams, released_files.KEY)
    files: list[PlannedFile] = []
    for source, wanted in released_files.wanted(imports.load(name, params)).items():
        planned = OfficialFiles(source, origin_params).planned()
        files += [file for file in planned if file.name in wanted]
    count = float(len(files)) or 1.0
    return PlannedSource(name, origin_params.origin, files, "files", count, 0.0, 0.0, 0.0, 0.0)


def _generated(name: str, synthetic: SyntheticParams, val_fraction: float) -> PlannedSource:
    """A synthetic source, by the sizes that params.yaml gives it and the share that is
    set aside."""
    sizes, kind = synthetic.sizes[name], datasets.load(name).KIND
    unit, size = "images", PIXEL * synthetic.image_size**2
    if kind == "statements":
        unit, size = "sets", EXAMPLES * size
    elif kind == "text":
        (unit,) = sizes
        size = TEXT_BYTES[unit]
    records, tested = _generated_records(sizes, val_fraction)
    if kind == "statements":
        tested = EXAMPLES * (sizes["val"] + sizes["test"])
    elif kind == "questions":
        tested *= QUESTIONS
    images = records if unit == "images" else 0.0
    return PlannedSource(name, "synthetic", [], unit, records, records * size, 0.0, images, tested)


def _generated_records(sizes: dict[str, int], val_fraction: float) -> tuple[float, float]:
    """How many records there are, and how many of them are tested."""
    if "largest" in sizes:  # classes have all sizes from a quarter of the largest
        records = sizes["classes"] * sizes["largest"] * 5 / 8
        return records, records * val_fraction
    if "classes" in sizes:  # of `train` too, from three quarters of the largest
        tested = float(sizes["classes"] * sizes["val"])
        return sizes["classes"] * (sizes.get("train", 0) * 7 / 8 + sizes["val"]), tested
    return float(sum(sizes.values())), float(sizes.get("test", sizes.get("val", 0)))
