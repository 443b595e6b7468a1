"""The page in a browser, and its server."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import browser, demo_project
from tests.helpers.image_files import encoded, scene
from tests.helpers.tiny import ROOT

TABS = (  # each with what a random model's tab shows in the end
    ("Question", "The annotators' answer: star."),
    ("Find images", "Searched: 8 images of the test set and their 16 captions"),
    ("Find sentences", "Searched: 8 images of the test set and their 16 captions"),
    ("Statement", "In the test set it is false."),
    ("Class", "In the test set it is: n00000003."),
    ("Segmentation", "labeled pixels are right."),
    ("Masked", "masked text tokens are right"),
)
PATIENCE = 60_000  # milliseconds, on a busy machine


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    demo_project.write(root)
    return root


@pytest.fixture(scope="module")
def server(project):
    """The address, and the file with what the server asks other machines for."""
    pytest.importorskip("gradio", reason="no Gradio, which `make demo` installs")
    asked, port = project / "asked", free_port()
    command = [sys.executable, ROOT / "tests/helpers/demo_alone.py", asked, str(port)]
    process = start(command, project)
    try:
        address = process.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{port}", process.stderr.read()
        yield address, asked
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert (out, errors, process.returncode) == ("stopped\n", "", 0)
        assert not list((project / ".work").glob("demo-*"))
    finally:
        process.kill()


@pytest.fixture
def window(server, tmp_path):
    """The page, and all addresses that it asks for."""
    pytest.importorskip("playwright", reason="uv pip install --group browser")
    if browser.path() is None:
        pytest.skip("no Chromium")
    address, _ = server
    with browser.window(tmp_path) as page:
        addresses = []
        page.on("request", lambda request: addresses.append(request.url))
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        yield page, addresses


def start(command, folder: Path) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_every_tab_begins_with_an_answer_and_nothing_leaves_the_machine(server, window):
    (page, addresses), (address, asked) = window, server
    for name, answer in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        page.get_by_text(answer).locator("visible=true").wait_for()
        page.get_by_text("scale small").locator("visible=true").first.wait_for()
    assert {url for url in addresses if not url.startswith((address, "data:", "blob:"))} == set()
    assert asked.read_text() == ""


@pytest.mark.slow
def test_uploads_are_answered_or_refused_in_a_sentence(window, tmp_path):
    page, _ = window
    page.get_by_text("The annotators' answer: star.").wait_for()
    upload = (
        page.locator("input[type=file]")
        .locator("visible=true")
        .or_(page.locator("input[type=file]"))
        .first
    )
    for name, data, sentence in (
        ("figure.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", "image: format not read: EPS"),
        ("deep.png", encoded(Image.new("I;16", (4, 4)), "PNG"), "image: more than 8 bits"),
    ):
        (tmp_path / name).write_bytes(data)
        upload.set_input_files(tmp_path / name)
        page.get_by_text(sentence).wait_for()
    (tmp_path / "scene.jpg").write_bytes(encoded(scene(), "JPEG"))
    upload.set_input_files(tmp_path / "scene.jpg")
    page.locator(".refused").wait_for(state="detached")
    question = page.get_by_role("textbox").locator("visible=true").first
    question.fill("x " * 1000)
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("question: 1,999 characters, at most 1,000 are read").wait_for()
    question.fill(demo_project.WORDS[0])
    question.press("Enter")
    page.locator(".refused").wait_for(state="detached")


@pytest.mark.slow
def test_sliders_and_examples_change_what_is_shown(window):
    page, _ = window
    page.get_by_role("tab", name="Masked", exact=True).click()
    page.get_by_text("of 4 masked patches").wait_for()
    ratio = page.get_by_role("spinbutton").locator("visible=true").first
    ratio.fill("0.75")
    ratio.press("Enter")
    page.get_by_text("of 12 masked patches").wait_for()
    page.get_by_role("radio", name="text alone").check()
    page.get_by_text("masked text tokens are right.").wait_for()
    page.locator(".thumbnail-item").locator("visible=true").nth(3).click()
    box = page.get_by_role("textbox").locator("visible=true").first
    page.wait_for_function(
        "([box, text]) => box.value === text", arg=[box.element_handle(), demo_project.caption(3)]
    )


@pytest.mark.slow
def test_a_port_in_use_is_one_line(server, project):
    address, _ = server
    port = address.rpartition(":")[2]
    process = start([sys.executable, "-m", "pipeline.demo", port], project)
    out, error = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 1)
    assert error.startswith(f"error: port {port}: ") and error.count("\n") == 1
    assert "make demo PORT=7861" in error


@pytest.mark.slow
def test_a_tab_without_a_model_says_what_makes_one(tmp_path):
    gradio = pytest.importorskip("gradio", reason="no Gradio, which `make demo` installs")
    from pipeline.demo import server
    from pipeline.demo.models import Models
    from tests.helpers import tiny

    tiny.write(tmp_path, tiny.settings())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        blocks = server.page_of(Models("small"))
    texts = [block.value for block in blocks.blocks.values() if isinstance(block, gradio.HTML)]
    tunes = ("vqa", "coco", "nlvr2", "imagenet1k", "ade20k")
    for command in (*(f"finetune@{name}" for name in tunes), "pretrain@main"):
        assert any(f"`dvc repro {command}` makes it" in (text or "") for text in texts)


def test_without_gradio_one_line_says_how_to_get_it(project, tmp_path):
    (tmp_path / "gradio.py").write_text("")
    code = (
        "import importlib.util as u, sys; find = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'gradio' else find(name)\n"
        "import runpy; sys.argv = ['demo']\n"
        "runpy.run_module('pipeline.demo', run_name='__main__', alter_sys=True)"
    )
    process = start([sys.executable, "-c", code], project)
    _, error = process.communicate(timeout=60)
    assert error == "error: Gradio is not installed; `make demo` installs it\n"
