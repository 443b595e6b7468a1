"""Data sets, by name: how the official files of each are read, and what is known of it.

A data set is two files here: a module `<name>.py`, its reader, and `<name>.yaml`, its facts. What
else names it are its entries in params.yaml (`download`, `shard`) and in the lists of dvc.yaml.

The reader defines:

    KIND: "image", "text", "questions", "statements" or "masks" (see `sharding.shard_rows`)
    SHARED = True                        only if its images may occur in other data sets: records
                                         carry `names`, and training images that an evaluation set
                                         holds can be left out (`decontaminate` in params.yaml)
    files(root) -> list[Path]            the official files that it reads; FileNotFoundError names
                                         one that is missing
    entries(root) -> Iterator[Entry]     what there is, in order, and `Rejected` for what is not
                                         usable; runs once, in one process, and is cheap
    open_reader(root) -> context manager  of a function entry -> iterator of records of its kind and
                                         of `Rejected`; decodes and parses, in many processes
    counts(root, sharded) -> dict[str, int]  what the files hold, by the names in the YAML
    urls(root) -> Iterator[UrlRow]       only a list of URLs; `entries` then reads what was fetched
    listed(status) -> dict[str, (int, str)]  only if the publisher's list names the files: size in
                                         bytes and SHA-1 of each
    evaluation_images(root) -> Iterator[str]  only if its validation and test images must not be
                                         pretrained on: their names, such as "coco 42"

A part of a data set, such as `coco-test`, is a data set too, with its own entries in params.yaml
and dvc.yaml: some of its splits, from no more files than these need, for evaluation alone. The YAML
names the parts; the reader then takes `splits` in `files`, `entries`, `open_reader` and `counts`.

The YAML holds, checked when it is read (`facts`, `download.manifest`):

    license: terms of use, for model cards
    counts:                              optional; any names, those of the reader's `counts`
      exact: {name: number}              what official files must hold, or the shard stage stops
      about: {name: number}              what is commonly reported; a difference is only shown
    pretraining: {images:, captions:}    only if the paper pretrains on its images: how many
                                         training images and captions it has (no captions: 0)
    plan:                                what `make plan` assumes
      unit: what a record is ("images")
      records: how many of these
      records_per_second: that one core shards
      shard_bytes: of all shards
      tested: images, questions or examples that evaluation sees (0 if absent)
    files:                               the official files, in order
      - name: as the reader looks for it; `{dump}` stands for the date in params.yaml
        addresses: [URL]                 tried in order; without any, it has to be got by hand
        also: [name]                     other names that people have it under
        bytes: exact size, or
        about: size that is reported or estimated
        sha256, sha1 or md5: hexadecimal, or its first digits; in quotes if it looks like a number
        optional: true                   used where the user has it, and not asked for
    by_hand: how to get files without addresses
    instead: [pattern]                   other forms of these files that the reader takes
    parallel: connections that the publisher allows
    url_image_bytes: size, about, of the images behind a list of URLs
    listed_bytes: size, about, of the files that the publisher's list names
    parts: {NAME: keys}                  optional; NAME begins with that of the data set and "-".
                                         In place of the same keys above: `counts`, `plan`, and any
                                         but `pretraining`, which a part never has; and
      splits: those that it has
      files: names of its files, whose entries are above

A number in `pretraining` or `plan` may also be a list of names of counts, whose sum it is, so that
no number is written twice.
"""

import importlib
import pkgutil
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

from pipeline.data.datasets import facts
from pipeline.errors import UserError


def names() -> list[str]:
    """All data sets and their parts, sorted: modules with a YAML beside them. Imports none of
    them."""
    found = []
    for name in _readers():
        found += [name, *facts.parts(name)]
    return sorted(found)


def load(name: str) -> ModuleType | SimpleNamespace:
    """The reader of a data set; of a part, what its reader has of some splits, and `splits`.

    Raises:
        UserError: there is no data set of this name.
    """
    whole = facts.whole(name)
    if whole not in _readers() or (name != whole and name not in facts.parts(whole)):
        raise UserError(f"unknown source {name!r} (known: {', '.join(names())})")
    reader = importlib.import_module(f"{__name__}.{whole}")
    return reader if name == whole else _part(reader, facts.parts(whole)[name])


def _readers() -> list[str]:
    folder = Path(__file__).parent
    modules = [module.name for module in pkgutil.iter_modules(__path__)]
    return [name for name in modules if (folder / f"{name}.yaml").exists()]


def _part(reader: ModuleType, splits: list[str]) -> SimpleNamespace:
    """Nothing is trained on a part, so it tells no names of images in other data sets."""
    return SimpleNamespace(
        KIND=reader.KIND,
        splits=splits,
        files=partial(reader.files, splits=splits),
        entries=partial(reader.entries, splits=splits),
        open_reader=partial(reader.open_reader, splits=splits),
        counts=partial(reader.counts, splits=splits),
    )
