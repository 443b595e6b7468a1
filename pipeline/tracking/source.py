"""Where a run comes from, as MLflow and DVC call it: the stage, its user, the commit, what was edited
since, and DVC's experiment."""

import getpass
import os
import re
import subprocess

PARAMETERS = ("params.yaml", "fine_tunes.yaml")

# Scheme, user and password, address, query.
URL = re.compile(r"(\w+://)(?:[^\s/]*@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?")


def tags(stage: str) -> dict[str, str]:
    """Tags of a run of `stages/<stage>.py` in the working directory."""
    known = {
        "mlflow.source.name": f"stages/{stage}.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }
    if experiment := os.environ.get("DVC_EXP_NAME"):
        known["dvc.experiment"] = experiment
    return known | {f"mlflow.source.{key}": value for key, value in commit().items()}


def edits() -> str:
    """How the files of parameters differ from the commit, as `git diff` has it; empty if they do
    not. URLs are without what may be secret: user, password and query."""
    return URL.sub(r"\1\2", _git("diff", "--no-color", "--no-ext-diff", "HEAD", "--", *PARAMETERS))


def commit() -> dict[str, str]:
    """`git.commit`, and as `git.dirty` whether a file has been edited since: not dvc.lock, which DVC
    writes after each stage. Empty without git."""
    lines = _git(
        "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--", ".", ":!dvc.lock"
    ).splitlines()
    oid = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
    if oid is None:
        return {}
    is_dirty = any(not line.startswith("#") for line in lines)
    return {"git.commit": oid, "git.dirty": str(is_dirty).lower()}


def _git(*arguments: str) -> str:
    """What git prints, nothing where there is no git or no repository. It takes no locks: people use
    git while stages run."""
    try:
        git = subprocess.run(
            ["git", "--no-optional-locks", *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return git.stdout if git.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name belongs to the user's number, as in containers
        return str(os.getuid())
