"""The official files of a data set: from the user's own folder, checked, and the others from their
publisher."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from pipeline.data import datasets
from pipeline.data.download import checksums, http_client, manifest
from pipeline.data.download.manifest import Checksum, OfficialFile, Publication
from pipeline.data.download.params import DownloadParams, DumpParams, HttpParams, user_folder
from pipeline.data.web import urls
from pipeline.errors import UserError
from pipeline.utils import files, workdir
from pipeline.utils.progress import size


@dataclass(frozen=True)
class PlannedFile:
    """What a data set needs, as far as it is known without asking anybody.

    bytes: in all, 0 where nobody knows; exact: whether that is official or an estimate; checked:
    whether a checksum is known; here: bytes that need not be fetched; addresses: in the order in
    which they are tried; by_hand: what the user has to do, else empty.
    """

    name: str
    bytes: int
    exact: bool
    checked: bool
    here: int
    addresses: tuple[str, ...]
    by_hand: str


@dataclass(frozen=True)
class OfficialFiles:
    """The official files of `source`, a data set or `weights`, under the parameters of a run.

    key: where `params` stand in params.yaml, for messages; http: how files are fetched, None where
    none is.
    """

    source: str
    params: DownloadParams
    key: str = ""
    http: HttpParams | None = None

    @cached_property
    def publication(self) -> Publication:
        """What the publisher offers, the user's mirrors first.

        Raises:
            UserError: a mirror is not an address.
        """
        for number, mirror in enumerate(self.params.mirrors, 1):
            if urls.exact(mirror) is None:
                raise UserError(
                    f"params.yaml: {self.key}.mirrors: number {number} is not an address such as "
                    "https://data.example.org/files/"
                )
        fields = {"dump": self.params.dump} if isinstance(self.params, DumpParams) else {}
        return manifest.read(self.source, self.params.mirrors, **fields)

    def logged_params(self) -> dict[str, Any]:
        """Those of the run as a tracking server may see them: mirrors without passwords and query
        strings."""
        mirrors = [urls.shown(mirror) for mirror in self.params.mirrors]
        return asdict(self.params) | {"mirrors": mirrors}

    def gather(self, folder: Path, only: Collection[str] | None = None) -> None:
        """Link the files into `folder`: those of the user's folder, checked, and the others from
        their publisher. `only`: names of those that are wanted, None for all.

        Raises:
            UserError: a file is not the official one, cannot be fetched, or has to be got by hand.
        """
        wanted = [file for file in self._wanted() if only is None or file.name in only]
        paths: dict[str, Path] = {}
        for file in wanted:
            if path := self._user_file(file):
                self._check(path, file)
                paths[file.name] = path
        fetched = [file for file in wanted if file.addresses and file.name not in paths]
        fetched = [file for file in fetched if not file.optional]
        self._fetch(fetched)
        for file in fetched:
            paths[file.name] = http_client.finished_path(store(), file)
        for file in wanted:
            if file.name in paths:
                self._report_size(file, paths[file.name])
                files.link(paths[file.name], folder / file.name)
        missing = [file for file in wanted if file.name not in paths and not file.optional]
        if missing:
            self._take_other_forms(folder, missing)

    def check_user_folder(self) -> Path:
        """The user's folder, which must hold all files; those of known size or checksum are
        verified.

        Raises:
            UserError: it does not.
        """
        if not self.params.path:
            raise UserError(
                f"params.yaml: {self.key}.path: local needs the folder of the official files"
            )
        root = user_folder(self.params)
        if not root.is_dir():
            raise UserError(f"params.yaml: {self.key}.path: no folder {root}")
        try:
            datasets.load(self.source).files(root)
        except FileNotFoundError as error:
            raise UserError(f"params.yaml: {self.key}.path: {error}") from None
        known, _ = self._known()
        for file in known:
            if path := self._user_file(file):
                self._check(path, file)
        return root

    def planned(self) -> list[PlannedFile]:
        """The files; nothing is downloaded.

        The images behind a list of URLs, and parts of a dump whose list is not here yet, are one
        entry together.
        """
        if self.params.origin in ("synthetic", "none"):
            return []
        publication = self.publication
        local = self._local_files() if self.params.origin == "local" else None
        if local is not None:
            plan = list(map(_present, local))
        else:
            known, complete = self._known()
            wanted = [file for file in known if not file.optional or self._user_file(file)]
            plan = list(map(self._planned, wanted))
            if publication.listed_bytes is not None and not complete:
                plan.append(_estimated("the parts of the dump", publication.listed_bytes))
        if publication.url_image_bytes is not None:
            plan.append(_estimated("the images behind the URLs", publication.url_image_bytes))
        return plan

    def _local_files(self) -> list[Path] | None:
        """All files of a data set in the user's folder, in whatever form; None where some are
        missing there, and for `weights`, of which one is enough."""
        if not self.params.path or self.source not in datasets.names():
            return None
        try:
            return datasets.load(self.source).files(user_folder(self.params))
        except FileNotFoundError:
            return None

    def _fetch(self, wanted: Sequence[OfficialFile]) -> None:
        """Fetch files into the store, no more at a time than the publisher allows."""
        assert self.http is not None
        limit = self.publication.parallel
        http = self.http
        if limit is not None:
            http = replace(http, files=min(http.files, limit))
        http_client.get(wanted, store(), http, self.source)

    def _wanted(self) -> Sequence[OfficialFile]:
        """The files, among them those that only a list names, which is fetched first."""
        if self.publication.listed_bytes is None:
            return self.publication.files
        listing = self.publication.files[0]
        if not self._user_file(listing):
            try:
                self._fetch([listing])
            except UserError as error:
                raise UserError(
                    f"{error}; params.yaml: {self.key}.dump must be the date of a dump that is "
                    "there"
                ) from None
        return self._known()[0]

    def _known(self) -> tuple[Sequence[OfficialFile], bool]:
        """The files, and whether these are all: a list of others may be here or not."""
        if self.publication.listed_bytes is None:
            return self.publication.files, True
        listing = self.publication.files[0]
        path = self._user_file(listing) or http_client.finished_path(store(), listing)
        if not path.exists():
            return ([] if self.params.origin == "local" else self.publication.files), False
        try:
            listed = datasets.load(self.source).listed(files.read_json(path))
        except (ValueError, UserError) as error:
            http_client.finished_path(store(), listing).unlink(missing_ok=True)
            raise UserError(f"{path}: {error}") from None
        parts = []
        for name, (length, sha1) in listed.items():
            addresses = tuple(urljoin(address, name) for address in listing.addresses)
            checksum = Checksum("sha1", sha1)
            parts.append(OfficialFile(name, addresses, bytes=length, checksum=checksum))
        return parts, True

    def _planned(self, file: OfficialFile) -> PlannedFile:
        path = self._user_file(file)
        by_hand = ""
        here = path.stat().st_size if path else http_client.bytes_here(store(), file)
        if path is None and self._other_forms() and not file.addresses:
            here = file.expected
        elif path is None:
            if self.params.origin == "local":
                by_hand = f"put it into {self.params.path}"
            elif not file.addresses:
                by_hand = self.publication.by_hand
        return PlannedFile(
            file.name,
            here if path else file.expected,
            file.bytes is not None,
            file.checksum is not None,
            here,
            file.addresses,
            by_hand,
        )

    def _check(self, path: Path, file: OfficialFile) -> None:
        """Raises UserError for a file of the user's that is not the official one but should be."""
        if self.params.official and (fault := checksums.fault(path, file)):
            raise UserError(
                f"params.yaml: {self.key}.path: {path}: {fault}; get it again, or set "
                f"{self.key}.official: false if it is meant to differ"
            )

    def _report_size(self, file: OfficialFile, path: Path) -> None:
        """Warn of an unexpected size: one that is only reported to be about so much is no reason to
        stop."""
        actual = path.stat().st_size
        if file.about and abs(actual - file.about) > file.about / 2:
            print(
                f"{self.source}: {file.name} has {size(actual)}; about {size(file.about)} was "
                "expected",
                file=sys.stderr,
            )

    def _take_other_forms(self, folder: Path, missing: Sequence[OfficialFile]) -> None:
        """Link what the user has in place of files that must be got by hand. Raises UserError where
        the reader is not content with that."""
        for path in self._other_forms():
            if not (folder / path.name).exists():
                (files.link_tree if path.is_dir() else files.link)(path, folder / path.name)
        try:
            datasets.load(self.source).files(folder)
        except FileNotFoundError:
            raise UserError(self._by_hand_message(missing)) from None

    def _by_hand_message(self, missing: Sequence[OfficialFile]) -> str:
        names = []
        for file in missing:
            names.append(f"{file.name} ({size(file.expected)})" if file.expected else file.name)
        forms = self.publication.instead
        or_forms = f" (or as {', '.join(forms)})" if forms else ""
        if self.params.path:
            target = str(user_folder(self.params))
        else:
            target = f"a folder, name this as params.yaml: {self.key}.path,"
        these = "it under this name" if len(missing) == 1 else "them under these names"
        return (
            f"{self.source}: to be got by hand: {', '.join(names)}: {self.publication.by_hand}; "
            f"put {these}{or_forms} into {target} and run this again"
        )

    def _user_file(self, file: OfficialFile) -> Path | None:
        """The file in the user's folder, if there is one."""
        if not self.params.path:
            return None
        for name in (file.name, *file.also):
            if (path := user_folder(self.params) / name).is_file():
                return path
        return None

    def _other_forms(self) -> list[Path]:
        """What the user has in place of files that must be got by hand."""
        if not self.params.path:
            return []
        folder = user_folder(self.params)
        return sorted(path for form in self.publication.instead for path in folder.glob(form))


def store() -> Path:
    """Where files from publishers are kept: also when their data set is downloaded again, at no
    cost beside its output, to which they are hard-linked."""
    return workdir.root() / "downloads"


def _present(path: Path) -> PlannedFile:
    """A file that the user has, whatever the official one is like."""
    length = path.stat().st_size
    return PlannedFile(path.name, length, True, False, length, (), "")


def _estimated(name: str, about: int) -> PlannedFile:
    return PlannedFile(name, about, False, False, 0, (), "")
