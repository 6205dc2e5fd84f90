"""Nothing of ours speaks to a person but through the console, and the console through the gate."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src/comfykiln"
EXEMPT = {
    "restore": "runs inside a build step, whose lines come back through the console",
    "documents/capture/probe.py": "runs inside a container; its JSON is read, not shown",
    "verify/probes": "run inside the image; their JSON is read, not shown",
    "cli/handover.py": "runs where nothing of ours is installed; it prints its own words",
    "system/console.py": "is the console",
}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
HARMLESS = {"flush", "isatty", "fileno", "encoding"}


def spoken(tree: ast.AST) -> list[int]:
    """Return the lines that print, or hand one of the streams to something that may."""
    parents = {inner: outer for outer in ast.walk(tree) for inner in ast.iter_child_nodes(outer)}
    return sorted(
        node.lineno
        for node in parents
        if isinstance(node, ast.expr)
        and (_is_print(node) or (_is_stream(node) and not _is_harmless(parents[node])))
    )


def _is_print(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    named = ast.unparse(node.func)
    return named in {"print", "builtins.print", "warnings.warn", "traceback.print_exc"} or (
        named == "os.write" and ast.unparse(node.args[0]) in {"1", "2"}
    )


def _is_stream(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and (
        node.attr in STREAMS and isinstance(node.value, ast.Name) and node.value.id == "sys"
    )


def _is_harmless(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in HARMLESS


def _is_exempt(name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}/") for entry in EXEMPT)


def test_nothing_prints_but_the_console() -> None:
    found = {
        f"{path.relative_to(SOURCE)}:{line}"
        for path in SOURCE.rglob("*.py")
        if not _is_exempt(path.relative_to(SOURCE).as_posix())
        for line in spoken(ast.parse(path.read_bytes()))
    }
    assert found == set()


def test_each_exemption_is_needed() -> None:
    for name in EXEMPT:
        path = SOURCE / name
        files = path.rglob("*.py") if path.is_dir() else [path]
        assert any(spoken(ast.parse(file.read_bytes())) for file in files), name


def test_every_way_to_speak_is_seen() -> None:
    ways = ["print(1)", "sys.stderr.write('x')", "json.dump(1, sys.stdout)", "os.write(2, b'x')"]
    ways += ["out = sys.stdout", "sys.stdout.buffer.write(b'x')"]
    assert [spoken(ast.parse(way)) for way in ways] == [[1]] * len(ways)
    assert spoken(ast.parse("sys.stdout.flush(); os.write(fd, b'x')")) == []


def test_the_console_prints_nothing_raw() -> None:
    """Each `print` of the console prints what `fit`, `spelt` or `_raw` got from them."""
    tree = ast.parse((SOURCE / "system/console.py").read_bytes())
    prints = [node for node in ast.walk(tree) if _is_print(node)]
    assert [ast.unparse(node.args[0]) for node in prints if isinstance(node, ast.Call)] == [
        "fit(message)",
        "gate.spelt(json.dumps(data, indent=2, ensure_ascii=plain))",
        "fit(''.join(format_exception(kind, error, trace)))",
        "line",
    ]
    raw = [
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_raw"
    ]
    assert sorted(raw) == [
        "'::endgroup::'",
        "_FLUSH_LEFT.sub('\\n  ', fit(message))",
        "f'::group::{fit(gate.one_line(message))}'",
    ]
