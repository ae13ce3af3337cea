"""How a model card words a value: numbers, settings and tables in Markdown. None of it knows what a run is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# A path or address anywhere in a value: at its beginning, or after a quote, a bracket or a separator.
_LOCAL = re.compile(r"""(^|[\s'"\[{(,:=])(~[\w.-]*/|\.{0,2}/(?=\S)|[A-Za-z]:[\\/]|\\\\)""")


def public(value: Any) -> str:
    """`value` as text; LOCAL where it holds a path or an address, which is this machine's own affair."""
    text = str(value)
    return "LOCAL" if _LOCAL.search(text) else text


def settings(values: Mapping[str, Any]) -> str:
    """`key=value` pairs in code style, without what is unset or private."""
    shown = {key: value for key, value in values.items() if value not in (None, "", [], {}) and not key.startswith("_")}
    return ", ".join(f"`{key}={public(plain(value)).replace('`', '')}`" for key, value in shown.items())


def plain(value: Any) -> str:
    """`value` in words: no quotes, numbers as short as they go."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """Three decimals, fewer from 10 on and more below 0.001, so that three significant digits are left."""
    if value is None:
        return "–"
    size = abs(value)
    if size >= 10:
        return f"{value:.0f}" if 100 <= size < 1e6 else f"{value:.1f}" if size < 100 else f"{value:.2e}"
    if size >= 0.001 or size == 0:
        return f"{value + 0.0:.3f}"  # + 0.0: no minus sign before a zero
    return np.format_float_positional(value, 3, fractional=False, trim="-") if size >= 1e-6 else f"{value:.1e}"


def cell(value: Any) -> str:
    """`value` on one line, with nothing in it that Markdown or HTML would act on within a table."""
    text = " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)
