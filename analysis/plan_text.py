"""A plan as a short text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from analysis.inference.pairing import ENDPOINTS
from analysis.inference.power import LOOKS

_HOUR, _DAY = 3600, 86400
_WHERE = {"workers": "workers of one machine", "slurm": "jobs of Slurm at once", "ray": "workers of a Ray cluster"}
_OF = {endpoint.metric: endpoint for endpoint in ENDPOINTS}


def in_text(plan: Mapping[str, Any]) -> str:
    """The plan (`analysis.plan.plan`) as lines."""
    parts = [list(_head(plan)), *(list(_endpoint(one, plan["test_pairs"])) for one in plan["endpoints"])]
    return "\n\n".join("\n".join(lines) for lines in [*parts, list(_cost(plan))])


def _head(plan: Mapping[str, Any]) -> Iterator[str]:
    spread = plan["spread"]
    yield (
        f"{plan['experiment']} on {plan['data']}: {plan['runs_a_replicate']} runs a replicate, {plan['comparisons']} "
        f"comparisons by 2 endpoints, each at {plan['level']:.2g}; power 80 %"
    )
    yield (
        f"Spread from {spread['from']}: {spread['comparisons']} comparisons over {spread['replicates']} replicates. "
        f"The sd may well be {spread['understated']:.1f} times as large (80 % limit); cautious numbers allow for it."
    )
    if "command" in spread:
        yield f"  ({spread['date']}, {spread['base_pairs']} base pairs: {spread['command']})"
    if None not in (sizes := (spread["base_pairs"], plan["base_pairs"])) and sizes[0] != sizes[1]:
        yield f"! Measured with {sizes[0]} base pairs, planned for {sizes[1]}: the spread may be another."
    if plan["data"] not in spread.get("ran", [plan["data"]]):
        yield f"! The pilot ran on {', '.join(spread['ran'])}, the plan is for {plan['data']}."


def _endpoint(found: Mapping[str, Any], pairs: int) -> Iterator[str]:
    of = _OF[found["endpoint"]]
    alike = found["median"]["comparison"] == found["widest"]["comparison"]
    widths = ("widest", "cautious") if alike else ("median", "widest", "cautious")
    columns = [(width, question) for width in widths for question in ("difference", "equivalence")]

    def said(value: float) -> str:
        return f"{value * of.scale:.3g}"

    def row(mark: str, label: str, numbers: Iterable[float]) -> str:
        return f"{mark:1}{label:>21}" + "".join(f"{_count(number):>13}" for number in numbers)

    size = _of_unit(said(found["detect"]), of.unit)
    yield f"{found['endpoint']}: replicates to find a difference of {size}, and to rule it out"
    for width in widths[:-1]:
        one = found[width]
        yield (
            f"  {width}, {one['comparison']}: sd of a replicate {said(one['sd'])} {of.unit} on "
            f"{one['sd_test_pairs']} test pairs ({one['from_test_pairs']:.0%} of its square from these), "
            f"{said(one['sd_planned'])} on {pairs}"
        )
    cautious = found["cautious"]
    yield f"  cautious, as large as the widest may well be: {said(cautious['sd_planned'])} on {pairs}"
    yield " " * 22 + "".join(f"{width:>26}" for width in widths)
    yield f"{'test pairs':>22}" + "".join(f"{'find' if q == 'difference' else 'rule out':>13}" for _, q in columns)
    tables = {width: {line["test_pairs"]: line for line in found[width]["replicates"]} for width in widths}
    for n in tables["widest"]:
        yield row(">" if n == pairs else "", str(n), (tables[width][n][question] for width, question in columns))
    for label, key in (("expected", "expected"), ("at most", "most")):
        numbers = (found[width]["looks"][question][key] for width, question in columns)
        yield row("", f"{LOOKS} looks, {label}", numbers)


def _cost(plan: Mapping[str, Any]) -> Iterator[str]:
    cost = plan["cost"]
    if not cost:
        yield "Time and disk: not known without a pilot (pilot=DIR; pilot=run runs one replicate to measure them)."
        return
    yield (
        f"Time and disk, one run after another: a replicate's first run {_time(cost['first_seconds'])}, each later one "
        f"{_time(cost['later_seconds'])}, {_size(cost['run_bytes'])} a run"
    )
    yield f"  (scaled from runs with {cost['measured_test_pairs']} test pairs a split; without the cache of features)"
    totals = {name: total for name, total in cost["totals"].items() if math.isfinite(total["replicates"])}
    for name, total in totals.items():
        room = f"{_time(total['seconds'])}, {_size(total['bytes'])}"
        yield f"  {_of(name)}: {_count(total['replicates'])} replicates, {room}{_calls(total)}"
    if plan["cost"]["asked_workers"]:
        hours = f"hours of {cost['gpu']}" if cost["gpu"] else "worker-hours"
        yield f"On {cost['workers']} {_WHERE[cost['launcher']]}, from the first command to the last file"
        for name, total in totals.items():
            price = "" if total["price"] is None else f", {total['price']:,.2f} at {cost['hourly']:g} an hour"
            yield f"  {_of(name)}: {_time(total['elapsed'])}, {_hours(total['worker_hours'])} {hours}{price}"


def _of(name: str) -> str:
    return name if name == "as told" else f"for both, {name}"


def _of_unit(number: str, units: str) -> str:
    """`1 point`, `0.5 points`."""
    return f"{number} {units.removesuffix('s') if number == '1' else units}"


def _calls(total: Mapping[str, Any]) -> str:
    """What the pool's variants take, where each is paid for."""
    if not total["calls"]:
        return ""
    paid = "" if total["paid"] is None else f" ({total['paid']:,.2f} for them)"
    return f", {total['made']:,.0f} variants in {total['calls']:,.0f} calls{paid}"


def _count(number: float) -> str:
    return f"{math.ceil(number)}" if math.isfinite(number) else "never"


def _time(seconds: float) -> str:
    for size, name in ((_DAY, "days"), (_HOUR, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.2g} seconds" if seconds < 100 else f"{seconds:.0f} seconds"


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _size(size: float) -> str:
    for power, name in ((3, "GB"), (2, "MB")):
        if size >= 1000**power:
            return f"{size / 1000**power:.1f} {name}"
    return f"{size / 1000:.0f} kB"
