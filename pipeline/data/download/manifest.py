"""What publishers offer: the official files of a data set, as its YAML lists them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from pipeline.data.datasets import facts

_CHECKSUMS = ("sha256", "sha1", "md5")


@dataclass(frozen=True)
class Checksum:
    """In hexadecimal; `value` may be the first digits only."""

    kind: str  # as hashlib calls it
    value: str


@dataclass(frozen=True)
class OfficialFile:
    """A file as its publisher has it. Without addresses it can only be got by hand."""

    name: str
    addresses: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # other names that the same file goes by
    bytes: int | None = None  # exact
    about: int | None = None  # bytes: commonly reported, or estimated
    checksum: Checksum | None = None
    optional: bool = False  # taken where the user has it, and not asked for

    @property
    def expected(self) -> int:
        """Bytes, or about so many."""
        return self.bytes or self.about or 0


@dataclass(frozen=True)
class Publication:
    """The official files of a source.

    by_hand: how to get those that have no address; instead: other forms of these that its reader
    takes, as patterns; parallel: connections that the publisher allows; url_image_bytes: about, of
    the images behind a list of URLs; listed_bytes: about, of the files that a list will name.
    """

    files: tuple[OfficialFile, ...]
    by_hand: str = ""
    instead: tuple[str, ...] = ()
    parallel: int | None = None
    url_image_bytes: int | None = None
    listed_bytes: int | None = None


def read(source: str, mirrors: Sequence[str] = (), **fields: str) -> Publication:
    """The files of a source, or of `weights`; `mirrors` come before the official addresses.

    A mirror that ends in `/` is a folder of the files; another is the address of the file of that
    name. `fields` are filled into names and addresses.
    """
    tree = facts.read_tree(source)
    return Publication(
        tuple(mirrored(_file(entry, fields), mirrors) for entry in tree["files"]),
        tree.get("by_hand", ""),
        tuple(tree.get("instead", ())),
        tree.get("parallel"),
        tree.get("url_image_bytes"),
        tree.get("listed_bytes"),
    )


def mirrored(file: OfficialFile, mirrors: Sequence[str]) -> OfficialFile:
    """The file with its mirrors' addresses before its own."""
    name = _last(file.addresses[0]) if file.addresses else file.name
    folders = [mirror + name for mirror in mirrors if mirror.endswith("/")]
    alone = [mirror for mirror in mirrors if _last(mirror) == name]
    return replace(file, addresses=(*alone, *folders, *file.addresses))


def _last(address: str) -> str:
    """The name of the file at an address."""
    return urlsplit(address).path.rpartition("/")[2]


def _file(entry: dict[str, Any], fields: dict[str, str]) -> OfficialFile:
    kind = next((kind for kind in _CHECKSUMS if kind in entry), None)
    return OfficialFile(
        entry["name"].format(**fields),
        tuple(address.format(**fields) for address in entry.get("addresses", ())),
        tuple(entry.get("also", ())),
        entry.get("bytes"),
        entry.get("about"),
        None if kind is None else Checksum(kind, entry[kind]),
        entry.get("optional", False),
    )
