"""Results of evaluations of released weights, with the numbers that are printed of these."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dacite

from pipeline.config import yaml_reader
from pipeline.errors import UserError
from pipeline.reporting.tables import value_at

PUBLISHED = Path(__file__).with_name("released_results.yaml")
SIZES = ("images", "captions", "questions", "examples")  # of what was evaluated, in a result


@dataclass(frozen=True)
class Score:
    """One number that an evaluation measures, as released_results.yaml describes it."""

    name: str
    key: str  # where it stands in the evaluation's result, a fraction in 0..1
    count: str | None = None  # where the number of evaluated records stands
    published: float | None = None  # percent; None: compared with nothing
    column: str | None = None  # of the paper's table, where it has one


@dataclass(frozen=True)
class ReleasedFile:
    """A file of weights, as released_results.yaml describes it."""

    model: str  # label of its rows
    scores: list[Score]
    table: str | None = None  # of the paper, by its key in paper_results.yaml
    source: str = "none known"  # where the published scores are printed
    protocol: str = "unknown"  # of those who printed them
    note: str = ""  # where other numbers are printed, too


@dataclass(frozen=True)
class Comparison:
    """A score in percent, as printed and as measured here; None where there is no number."""

    name: str
    column: str | None
    records: int | None  # evaluated here
    published: float | None
    measured: float | None

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points, with four decimals."""
        if self.measured is None or self.published is None:
            return None
        return round(self.measured - self.published, 4) + 0.0  # no -0.0


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation of released weights, and what is published of their file."""

    name: str
    result: dict[str, Any]
    file: ReleasedFile

    @property
    def made_up(self) -> bool:
        """Whether the weights are random numbers in the file's layout."""
        return bool(self.result["released"]["origin"] == "synthetic")

    def comparisons(self) -> list[Comparison]:
        """Its scores. Raises UserError where the result lacks one."""
        return list(map(self._comparison, self.file.scores))

    def description(self) -> str:
        """What was evaluated and how, by us and by those who published the file, in a few lines."""
        released = self.result["released"]
        weights = f"origin {released['origin']}, sha256 {released['sha256'][:12]}"
        lines = [f"{self.name}: {released['file']} ({weights}).", f"Here: {self._protocol()}."]
        if not self.made_up:
            lines.append(f"Published ({self.file.source}): {self.file.protocol}.")
            lines.append(self.file.note)
        return " ".join(filter(None, lines))

    def _protocol(self) -> str:
        result = self.result
        facts = {"data": result["data"], **self._at("inputs")}
        if "precision" in result:
            facts["precision"] = result["precision"]
        for key in SIZES:
            if key in result:
                facts[key] = _count(result[key])
        if result["task"] == "retrieval":
            facts["reranked"] = "yes" if "reranked" in result else "no"
        return ", ".join([f"{key} {value}" for key, value in facts.items()])

    def _comparison(self, score: Score) -> Comparison:
        fraction = self._at(score.key)
        return Comparison(
            score.name,
            score.column,
            None if score.count is None else self._at(score.count),
            score.published,
            None if fraction is None else 100 * fraction,
        )

    def _at(self, key: str) -> Any:
        try:
            return value_at(key, self.result)
        except KeyError:
            raise UserError(
                f"{PUBLISHED.name}: {self.result['released']['file']}: the result of {self.name} "
                f"has no {key!r}"
            ) from None


def is_released(result: dict[str, Any]) -> bool:
    """Whether a result is of released weights, not of a fine-tune."""
    return "released" in result


def read_published(path: Path = PUBLISHED) -> dict[str, ReleasedFile]:
    """What is published, by the name of the file of weights.

    Raises:
        UserError: an entry lacks a key or has another.
    """
    published: dict[str, ReleasedFile] = {}
    for name, entry in yaml_reader.parse(path.read_bytes()).items():
        try:
            published[name] = dacite.from_dict(ReleasedFile, entry, dacite.Config(strict=True))
        except dacite.DaciteError as error:
            raise UserError(f"{path.name}: {name}: {error}") from None
    return published


def evaluations(results: dict[str, Any]) -> list[Evaluation]:
    """Those of released weights among the results of a scale, by name."""
    published, found = read_published(), []
    for name, result in sorted(results.items()):
        if is_released(result):
            file = published.get(result["released"]["file"]) or _unpublished(result)
            found.append(Evaluation(name, result, file))
    return found


def _unpublished(result: dict[str, Any]) -> ReleasedFile:
    """The headline of a file of which no number is known to be printed."""
    scores = [Score(key, f"headline.{key}") for key in result["headline"] if key != "score"]
    return ReleasedFile(result["released"]["family"], scores)


def _count(value: int | dict[str, int]) -> str:
    """A number of records, or one for each split."""
    if isinstance(value, int):
        return f"{value:,}"
    return " and ".join([f"{number:,} ({split})" for split, number in value.items()])
