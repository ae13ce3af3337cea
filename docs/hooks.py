"""Pages of the site that are made from the code when it is built, so they cannot be stale (`hooks:` in mkdocs.yml).

A line `<!-- generated: NAME -->` of a page becomes what the function of that name below returns, and a line
`<!-- from: STUDY/FILE -->` what `docs/collect.py` kept of a study's report. Where a page of results/ waits for a study,
its figures stand there likewise, with their description: `<!-- from: STUDY/FIGURE.png DESCRIPTION -->`. Nothing is
imported that needs torch: declarations are read from `conf/`, from `baselines.ARMS` and from the syntax trees.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
DATA = ROOT / "docs" / "results" / "data"
MARK = re.compile(r"^<!-- (generated|from): ([\w/.-]+)(?: ([^>]+))? -->$", re.MULTILINE)
_KEY = re.compile(r'^(?P<indent> *)"?(?P<name>[\w]+)"?:(?P<rest>(?: .*)?)$')


def on_page_markdown(markdown: str, page: Any = None, **_: object) -> str:
    """The page's text with what is generated in the place of its marks (mkdocs calls this for every page)."""
    data = "results/data" if page and "/" not in page.file.src_uri else "data"  # from the page: in docs/ or in results/

    def text(mark: re.Match[str]) -> str:
        return GENERATED[mark[2]]() if mark[1] == "generated" else kept(mark[2], mark[3] or "", data)

    return MARK.sub(text, markdown)


def kept(name: str, description: str = "", data: str = "data") -> str:
    """A markdown file of a study's report without its title, its parts one level deeper; how the study came about.

    description: of a figure. data: the page's way to what is kept.
    """
    file = DATA / name
    if not file.parent.is_dir():
        study = file.parent.name
        return f"*Not studied yet: `make studies STUDIES={study}`.*" if file.name == "about.json" else ""
    if file.suffix == ".png":
        return f"![{description}]({data}/{name})"
    if file.name == "about.json":
        about = json.loads(file.read_text(encoding="utf-8"))
        minutes = max(1, round(about["seconds"] / 60))
        remarks = "".join(f" Kept although {remark}." for remark in about.get("remarks", ()))
        results = file.with_name("results.parquet")
        link = f"[{results.name}]({data}/{file.parent.name}/{results.name})"
        table = f" Every number: {link}." if results.exists() else ""
        return (
            f"*{about['runs']} runs, {about['date']}, commit {about['commit']}, {minutes} minutes of run time in all."
            f"{remarks}{table}*"
        )
    _, _, body = file.read_text(encoding="utf-8").partition("\n")
    return re.sub(r"^## ", "#### ", body, flags=re.MULTILINE).strip()


class Setting(NamedTuple):
    """A line of a config file. key: dotted. default: as written, "" for a group of settings. comment: what it means."""

    key: str
    default: str
    comment: str


def header(file: Path) -> str:
    """The comment that a config file begins with, as paragraphs."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)


def settings(file: Path) -> Iterator[Setting]:
    """Every setting of a config file, top to bottom, without its defaults list and Hydra's own."""
    path: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        found = _KEY.match(line)
        if not found:
            continue
        indent = len(found["indent"])
        path = [(depth, name) for depth, name in path if depth < indent] + [(indent, found["name"])]
        if path[0][1] in ("defaults", "hydra"):
            continue
        if found["name"] == "_target_":
            continue
        value, comment = _split_comment(found["rest"])
        yield Setting(".".join(name for _, name in path), value, comment)


def _split_comment(rest: str) -> tuple[str, str]:
    """(value, comment) of what follows a key; a # inside quotes is no comment."""
    found = re.match(r"""\s*((?:"[^"]*"|'[^']*'|[^#"'])*?)\s*(?:#\s*(.*))?$""", rest)
    assert found, rest
    return found[1], found[2] or ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _settings_table(file: Path, prefix: str) -> str:
    """A setting without a comment has that of the same setting in another file of its group."""
    siblings = sorted(file.parent.glob("*.yaml")) if file.parent != CONF else [CONF / "config.yaml"]
    said = {one.key: one.comment for sibling in siblings for one in settings(sibling) if one.comment}
    rows = []
    for one in settings(file):
        default = f"`{_cell(one.default)}`" if one.default else ""
        rows.append(f"| `{prefix}{one.key}` | {default} | {_cell(one.comment or said.get(one.key, ''))} |")
    return "\n".join(["| key | default | |", "|---|---|---|", *rows])


def _paragraphs(text: str) -> str:
    """A header comment as markdown: indented lines are commands."""
    found, code = [], False
    for line in text.splitlines():
        if line.startswith("  ") != code:
            found.append("```" if code else "\n```text")
            code = not code
        found.append(line.strip() if code else line)
    return "\n".join([*found, "```"] if code else found)


def groups() -> dict[str, list[Path]]:
    """{config group: its files, by name}."""
    folders = sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF})
    return {folder.relative_to(CONF).as_posix(): sorted(folder.glob("*.yaml")) for folder in folders}


def config() -> str:
    """Every key of conf/, with its default and its comment."""
    parts = ["## A run: conf/config.yaml", _settings_table(CONF / "config.yaml", "")]
    for group, files in groups().items():
        if group in ("experiment", "scale"):
            continue
        parts.append(f"## {group}")
        for file in files:
            parts += [f"### {group}={file.stem}", _paragraphs(header(file))]
            package = group.replace("/", ".")
            prefix = "" if "@package _global_" in file.read_text(encoding="utf-8") else f"{package}."
            if any(settings(file)):
                parts.append(_settings_table(file, "dataset." if group == "labels" else prefix))
    return "\n\n".join(parts)


def commands() -> str:
    """Every command with its help."""
    from mars.run import COMMANDS

    parts = []
    for name, module in {"config": "mars.run", **COMMANDS}.items():
        if not (CONF / f"{name}.yaml").exists():
            continue
        template = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))["hydra"]["help"]["template"]
        text = re.split(r"\n== (?:Groups|Settings)", template)[0].strip()
        parts += [f"## python -m {module}", f"```text\n{text}\n```"]
        if name != "config":
            parts.append(_settings_table(CONF / f"{name}.yaml", ""))
    return "\n\n".join(parts)


def presets() -> str:
    """Every `experiment=`, with the header of its file."""
    return "\n\n".join(f"## experiment={file.stem}\n\n{_paragraphs(header(file))}" for file in groups()["experiment"])


def choices() -> str:
    """Every config group with its choices."""
    rows = [f"| `{group}` | {' '.join(f'`{file.stem}`' for file in files)} |" for group, files in groups().items()]
    return "\n".join(["| group | choices |", "|---|---|", *rows])


def arms() -> str:
    """The arms in the order of ARMS: what each draws, and where it is from."""
    from baselines import ARMS

    rows = [
        f"| `{arm.name}` | {arm.family} | {_cell(_first(header(CONF / 'method' / f'{arm.name}.yaml')))} | "
        f"{_cell(_source(arm.target))} |"
        for arm in ARMS
    ]
    return "\n".join(["| arm | kind | what it draws | where it is from |", "|---|---|---|---|", *rows])


def methods() -> str:
    """Choices of `method` that are an arm with other settings."""
    from baselines import ARMS

    names = {arm.name for arm in ARMS}
    rows = [f"| `{f.stem}` | {_cell(header(f))} |" for f in groups()["method"] if f.stem not in names]
    return "\n".join(["| `method=` | |", "|---|---|", *rows])


def _first(text: str) -> str:
    """The text without the file that it ends with in brackets."""
    return re.sub(r"\s*\([\w/]+\.py\)", "", " ".join(text.split()))


def _source(target: str) -> str:
    """What an arm's module says of its source: the first sentence behind "Source:"."""
    text = _docstring(target.partition(":")[0])
    found = re.search(r"Source: (.+?)(?:(?<!et al)\. |\.$|;|$)", " ".join(text.split()))
    return found[1] if found else "the paper"


def _docstring(module: str) -> str:
    file = ROOT / f"{module.replace('.', '/')}.py"
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def run_directory() -> str:
    """The files of a run's directory, from their declaration."""
    from mars.record.layout import FILES

    rows = [f"| `{name}` | {_cell(what)} |" for name, what in FILES.items()]
    return "\n".join(["| file | holds |", "|---|---|", *rows])


def api() -> str:
    """The public names of `mars`, from their docstrings (mkdocstrings)."""
    from mars import PUBLIC

    parts = [f"::: {home if home.endswith(f'.{name}') else f'{home}.{name}'}" for name, home in PUBLIC.items()]
    return "\n\n".join(parts)


def rooms() -> str:
    """The rooms, lowest first as tests/test_order.py has them, each with the first line of its package's docstring."""
    tree = ast.parse((ROOT / "tests" / "test_order.py").read_text(encoding="utf-8"))
    order = next(n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "ORDER")
    modules = [name for floor in ast.literal_eval(order) for name in floor]
    names = [name for name in modules if (ROOT / name.replace(".", "/")).is_dir()]
    rows = [f"| `{name}` | {_cell(_docstring(f'{name}.__init__').partition(chr(10))[0])} |" for name in names]
    return "\n".join(["| room | what it is for |", "|---|---|", *rows])


GENERATED = {
    page.__name__: page for page in (config, commands, presets, choices, arms, methods, run_directory, api, rooms)
}
