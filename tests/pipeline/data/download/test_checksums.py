"""Files and notes that are damaged, in whatever way."""

import json
import zipfile
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.download import checksums
from pipeline.data.download.manifest import Checksum, OfficialFile

SHA = "b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78"  # of b"ABC"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def packed() -> bytes:
    with zipfile.ZipFile(buffer := BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", b"{}" * 500)
        archive.writestr("b.json", b"[]" * 500)
    return buffer.getvalue()


ZIP = packed()


@given(st.integers(0, len(ZIP) - 1), st.binary(min_size=1, max_size=8), st.booleans())
def test_any_bytes_of_a_zip_are_right_or_damaged(tmp_path_factory, start, damage, cut):
    path = tmp_path_factory.getbasetemp() / "any.zip"
    data = bytearray(ZIP)
    data[start : start + len(damage)] = damage
    path.write_bytes(data[: start + 1] if cut else data)
    fault = checksums.damage(path, path.name)
    assert fault is None or fault.startswith("a damaged zip")
    assert fault is not None or not cut or start == len(ZIP) - 1


def test_a_zip_that_claims_far_more_than_it_has_is_not_unpacked(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(3_000_000))
    assert checksums.damage(path, "a.zip") == "a damaged zip: claims to hold 3.0 MB"


@settings(max_examples=25)
@given(anything | st.fixed_dictionaries({"value": anything, "size": st.just(3)}))
def test_any_note_is_right_or_made_anew(tmp_path_factory, note):
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        path = folder / "file"
        path.write_bytes(b"ABC")
        official = OfficialFile("file", bytes=3, checksum=Checksum("sha256", SHA))
        note_path = checksums._note_path(path)
        note_path.parent.mkdir(parents=True, exist_ok=True)
        for text in (json.dumps(note), json.dumps(note)[:-1], ""):
            note_path.write_text(text)
            assert checksums.fault(path, official) is None
