from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.exports import LOGIN, PUBLIC, made_input
from tests.support.wheelindex import Index, serving

from comfykiln.export.tarball import Exported, export_tarball

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving(PUBLIC, login=LOGIN) as server:
        yield server


@pytest.fixture(scope="module")
def uv_env(index: Index, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "UV_DEFAULT_INDEX": index.url.replace("//", f"//{LOGIN}@") + "/simple",
        "UV_CACHE_DIR": str(tmp_path_factory.mktemp("uv-cache")),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("locks")


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A development node with all that must stay out of a tarball, below a misleading parent."""
    folder = tmp_path / "__pycache__" / "cloud-storage"
    for name, text in {
        "__init__.py": "NODE_CLASS_MAPPINGS = {}\n",
        "requirements.txt": "# what it needs\nnodelib==0.1  # pinned\n\n",
        "run.sh": "#!/bin/sh\n",
        "sub/data.json": "{}\n",
        "__pycache__/x.cpython-313.pyc": "",
        "sub/stale.pyc": "",
        ".git/HEAD": "ref: refs/heads/main\n",
        ".venv/pyvenv.cfg": "home = /usr\n",
        "own-env/pyvenv.cfg": "home = /usr\n",
        ".env": "TOKEN=canary\n",
        ".env.example": "TOKEN=\n",
        "deploy.pem": "canary\n",
        "id_rsa": "canary\n",
        "credentials.json": "{}\n",
        "credentials.py": "x = 1\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "run.sh").chmod(0o700)
    return folder


@pytest.fixture
def export(
    pack: Path, tmp_path: Path, cache: Path, uv_env: dict[str, str]
) -> Callable[..., Exported]:
    def run(**changes: Any) -> Exported:
        return export_tarball(
            made_input(pack, **changes), tmp_path / "new" / "dist", cache=cache, uv_env=uv_env
        )

    return run
