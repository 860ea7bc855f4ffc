from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from tests.browser.chromium import Page, chromium
from tests.unit.report.fake_run import FAMILIES, make_fake_run

from atlas.report import write_report

ATTACK = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One tab, which all tests share; each opens its page anew."""
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture(autouse=True)
def as_a_reader_has_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """A desktop's window, light, with JavaScript; nothing complains, and no attack has run."""
    tab: Page = request.getfixturevalue("page")
    tab.size(1280)
    tab.colours("light")
    tab.scripts(on=True)
    tab.complaints.clear()
    yield
    assert tab.complaints == []
    assert "owned" not in tab.do("document.title")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an evaluation of 60 tasks, and three steps of rollouts by hostile models."""
    folder = make_fake_run(tmp_path_factory.mktemp("runs") / "quickstart", num_tasks=60)
    for step in (1, 2, 3):
        keep(folder / "grpo" / "rollouts", step, num_groups=4, said=ATTACK)
    return folder


@pytest.fixture(scope="session")
def report(run_folder: Path) -> str:
    """Its page."""
    return write_report(run_folder).as_uri()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which the package carries."""
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None, "make browser installs it"
    assert found.submodule_search_locations
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()


def keep(folder: Path, step: int, *, num_groups: int, said: str = "") -> None:
    """Write the rollouts of a step as a training does, and a column that no page knows."""
    rng = random.Random(step)
    rows = [_row(rng, step, place, said) for place in range(num_groups * 8)]
    folder.mkdir(exist_ok=True)
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, folder / f"step_{step:06d}.parquet")


def _row(rng: random.Random, step: int, place: int, said: str) -> dict[str, object]:
    group, uplift = place // 8, float(rng.choice([-1, 0, 1, 1]))
    numbers = [rng.randint(10, 99) for _ in range(6)]
    return {
        **{"step": step, "group": group, "member": place % 8, "advantage": uplift / 2},
        **{"task_id": f"t{step}-{group}", "family": FAMILIES[group % 3]},
        **{"question": f"Calculate {step} + {group} * 7.{said}", "answer": str(step + group * 7)},
        **{"baseline": f"Try: {step + group}.", "approach": "From left to right."},
        "teaching": f"A = {numbers[0]} * {numbers[1]}. B = A + {numbers[2]}. Answer B.{said}",
        "teaching_tokens": 24,
        "attempt": f"A is {numbers[3]}. B is {numbers[4]}. Answer: {numbers[5]}{said}",
        **{"truncated": place % 11 == 0, "part_uplift": uplift, "part_leaked": 0.0},
        **{"reward": None if place % 13 == 0 else uplift + 0.1, "reason": ""},
        "turns": [{"role": "tool", "text": said or "42"}],
    }
