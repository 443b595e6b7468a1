"""Files by which others build and start the project: the image, the development container, Ray's
cluster launcher, Kubernetes. They are read here; none of them is run."""

import fnmatch
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.tiny import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


CLUSTER_FILES = ("cluster/ray-launcher.yaml", "cluster/kuberay.yaml")


def instructions(name: str) -> list[list[str]]:
    """The words of every instruction of that name, without its options."""
    text = DOCKERFILE.replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line.startswith(f"{name} ")]
    return [[word for word in words[1:] if not word.startswith("--")] for words in lines]


def copied_first() -> set[str]:
    """Files that the image has when the environment is installed."""
    files: set[str] = set()
    for *sources, target in instructions("COPY"):
        if sources == ["."]:
            break
        files |= {str(Path(target) / Path(source).name) for source in sources}
    return files


def test_the_image_installs_before_code_is_copied():
    before_install = DOCKERFILE.split("make install")[0]
    assert "COPY" in before_install and not re.search(r"^COPY.* \. ", before_install, re.MULTILINE)
    assert DOCKERFILE.split("make install")[1].count("COPY") == 1


def test_the_image_has_what_the_installation_reads():
    rule = re.search(r"^\$\(INSTALLED\): (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rule is not None
    project = PROJECT["project"]
    packages = [
        pattern.removesuffix("*")
        for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    ]
    needed = {"Makefile", *rule[1].split(), project["readme"], *project["license-files"]}
    needed |= {f"{package}/__init__.py" for package in packages}
    assert copied_first() == needed
    assert all((ROOT / name).is_file() for name in needed)


def test_arguments_of_the_image_are_variables_of_the_makefile_or_of_uv():
    arguments = {words[0].split("=")[0] for words in instructions("ARG")}
    assert arguments == {"BASE", "UID", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_TORCH_BACKEND"}


def test_the_image_does_not_run_as_root():
    (user,) = instructions("USER")
    assert user == ["${UID}"] and "ARG UID=1000" in DOCKERFILE


def test_what_git_ignores_stays_out_of_the_image():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line.removeprefix("**/") for line in lines if line and not line.startswith("#")]
    ignored = [
        *(ROOT / ".gitignore").read_text().splitlines(),
        *(f".dvc{line}" for line in (ROOT / ".dvc/.gitignore").read_text().splitlines()),
    ]
    assert {line.strip("/") for line in ignored} <= set(patterns)
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    left_out = [path for path in tracked if any(fnmatch.fnmatch(path, item) for item in patterns)]
    assert left_out == []


def test_the_development_container_builds_a_stage_of_the_image():
    folder = ROOT / ".devcontainer"
    config = json.loads((folder / "devcontainer.json").read_text())
    build = config["build"]
    assert (folder / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT
    assert re.search(rf"^FROM .* AS {build['target']}$", DOCKERFILE, re.MULTILINE)
    assert f'--uid "$UID" {config["remoteUser"]}' in DOCKERFILE
    target = config["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_launcher_is_what_ray_takes():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster/ray-launcher.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.parametrize("place", ["head", "worker"])
def test_the_launcher_starts_ray_as_the_page_does(place):
    config = yaml.safe_load((ROOT / "cluster/ray-launcher.yaml").read_text())
    (command,) = config[f"{place}_start_ray_commands"]
    page = (ROOT / "docs/cluster.md").read_text()
    (exports,) = re.findall(r"^export (RAY_AUTH_MODE=token .*)$", page, re.MULTILINE)
    assert f"export {exports} " in command
    node = {"head": "the head", "worker": "every other node"}[place]
    (start,) = re.findall(rf"^ray start (.*?) +# on {node}$", page, re.MULTILINE)
    assert f"ray start {start}".replace("HEAD", "$RAY_HEAD_IP") in command


@pytest.fixture(scope="module")
def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "cluster/kuberay.yaml").read_text())
    return {document["kind"]: document for document in documents}


def pods(manifests: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = manifests["RayCluster"]["spec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        yield group["template"]["spec"]
    yield manifests["Job"]["spec"]["template"]["spec"]


def test_pods_share_an_image_a_user_a_volume_and_a_token(manifests):
    claim = manifests["PersistentVolumeClaim"]["metadata"]["name"]
    images, users, tokens = set(), set(), []
    for pod in pods(manifests):
        images |= {item["image"] for item in pod["containers"] + pod.get("initContainers", [])}
        users.add(pod["securityContext"]["runAsUser"])
        assert claim in [
            v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]
        ]
        (container,) = pod["containers"]
        assert {"name": "cluster", "mountPath": "/cluster"} in container["volumeMounts"]
        names = {item["name"]: item for item in container["env"]}
        assert names["RAY_AUTH_MODE"]["value"] == "token"
        tokens.append(names["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"])
    assert len(images) == 1 and users == {1000}
    assert all(token == {"name": "vl-beit-ray", "key": "auth_token"} for token in tokens)


def test_the_cluster_is_of_the_pinned_ray_and_has_the_workers_of_the_preset(manifests):
    cluster = manifests["RayCluster"]["spec"]
    assert f"ray=={cluster['rayVersion']}\n" in CONSTRAINTS
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    gpus = group["replicas"] * int(container["resources"]["limits"]["nvidia.com/gpu"])
    params = yaml.safe_load((ROOT / "params/paper.yaml").read_text())
    assert gpus == params["pretrain"]["budgets"]["main"]["num_workers"]


def test_the_job_finds_the_cluster_and_runs_the_stage(manifests):
    (container,) = manifests["Job"]["spec"]["template"]["spec"]["containers"]
    environment = {item["name"]: item.get("value") for item in container["env"]}
    cluster = manifests["RayCluster"]["metadata"]["name"]
    assert environment["RAY_ADDRESS"] == f"{cluster}-head-svc:6379"
    (script,) = container["args"]
    assert "dvc repro pretrain@main" in script
    (project,) = manifests["Job"]["spec"]["template"]["spec"]["initContainers"]
    for text in (script, *project["args"]):
        assert subprocess.run(["bash", "-n", "-c", text], check=False).returncode == 0


def test_probes_ask_ports_that_ray_listens_on(manifests):
    (group,) = manifests["RayCluster"]["spec"]["workerGroupSpecs"]
    (head,), (worker,), _ = [pod["containers"] for pod in pods(manifests)]
    for probe in ("livenessProbe", "readinessProbe"):
        assert head[probe]["tcpSocket"]["port"] == 6379
        port = worker[probe]["tcpSocket"]["port"]
        assert str(port) == group["rayStartParams"]["node-manager-port"]


def test_the_page_names_what_nobody_has_run():
    page = (ROOT / "docs/environments.md").read_text()
    files = ("Dockerfile", ".devcontainer/devcontainer.json", *CLUSTER_FILES)
    for name in files:
        assert (ROOT / name).is_file()
        assert re.search(rf"^\| `{re.escape(name)}` .*\*\*never \w+\*\* \|$", page, re.MULTILINE)
