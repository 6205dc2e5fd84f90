"""No module asks its own package's `__init__` for a name that the package imports it for."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import comfykiln

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(comfykiln.__file__).parents[1]


def circles(root: Path) -> list[str]:
    """Return `module: package` for each, lazy imports and those for types included.

    import-linter takes a package and its modules for one, so it sees none of these.
    """
    return [
        f"{module}: {package}"
        for path in sorted(root.rglob("*.py"))
        for module in [".".join(_parts(path, root))]
        for package, name in _imports(path, root)
        if module.startswith(f"{package}.")
        and not _is_module(root, package, name)
        and _imports_itself(root, package)
    ]


def _parts(path: Path, root: Path) -> tuple[str, ...]:
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imports(path: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import in the file; the name is empty for a whole module."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom):
            above = path.relative_to(root).with_suffix("").parts[: -node.level]
            whole = ".".join((*(above if node.level else ()), *filter(None, [node.module])))
            yield from ((whole, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def _imports_itself(root: Path, package: str) -> bool:
    init = root.joinpath(*package.split("."), "__init__.py")
    found = _imports(init, root) if init.is_file() else ()
    return any(f"{module}.".startswith(f"{package}.") for module, _ in found)


def _is_module(root: Path, package: str, name: str) -> bool:
    path = root.joinpath(*package.split("."), name or "__init__")
    return bool(name) and (path.is_dir() or path.with_suffix(".py").is_file())


def test_no_module_imports_what_imports_it() -> None:
    assert circles(SOURCES) == []


def test_such_a_circle_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "app" / "room"
    room.mkdir(parents=True)
    (tmp_path / "app" / "__init__.py").write_text("VERSION = 1\n")
    (room / "__init__.py").write_text("from app.room.one import read\n")
    (room / "one.py").write_text("from app import VERSION\nfrom app.room import two\n")
    (room / "two.py").write_text("def late():\n    from app.room import read\n")
    (room / "three.py").write_text("import app.room\n")
    (room / "four.py").write_text("from . import one, read\nfrom .two import late\n")
    assert circles(tmp_path) == [
        "app.room.four: app.room",
        "app.room.three: app.room",
        "app.room.two: app.room",
    ]
