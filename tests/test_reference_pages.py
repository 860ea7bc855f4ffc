"""The pages made from the code show every key and every metric."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.reference_pages import MARK, PAGES, main

from atlas.config import JOBS, keys_of
from atlas.run.metric_names import METRICS


def test_every_key_of_every_job_is_shown_with_its_default_and_what_it_does() -> None:
    page = PAGES["configuration.md"]()
    for job, config_class in JOBS.items():
        section = page.split(f"## Job {job}\n")[1].split("\n## ")[0]
        shown = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        for title in re.findall(r"\]\(#([\w-]+)\)", section):
            heading = next(h for h in page.split("\n## ") if _anchor(h) == title)
            shown |= set(re.findall(r"^\| `(\w+)` \|", heading, re.MULTILINE))
        assert shown == keys_of(config_class).keys(), job
    assert "| `beta` | `0.04` | a number of at least 0 | Weight of the KL" in page
    assert "| `model_name_or_path` | must be given | text |" in page


def _anchor(section: str) -> str:
    title = section.splitlines()[0].lower()
    return re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-")


def test_every_metric_is_shown() -> None:
    page = PAGES["metrics.md"]()
    assert all(f"| `{metric.name}` | {metric.unit} |" in page for metric in METRICS)


def test_the_command_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    for name in PAGES:
        (tmp_path / name).write_text(f"# By hand\n\n{MARK}\n\nold\n")
    main(tmp_path)
    for name, page in PAGES.items():
        assert (tmp_path / name).read_text() == f"# By hand\n\n{MARK}\n\n{page()}"
