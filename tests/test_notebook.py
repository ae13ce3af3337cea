"""docs/quickstart.ipynb runs from top to bottom, shows what it says, and is kept without what it showed."""

import re
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbclient and ipykernel are not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The notebook's code cells after a run in a directory of its own."""
    own = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            patch.setenv(name, str(own / name))
        patch.setenv("PYTHONPATH", str(ROOT))
        nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(own)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _shown(cells: list[Any], source: str) -> str:
    """All that the cell that contains `source` showed, as text, kinds first."""
    (cell,) = [cell for cell in cells if source in cell.source]
    return "\n".join(f"{' '.join(one.get('data', {}))} {one.get('text', one.get('data', ''))}" for one in cell.outputs)


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_it_ends_in_a_table_a_figure_a_verdict_and_a_run(executed: list[Any]) -> None:
    assert "['none', 'uniform', 'eda', 'mars']" in _shown(executed, "study.arms")
    assert re.search(r"\| mars \| [\d.]+", _shown(executed, 'Markdown(study.table("main")'))
    assert "image/png" in _shown(executed, 'study.figure("rounds")')
    assert re.search(r"mars.*uniform", _shown(executed, "study.verdict()"))
    assert "validation_accuracy" in _shown(executed, "run.rounds")
    assert "'preservation': {'rows':" in _shown(executed, 'run.manifest["pool"]')


def test_the_pages_link_to_it() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert Path(NOTEBOOK).name in page.read_text(encoding="utf-8")
