"""The page of a run that goes on: it follows without being loaded again."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

from tests.browser.chromium import Page
from tests.browser.conftest import keep

from atlas.report.live import Watcher
from atlas.run.run_dir import RunDir


def test_curves_rollouts_and_log_follow_the_run(
    page: Page, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "live"
    shutil.copytree(run_folder, folder)
    run = RunDir.open(folder)
    run.note("grpo", "150/160  loss 0.5")
    with Watcher(run, seconds=0.05) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            page.open(server.address)
            page.until("document.getElementById('live-state').textContent === 'live'")
            page.until("document.getElementById('log').textContent.includes('150/160')")
            assert "died at step 150 of 160" in page.do("document.body.innerText")
            count = "document.getElementById('list-count').textContent"
            assert page.do(count) == "216 of 216 rollouts"
            keep(folder / "grpo" / "rollouts", 4, num_groups=1)
            with (folder / "grpo" / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": 151, "train/reward": 0.5}) + "\n")
            run.note("grpo", "151/160  loss 0.4")
            page.until(f"{count} === '224 of 224 rollouts'")
            page.until("Charts.drawn.find(d => d.name === 'grpo/Reward').u.data[0].at(-1) === 151")
            page.until("document.body.innerText.includes('died at step 151 of 160')")
            assert page.complaints == []
            page.open("about:blank", ready="true")
        finally:
            server.shutdown()
            thread.join()
