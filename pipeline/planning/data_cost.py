"""What the sources of a scale are made of: files to fetch or to get by hand, records, bytes, time
to shard."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import params, yaml_reader
from pipeline.data.download import raw_files
from pipeline.data.download.params import DownloadParams, params_class
from pipeline.data.download.raw_files import PlannedFile
from pipeline.data.synthetic.params import WorldParams
from pipeline.tokenizers.visual_tokens import VisualTokensParams
from pipeline.tokenizers.vqkd_training import VisualTokenizerParams

EXPECTED = Path(__file__).with_name("expected_sizes.yaml")
VIEW = 4 * 4 + 12 * 4 + 1  # bytes that describe a view: box, colours, flip
CODE = 2  # bytes of a visual token
# Of the generated world:
PIXEL = 0.6  # bytes of a picture for each of its pixels, raw or in a shard
TEXT = {"wikipedia": 2000, "bookcorpus": 50}  # bytes of a page, of a line
QUESTIONS = 5.5  # of a picture
EXAMPLES = 8  # of a set of NLVR2


@dataclass(frozen=True)
class PlannedSource:
    """One source."""

    name: str
    origin: str
    files: list[PlannedFile]
    what: str  # kind of its records
    records: float
    shards: float  # bytes
    core_seconds: float  # to shard them; 0: moments
    pictures: float  # that are tokenised
    tested: float  # pictures, questions or examples that evaluation sees

    @property
    def raw(self) -> float:
        """Bytes of the official files and of the pictures behind their URLs."""
        return sum(file.bytes for file in self.files) or self.shards

    @property
    def to_fetch(self) -> float:
        """Bytes that are not here yet and that a program can fetch."""
        return sum(max(file.bytes - file.here, 0) for file in self.files if not file.by_hand)

    @property
    def by_hand(self) -> list[PlannedFile]:
        """What no program can fetch."""
        return [file for file in self.files if file.by_hand]


def planned_sources(scale: str) -> list[PlannedSource]:
    """All sources of a scale; nothing is downloaded."""
    world = params.load_shared(WorldParams, f"{scale}.world")
    expected = yaml_reader.parse(EXPECTED.read_bytes())
    return [
        *(
            _planned(scale, name, world, expected[name])
            for name in params.subtree(f"{scale}.download")
        ),
        *_weights(scale),
    ]


def visual_token_bytes(
    tokens: VisualTokensParams, sources: list[PlannedSource], patches: int
) -> float:
    """On disk, for the views of all pictures."""
    return views(tokens, sources) * (CODE * patches + VIEW)


def views(tokens: VisualTokensParams, sources: list[PlannedSource]) -> float:
    """How many views are tokenised."""
    streams = {
        source: stream for stream in (tokens.images, tokens.pairs) for source in stream.sources
    }
    return sum(
        source.pictures * streams[source.name].views for source in sources if source.name in streams
    )


def _planned(scale: str, name: str, world: WorldParams, expected: dict[str, Any]) -> PlannedSource:
    chosen = params.load_shared(params_class(name), f"{scale}.download.{name}")
    if chosen.origin == "world":
        return _generated(name, world, params.subtree(f"{scale}.shard.{name}.holdout"))
    return PlannedSource(
        name,
        chosen.origin,
        raw_files.planned(name, chosen),
        expected["what"],
        expected["records"],
        expected["shards"],
        expected["records"] / expected["rate"],
        expected["pictures"],
        expected["tested"],
    )


def _weights(scale: str) -> list[PlannedSource]:
    """The released file that the visual tokenizer starts from, if any."""
    tokenizer = params.load_shared(VisualTokenizerParams, f"{scale}.visual_tokenizer")
    name = tokenizer.official_file if tokenizer.origin == "official" else tokenizer.teacher_file
    chosen = params.load_shared(DownloadParams, f"{scale}.weights")
    files = (
        []
        if name is None
        else [one for one in raw_files.planned("weights", chosen) if one.name == Path(name).name]
    )
    return (
        [PlannedSource("weights", chosen.origin, files, "files", len(files), 0.0, 0.0, 0.0, 0.0)]
        if files
        else []
    )


def _generated(name: str, world: WorldParams, holdout: float) -> PlannedSource:
    """A source of the generated world, by the sizes that params.yaml gives it and the share that is
    held out."""
    sizes = world.sizes[name]
    records, tested = float(sum(sizes.values())), float(sizes.get("test", sizes.get("val", 0)))
    if name == "imagenet22k":
        records = (
            sizes["classes"] * sizes["largest"] * 5 / 8
        )  # classes are of all sizes from a quarter of the largest
        tested = records * holdout
    elif name == "imagenet1k":
        records = sizes["classes"] * (sizes["train"] * 7 / 8 + sizes["val"])  # from three quarters
        tested = sizes["classes"] * sizes["val"]
    elif name == "nlvr2":
        tested = EXAMPLES * (sizes["val"] + sizes["test"])
    elif name == "vqav2":
        tested *= QUESTIONS
    what = {"wikipedia": "pages", "bookcorpus": "lines", "nlvr2": "sets"}.get(name, "pictures")
    size = (
        TEXT[name]
        if name in TEXT
        else PIXEL * world.image_size**2 * (EXAMPLES if name == "nlvr2" else 1)
    )
    tokenised = records if what == "pictures" else 0.0
    return PlannedSource(name, "world", [], what, records, records * size, 0.0, tokenised, tested)
