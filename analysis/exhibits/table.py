"""One table, four forms: csv for programs, and markdown, LaTeX (booktabs) and HTML as it should be read.

A `Table` is a tidy frame and the columns a reader sees of it. Numbers are rounded when they are shown and nowhere else,
the same way in every form. An interval stands behind its number. A column in which nothing is
known is left out unless its emptiness is the message (`always`).
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # begins what a spreadsheet would compute
_LONG = 40  # rows beyond which LaTeX breaks a table over pages
_WIDE = 40  # characters beyond which LaTeX wraps a column of text
_BROAD = 10  # columns beyond which such a table lies sideways
LATEX_PACKAGES = "booktabs,graphicx,longtable,lscape,textcomp"
_TIGHT = "\\setlength{\\tabcolsep}{4pt}"
_FIT = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$", "½": r"\textonehalf{}",
    "τ": r"$\tau$", "α": r"$\alpha$", "σ": r"$\sigma$", "Δ": r"$\Delta$", "·": r"$\cdot$", "θ": r"$\theta$",
    "κ": r"$\kappa$", "λ": r"$\lambda$", "ρ": r"$\rho$", "′": "$'$",
    "√": r"$\surd$", "…": r"\ldots{}", "–": "--", "—": "---", "→": r"$\rightarrow$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "“": "``", "”": "''", "’": "'", "∞": r"$\infty$", "Σ": r"$\Sigma$", "≈": r"$\approx$",
    "\u00a0": "~",
})  # fmt: skip


class Column(NamedTuple):
    """A column as it is shown.

    key: of the frame. head: its heading. spec: the number's format, "p" for a p-value, empty for text. scale: 100 shows
    a share in %. interval: [KEY_lo, KEY_hi] behind it, or alone, where known. always: shown even if it is empty
    throughout.
    """

    key: str
    head: str
    spec: str = ""
    scale: float = 1.0
    interval: bool = False
    always: bool = False


class Cell(NamedTuple):
    """A cell as it is shown. value: what it sorts by, None where it is empty."""

    text: str
    value: float | str | None


def csv_text(frame: pd.DataFrame) -> str:
    """`frame` as CSV; text that a spreadsheet would take for a formula gets an apostrophe before it.

    Numbers have ten digits: more than any here deserves, fewer than differ between two builds of a linear algebra
    library.
    """
    named = frame.select_dtypes(exclude=["number", "bool"])
    safe = frame.copy()
    for name in named:
        safe[name] = named[name].map(_no_formula)
    return safe.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def _no_formula(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


@dataclass(frozen=True)
class Table:
    """`frame`: a row for each line, unrounded; it is the csv. `columns`: what of it is shown, in order.

    by: the columns whose values part it into sections, each under its own heading. name: of its files.
    """

    name: str
    title: str
    caption: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    by: tuple[str, ...] = ("dataset", "backbone")

    @property
    def shown(self) -> list[Column]:
        """The columns that say anything."""
        rows = records(self.frame)
        return [c for c in self.columns if c.always or any(cell(row, c).text for row in rows)]

    def sections(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """(heading, its rows of the frame) of each section; one without a heading where `by` is empty."""
        by = [key for key in self.by if key in self.frame]
        if not by:
            yield "", records(self.frame)
            return
        found: dict[str, list[dict[str, Any]]] = {}
        for row in records(self.frame):
            found.setdefault(" / ".join(str(row[key]) for key in by), []).append(row)
        yield from found.items()

    def to_csv(self) -> str:
        return csv_text(self.frame)

    def to_markdown(self, level: int = 1) -> str:
        """Title, a table for each section, caption. level: of the title's heading."""
        columns = self.shown
        parts = [f"{'#' * level} {self.title}"]
        for heading, rows in self.sections():
            lines = [[c.head for c in columns], ["---"] * len(columns)]
            for row in rows:
                lines.append([cell(row, c).text for c in columns])
            parts += [f"{'#' * (level + 1)} {heading}"] if heading else []
            parts.append("\n".join(_markdown(line) for line in lines))
        return "\n\n".join([*parts, *([self.caption] if self.caption else [])]) + "\n"

    def to_latex(self) -> str:
        """A `table`, shrunk to the line if need be, or a `longtable` over pages; ASCII. LATEX_PACKAGES are needed."""
        columns = self.shown
        caption = f"\\caption{{{latex('. '.join(filter(None, (self.title, self.caption))))}}}\\label{{tab:{self.name}}}"
        layout = f"{{{''.join(self._alignment(c) for c in columns)}}}"
        rows = ["\\toprule", " & ".join(latex(c.head) for c in columns) + " \\\\"]
        if len(self.frame) > _LONG:
            sideways = len(columns) > _BROAD
            lines = ["\\begin{landscape}"] if sideways else []
            lines += [f"\\begingroup\\scriptsize{_TIGHT}", f"\\begin{{longtable}}{layout}", f"{caption} \\\\"]
            lines += [*rows, "\\endfirsthead", *rows, "\\endhead", *self._latex_rows(columns), "\\bottomrule"]
            lines += ["\\end{longtable}", "\\endgroup"]
            lines += ["\\end{landscape}"] if sideways else []
        else:
            lines = [f"\\begin{{table}}\\footnotesize{_TIGHT}", "\\centering", caption, _FIT]
            lines += [f"\\begin{{tabular}}{layout}", *rows, *self._latex_rows(columns)]
            lines += ["\\bottomrule", "\\end{tabular}}", "\\end{table}"]
        return "\n".join([f"% needs \\usepackage{{{LATEX_PACKAGES}}}", *lines]) + "\n"

    def _alignment(self, column: Column) -> str:
        if column.spec:
            return "r"
        longest = max((len(cell(row, column).text) for row in records(self.frame)), default=0)
        return "p{0.4\\linewidth}" if longest > _WIDE else "l"

    def _latex_rows(self, columns: list[Column]) -> Iterator[str]:
        for heading, rows in self.sections():
            yield "\\midrule"
            if heading:
                yield f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{latex(heading)}}}}} \\\\"
            for row in rows:
                yield " & ".join(latex(cell(row, c).text) for c in columns) + " \\\\"

    def to_html(self) -> str:
        """A `<table>` for each section, as the report has it and a notebook shows it.

        A cell's `data-value` is what it sorts by, a row's `data-arm` what it is of. Numbers of an arm link to
        `#arm-…`, those of a run to `#run-…`: see `anchor`.
        """
        columns = self.shown
        parts = []
        for heading, rows in self.sections():
            label = html.escape(f"{self.title}: {heading}" if heading else self.title)
            parts.append(
                f'<table aria-label="{label}">' + (f"<caption>{html.escape(heading)}</caption>" if heading else "")
            )
            heads = "".join(f'<th scope="col"{_number_class(c)}>{html.escape(c.head)}</th>' for c in columns)
            parts.append(f"<thead><tr>{heads}</tr></thead><tbody>")
            for row in rows:
                link = anchor(row)
                cells = [_html_cell(cell(row, c), c, link, first=c is columns[0]) for c in columns]
                arm = f' data-arm="{html.escape(row["arm"])}"' if isinstance(row.get("arm"), str) else ""
                parts.append(f"<tr{arm}>{''.join(cells)}</tr>")
            parts.append("</tbody></table>")
        return "\n".join(parts)

    def _repr_html_(self) -> str:  # what a notebook shows
        return f"<h3>{html.escape(self.title)}</h3>{self.to_html()}<p>{html.escape(self.caption)}</p>"

    def __str__(self) -> str:
        return self.to_markdown()

    def forms(self) -> Iterator[tuple[str, str]]:
        """(suffix, text) of each form that is a file, the same for the same study."""
        yield from (("csv", self.to_csv()), ("md", self.to_markdown()), ("tex", self.to_latex()))


def compared(frame: pd.DataFrame) -> list[str]:
    """The names of rows that compare an arm with a reference."""
    return [f"{arm} −\u00a0{reference}" for arm, reference in zip(frame["arm"], frame["reference"], strict=True)]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Its rows by column name."""
    names = [str(name) for name in frame]
    return [dict(zip(names, row, strict=True)) for row in zip(*(frame[name].tolist() for name in frame), strict=True)]


def cell(row: dict[str, Any], column: Column) -> Cell:
    """What `column` shows of a row of the frame."""
    value = row.get(column.key)
    if not column.spec:
        text = "" if _missing(value) else " ".join(str(value).split())
        return Cell(text, text or None)
    value, ends = _float(value), [_float(row.get(f"{column.key}_{end}")) for end in ("lo", "hi")]
    parts = [number(column.scale * value, column.spec)]
    if column.interval and not math.isnan(ends[0]):
        parts.append(f"[{', '.join(number(column.scale * end, column.spec) for end in ends)}]")
        value = ends[0] if math.isnan(value) else value
    text = " ".join(filter(None, parts))
    return Cell(text, value if text else None)


def number(value: float, spec: str) -> str:
    """`value` by `spec`, with a true minus sign and none on what rounds to zero; empty for NaN."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if spec == "p":
        return "< 0.001" if value < 0.001 else format(value, ".3f")
    text = format(round(value) if spec.endswith("d") else value, spec)
    if not re.search("[1-9]", text):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def points(count: float) -> str:
    """A difference in percentage points, in words: `1 point`, `0.5 points`."""
    return f"{number(count, 'g')} point{'' if number(count, 'g') == '1' else 's'}"


def _markdown(cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def latex(text: str) -> str:
    """`text` with LaTeX's own characters, and those beyond ASCII that this project uses, written out."""
    return text.translate(_LATEX)


def anchor(row: dict[str, Any]) -> str:
    """The place on the report's page where the runs behind a row are listed; empty where a row has none.

    Runs that are left out, which have a reason, have none; nor have arms over several groups.
    """
    if isinstance(run := row.get("run"), str):
        return "" if "reason" in row else f"run-{slug(run)}"
    group = [row.get(key) for key in ("dataset", "backbone", "arm")]
    known = all(isinstance(part, str) for part in group) and row.get("kind", "arm") == "arm"
    return "arm-" + slug(" ".join(map(str, group))) if known else ""


def slug(text: str) -> str:
    """`text` as an id of HTML: letters, digits, `_`, `.` and `-`; distinct for distinct names of arms and runs."""
    return re.sub(r"[^\w.=-]+", "-", text.strip()).replace("=", "_")


def _number_class(column: Column) -> str:
    return ' class="n"' if column.spec else ""


def _html_cell(shown: Cell, column: Column, link: str, first: bool) -> str:
    text = html.escape(shown.text)
    if link and text and (column.spec or first):
        text = f'<a href="#{link}">{text}</a>'
    value = "" if shown.value is None else f' data-value="{html.escape(_sorted_by(shown.value))}"'
    tag = 'th scope="row"' if first else "td"
    return f"<{tag}{_number_class(column)}{value}>{text}</{tag.split()[0]}>"


def _sorted_by(value: float | str) -> str:
    """To ten digits, as in the csv: the last ones of a mean are those of the library that took it."""
    return value if isinstance(value, str) else f"{value:.10g}"


def _float(value: Any) -> float:
    return value if isinstance(value, float) else math.nan if _missing(value) else float(value)


def _missing(value: Any) -> bool:
    return value is None or (not isinstance(value, str) and bool(pd.isna(value)))
