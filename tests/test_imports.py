"""Packages of mirex import each other in one direction only: no cycles between folders."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "mirex"


def imported(tree: ast.AST) -> set[str]:
    """Full names of what a module imports, at its head or in its functions."""
    names: set[str] = set()
    for node in walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`: a name in an annotation is nothing that runs."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from walk(node)


def package_graph(root: Path) -> dict[str, set[str]]:
    """{folder of the package: folders that its modules import from}."""
    folders = {path.parent.name for path in root.glob("*/__init__.py")}
    graph: dict[str, set[str]] = {folder: set() for folder in folders}
    for path in root.glob("*/**/*.py"):
        own = path.relative_to(root).parts[0]
        for name in imported(ast.parse(path.read_text("utf-8"))):
            parts = name.split(".")
            if parts[0] == root.name and len(parts) > 1 and parts[1] in folders - {own}:
                graph[own].add(parts[1])
    return graph


def test_no_cycles_between_packages():
    graph = package_graph(ROOT)
    assert {"features", "training", "benchmarks", "corpora"} <= set(graph)
    TopologicalSorter(graph).prepare()


def test_training_and_benchmarks_do_not_know_each_other():
    graph = package_graph(ROOT)
    assert "benchmarks" not in graph["training"]
    assert "training" not in graph["benchmarks"]


def test_a_cycle_is_found(tmp_path):
    root = tmp_path / "mirex"
    for folder, line in (
        ("one", "from mirex.two import x"),
        ("two", "def f():\n    import mirex.one.module\n"),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").write_text("")
        (root / folder / "module.py").write_text(line + "\n")
    with pytest.raises(CycleError):
        TopologicalSorter(package_graph(root)).prepare()
