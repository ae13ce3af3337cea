"""Public code is documented: the share of modules, classes, functions and methods with a docstring, by syntax tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = (
    *("mars/preferences", "mars/theory", "mars/worlds", "mars/augment", "mars/pool", "mars/record"),
    *("mars/config.py", "mars/files.py", "mars/progress.py", "mars/plugins.py", "mars/show.py", "mars/dry_run.py"),
)
LEAST = 0.95


def public(tree: ast.AST, name: str) -> Iterator[tuple[str, bool]]:
    """(name, whether it has a docstring) of a module or class, and of all that is public in it."""
    yield name, bool(ast.get_docstring(tree))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            inner = f"{name}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from public(node, inner)
            else:
                yield inner, bool(ast.get_docstring(node))


def definitions(rooms: tuple[str, ...]) -> dict[str, bool]:
    """Whether each public definition has a docstring, by file and name."""
    paths = [ROOT / room for room in rooms]
    files = [file for path in paths for file in ([path] if path.suffix else sorted(path.rglob("*.py")))]
    trees = ((str(file.relative_to(ROOT)), ast.parse(file.read_text(encoding="utf-8"))) for file in files)
    return {name: documented for file, tree in trees for name, documented in public(tree, file)}


def test_public_definitions_have_docstrings():
    documented = definitions(ROOMS)
    bare = [name for name, is_documented in documented.items() if not is_documented]
    share = 1 - len(bare) / len(documented)
    assert share >= LEAST, f"{share:.1%} of {len(documented)} have a docstring; without one: {', '.join(bare)}"


def test_a_public_method_without_a_docstring_is_found():
    tree = ast.parse(
        '"""M."""\nclass A:\n    """A."""\n    def b(self): ...\n    def _c(self): ...\ndef d():\n    """D."""'
    )
    assert dict(public(tree, "m")) == {"m": True, "m.A": True, "m.A.b": False, "m.d": True}
