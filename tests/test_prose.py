"""Public code is documented: the share of modules, classes, functions and methods with a docstring, by syntax tree.

A method without one counts as documented where it overrides a method that has one: `help` shows that.
"""

import ast
from collections.abc import Iterator

from support import ROOT

ROOMS = ("mars", "baselines", "benchmarks", "analysis")
LEAST = 0.95
Methods = dict[str, tuple[list[str], set[str]]]  # {class: (its bases, its methods that have a docstring)}


def methods(trees: dict[str, ast.Module]) -> Methods:
    """Bases and documented methods of every class."""
    found: Methods = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases, documented = found.setdefault(node.name, ([], set()))
                bases += [base.id for base in node.bases if isinstance(base, ast.Name)]
                documented |= {m.name for m in node.body if isinstance(m, ast.FunctionDef) and ast.get_docstring(m)}
    return found


def inherits(name: str, method: str, known: Methods) -> bool:
    """Whether a base of class `name` has a docstring for the method."""
    bases = [base for base in known[name][0] if base in known and base != name]
    return any(method in known[base][1] or inherits(base, method, known) for base in bases)


def public(tree: ast.Module | ast.ClassDef, name: str, known: Methods) -> Iterator[tuple[str, bool]]:
    """(name, whether it has a docstring) of a module or class, and of all that is public in it."""
    yield name, bool(ast.get_docstring(tree))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            inner = f"{name}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from public(node, inner, known)
            else:
                overrides = isinstance(tree, ast.ClassDef) and inherits(tree.name, node.name, known)
                yield inner, bool(ast.get_docstring(node)) or overrides


def documented(trees: dict[str, ast.Module]) -> dict[str, bool]:
    """Whether each public definition has a docstring, by file and name."""
    known = methods(trees)
    return {name: is_there for file, tree in trees.items() for name, is_there in public(tree, file, known)}


def test_public_definitions_have_docstrings():
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    found = documented({str(f.relative_to(ROOT)): ast.parse(f.read_text(encoding="utf-8")) for f in files})
    bare = [name for name, is_documented in found.items() if not is_documented]
    share = 1 - len(bare) / len(found)
    assert share >= LEAST, f"{share:.1%} of {len(found)} have a docstring; without one: {', '.join(bare)}"


def test_a_public_method_without_a_docstring_is_found():
    module = '"""M."""\nclass A:\n    """A."""\n    def b(self): ...\n    def _c(self): ...\ndef d():\n    """D."""'
    assert documented({"m": ast.parse(module)}) == {"m": True, "m.A": True, "m.A.b": False, "m.d": True}


def test_a_method_that_overrides_a_documented_one_is_documented():
    base = 'class A:\n    """A."""\n    def b(self):\n        """B."""\n'
    module = f'"""M."""\n{base}class C(A):\n    """C."""\n    def b(self): ...'
    assert documented({"m": ast.parse(module)})["m.C.b"]
