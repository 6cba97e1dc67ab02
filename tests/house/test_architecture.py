"""The arrows of the house: who may import whom. Walks every import statement, also those inside functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "contract": {"contract"},
    "backends": {"contract", "backends"},
    "service": {"contract", "service", "protos"},
    "retrain": {"contract", "retrain"},
    "ripen": {"ripen", "protos"},
}
OURS = {*MAY_IMPORT, "protos", "benchmarks", "tests"}
MODULES = [path for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))]
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 40


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, "relative imports hide the arrows"
            yield node.module


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_keeps_the_rules(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    folder = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imported(tree)}
    allowed = MAY_IMPORT[folder] | ({"backends"} if path.name == "__main__.py" and folder != "ripen" else set())
    assert roots & OURS <= allowed
    if not path.name.startswith("tf_"):
        assert "tensorflow" not in roots
    if not path.name.startswith(("tf_", "keras_")):
        assert "keras" not in roots
    assert ast.get_docstring(tree)
    assert text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert body_lines(node) <= MAX_FUNCTION_LINES, node.name


def test_a_module_is_sync_or_async() -> None:
    """Rule 12: a file with `async def` has no blocking waits of its own."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree)):
            assert "time.sleep" not in path.read_text(), path


def test_the_walk_sees_what_it_should() -> None:
    assert len(MODULES) > 30
    assert set(imported(ast.parse("def f():\n import a.b\n from c.d import e"))) == {"a.b", "c.d"}
