"""The report as a reader meets it: what is there, what can be done, and that all can do it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.browser.chromium import Page
from tests.browser.conftest import ATTACK, keep
from tests.unit.report.fake_run import make_fake_run

from atlas.report import write_report

COUNT = "document.getElementById('list-count').textContent"
ROWS = "[...document.querySelectorAll('#list .row')].map(row => row.textContent)"
DETAIL = "document.getElementById('detail').textContent"


def choose(page: Page, name: str, value: str) -> None:
    """Set a filter as a reader does."""
    page.do(
        f"(() => {{ const field = document.getElementById('f-{name}'); field.value = '{value}';"
        "field.dispatchEvent(new Event('input')); })()"
    )


def test_the_page_has_its_parts_and_asks_nobody(page: Page, report: str) -> None:
    page.open(report)
    heads = page.do("[...document.querySelectorAll('h1, h2')].map(head => head.textContent)")
    assert heads == [
        "The GRPO teacher helps its student",
        "The claims, beside the guide's numbers",
        "Learning curves",
        "Transcripts",
        "How the run was made",
        "Glossary",
    ]
    assert page.do(COUNT) == "216 of 216 rollouts"
    assert page.do("document.querySelectorAll('#panels canvas').length") >= 8
    asked = page.do("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked == []


def test_rollouts_are_filtered_searched_and_sorted(page: Page, report: str) -> None:
    page.open(report)
    choose(page, "where", "0/training")
    assert page.do(COUNT) == "96 of 216 rollouts"
    choose(page, "kind", "helped")
    rows = page.do(ROWS)
    assert rows
    assert all(row.startswith("helped") for row in rows)
    choose(page, "kind", "truncated")
    assert page.do(COUNT) == "9 of 216 rollouts"
    choose(page, "kind", "")
    choose(page, "family", "chain_sum")
    assert page.do(COUNT) == "24 of 216 rollouts"
    choose(page, "text", "calculate 2 + 1")
    assert page.do(COUNT) == "8 of 216 rollouts"
    choose(page, "text", "")
    choose(page, "low", "1")
    assert all("1.10" in row for row in page.do(ROWS))
    choose(page, "low", "")
    choose(page, "sort", "-step")
    assert "step 3" in page.do(ROWS)[0]


def test_one_is_read_by_keyboard_put_beside_another_and_linked(page: Page, report: str) -> None:
    page.open(report)
    choose(page, "where", "0/training")
    page.do("document.getElementById('list').focus()")
    for _ in range(3):
        page.press("ArrowDown")
    active = "document.getElementById('list').getAttribute('aria-activedescendant')"
    assert page.do(active) == "row-2"
    assert page.do("location.hash") == "#rollout=0/training/1/0/2"
    detail = page.do(DETAIL)
    assert ATTACK in detail  # as text
    assert "turns" in detail  # a column that the page doesn't know
    page.press("p")
    page.press("ArrowDown")
    assert page.do("document.querySelectorAll('#detail .rollout').length") == 2
    page.press("End")
    assert page.do("location.hash") == "#rollout=0/training/3/3/7"
    assert page.do(active) == "row-95"
    page.press("/")
    assert page.do("document.activeElement.id") == "f-text"
    address = page.do("location.href")
    page.open(address)
    assert "Calculate 3 + 3 * 7." in page.do(DETAIL)
    assert page.do("document.querySelectorAll('#list [aria-selected=true]').length") == 1


def test_curves_are_read_off_and_zoomed_by_keyboard(page: Page, report: str) -> None:
    page.open(report)
    chart = "[...document.querySelectorAll('.uplot')].find(u => u.ariaLabel.startsWith('Reward'))"
    page.do(f"({chart}).focus()")
    page.press("Home")
    page.until(f"({chart}).querySelector('.u-legend .u-value').textContent === '1'")
    scale = "JSON.stringify(Charts.drawn.find(d => d.name === 'grpo/Reward').u.scales.x)"
    whole = page.do(scale)
    page.press("+")
    page.until(f"{scale} !== {whole!r}")
    page.press("0")
    page.until(f"{scale} === {whole!r}")


def test_nothing_is_lost_without_javascript(page: Page, report: str) -> None:
    page.scripts(on=False)
    page.open(report, ready="true")
    page.scripts(on=True)
    text = page.do("document.body.innerText")
    assert "GRPO, KL per sequence" in text
    assert "with JavaScript this page lists all rollouts" in text
    assert page.do("getComputedStyle(document.getElementById('list')).display") == "block"
    assert page.do("document.getElementById('list').offsetHeight") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_read_it(page: Page, report: str, axe: str, scheme: str, width: int) -> None:
    page.size(width)
    page.colours(scheme)
    page.call("Page.setBypassCSP", enabled=True)
    page.open(report + "#rollout=0/training/1/0/2")
    assert page.do("document.documentElement.scrollWidth") <= width
    page.do(axe + ";0")
    found = page.do(
        "axe.run().then(found => found.violations.map(one => one.id + ': ' + one.help + "
        "' ' + one.nodes.slice(0, 3).map(node => node.html.slice(0, 200)).join(' | ')))"
    )
    page.call("Page.setBypassCSP", enabled=False)
    assert found == []
    ground = page.do("getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", ground)[:3])) > 384
    assert bright == (scheme == "light")


def test_it_prints_on_pages_that_are_full(page: Page, report: str) -> None:
    page.open(report)
    printed = page.pdf()
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 16


def test_fifty_thousand_rollouts_are_listed_and_scrolled(page: Page, tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path / "large", num_tasks=12)
    for step in range(1, 126):
        keep(folder / "grpo" / "rollouts", step, num_groups=50)
    page.open(write_report(folder).as_uri())
    assert page.do(COUNT) == "50,024 of 50,024 rollouts"
    page.do("(() => { const list = document.getElementById('list'); list.scrollTop = 1e9; })()")
    page.until(f"({ROWS}).at(-1).includes('Calculate 125 + 49')")
    assert page.do("document.querySelectorAll('#list .row').length") < 60
    choose(page, "text", "calculate 77 + 3 *")
    assert page.do(COUNT) == "8 of 50,024 rollouts"


def test_runs_of_other_seeds_are_a_band(page: Page, tmp_path: Path) -> None:
    folders = [make_fake_run(tmp_path / name, num_tasks=12) for name in ("one", "two")]
    (folders[1] / "grpo" / "config.yaml").write_text("seed: 8\noutput_dir: runs/two/grpo\n")
    for folder in folders:
        keep(folder / "grpo" / "rollouts", 1, num_groups=1)
    page.open(write_report(*folders, output=tmp_path / "both.html").as_uri())
    assert "2 runs, side by side" in page.do("document.body.innerText")
    assert page.do("Charts.drawn.find(d => d.name === 'grpo/Reward').u.bands.length") == 1
    assert page.do("[...document.querySelectorAll('#f-where option')].map(o => o.text)") == [
        *("everywhere", "one: held out", "one: training"),
        *("two: held out", "two: training"),
    ]
