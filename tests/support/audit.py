"""Whether a package of constraints.txt is known to be vulnerable: a part of `make lint`, where an index can be asked.

    python tests/support/audit.py

Exits with 1 and a line for each vulnerability. Where no index answers, it says so and exits with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_UNKNOWN = "audit: not done: the index that answers knows none of the packages"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def vulnerable(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each vulnerability in what pip-audit found."""
    for package in found["dependencies"]:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one["fix_versions"]) or "nothing yet"
            yield f"{package['name']} {package['version']}: {one['id']} (fixed in {fixed})"


def main() -> None:
    """Asks, and tells."""
    asked = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
    asked += ["--progress-spinner", "off", "--timeout", "5", "--format", "json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        print(f"audit: not done: {(done.stderr.strip().splitlines() or ['pip-audit said nothing'])[-1][:200]}")
        return
    if lines := list(vulnerable(found)):
        sys.exit("\n".join(lines))
    known = sum("skip_reason" not in package for package in found["dependencies"])
    total = len(found["dependencies"])
    print(f"audit: none of the {known} packages that the index knows of {total} is vulnerable" if known else _UNKNOWN)


if __name__ == "__main__":
    main()
