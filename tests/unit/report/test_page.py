import base64
import gzip
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from tests.unit.report.fake_run import fake_pairs, make_fake_run

from atlas.errors import AtlasError
from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import write_claims
from atlas.evaluation.pairs_file import read_pairs, write_pairs
from atlas.report.page import duration_text, render_report, typeset, write_report
from atlas.report.run_files import read_run
from atlas.run.run_dir import RunDir

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest and collects what the tests ask about."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses, self.anchors = [], [], [], [], []
        self.unlabelled, self.scripts = [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[key] for key in ("src", "href", "data", "action") if key in found]
        self.anchors += [found["aria-labelledby"]] if "aria-labelledby" in found else []
        if tag == "svg" and "aria-label" not in found and found.get("aria-hidden") != "true":
            self.unlabelled.append(tag)
        self.scripts += tag == "script" and "type" not in found
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)


def _words(text):
    text = re.sub(r"<(script|style).*?</\1>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\N{NO-BREAK SPACE}", " ")


def _policy(text):
    return html.unescape(re.search(r'Security-Policy" content="([^"]*)"', text)[1])


def _hash_of_the_script(text):
    script = re.search(r"<script>(.*)</script>", text, flags=re.DOTALL)[1]
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _carried(text, name):
    found = re.findall(f'data-atlas="{name}">(.*?)</script>', text)
    return [json.loads(gzip.decompress(base64.b64decode(one))) for one in found]


def test_the_page_is_whole_well_formed_and_loads_nothing(fake_run):
    path = write_report(fake_run)

    text = path.read_text()
    page = Page(text)
    assert path == fake_run / "report.html"
    assert page.open == []
    assert not {"img", "iframe", "object"} & set(page.tags)
    assert page.scripts == 1
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\(|@import", text)
    # Names of places that nothing is loaded from: uPlot's home, and that of SVG.
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"https://github.com"}
    assert _policy(text) == "default-src 'none'; script-src 'sha256-{}'; {}".format(
        _hash_of_the_script(text),
        "style-src 'unsafe-inline'; img-src data:",
    )
    assert len(page.ids) == len(set(page.ids))
    assert set(page.anchors) <= set(page.ids)
    assert page.unlabelled == []


def test_the_page_holds_verdict_claims_curves_transcripts_and_stages(fake_run):
    text = write_report(fake_run).read_text()
    words = _words(text)

    for piece in (
        "The GRPO teacher helps its student",
        "+15.7 points",
        "GRPO teacher minus SFT teacher",
        "KL per sequence",
        "What the doctor found, causes first:",
        "GRPO: does it look like success?",
        "seed = 7",
        "2 min 52 s",
        "What the GRPO teacher did over all 60 held-out tasks: helped",
        "Glossary",
        "postgresql://atlas:***@localhost:5433/atlas",
    ):
        assert piece in words
    assert "secret-word" not in words
    (panels,) = _carried(text, "panels")
    assert "KL per sequence" in {panel["title"] for panel in panels}
    assert sum(chunk["count"] for chunk in _carried(text, "rollouts")) == 120


def test_what_models_wrote_is_shown_and_never_run(fake_run):
    attack = '<script>alert(1)</script><img src=x onerror="alert(2)">{{ 7 * 7 }}'
    spoiled = [
        replace(
            row,
            task=replace(row.task, question=f"{attack} {row.task.question}", family=f"f{attack}"),
            teaching=replace(row.teaching, text=attack),
            approach=replace(row.approach, text=attack),
            alone=replace(row.alone, text=attack),
            attempt=replace(row.attempt, text=attack),
        )
        for row in read_pairs(fake_run / "eval" / "pairs.jsonl")
    ]
    write_pairs(fake_run / "eval" / "pairs.jsonl", spoiled)
    (fake_run / "config.yaml").write_text(f"note: '{attack}'\n")

    text = write_report(fake_run).read_text()

    assert Page(text).scripts == 1
    assert "<script>alert" not in text
    assert "<img" not in text
    assert attack in _carried(text, "rollouts")[0]["texts"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert Page(text).open == []


def test_an_empty_run_gets_a_page_that_says_what_is_missing(tmp_path):
    words = _words(write_report(tmp_path).read_text())

    assert "Not evaluated yet" in words
    for missing in (
        "stages/",
        "config.yaml",
        "eval/claims.json",
        "sft/metrics.jsonl",
        "grpo/metrics.jsonl",
        "no transcripts of an evaluation",
    ):
        assert missing in words


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("stages", "No stage has finished"),
        ("grpo", "GRPO was not run"),
        ("eval/claims.json", "The evaluation has not been run"),
        ("eval/pairs.jsonl", "There are no transcripts of an evaluation"),
    ],
)
def test_a_part_that_is_missing_is_said_and_the_rest_is_shown(fake_run, part, says):
    target = fake_run / part
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()

    text = write_report(fake_run).read_text()

    assert says in _words(text)
    assert "Loss" in {panel["title"] for panel in _carried(text, "panels")[0]}
    assert Page(text).open == []


def test_a_damaged_file_is_named_on_the_page(fake_run):
    (fake_run / "eval" / "claims.json").write_text("{")

    words = _words(write_report(fake_run).read_text())

    assert "Files that could not be read" in words
    assert "claims.json can't be read as JSON" in words


def test_any_number_of_arms_has_its_columns(tmp_path):
    arms = ("untrained", "sft", "grpo")
    text = write_report(make_fake_run(tmp_path / "run", num_tasks=30, arms=arms)).read_text()

    assert "Untrained teacher" in text
    assert _words(text).count("minus Untrained teacher") == 2


def test_only_one_arm_is_no_crash(fake_run):
    pairs = fake_pairs(30, ("sft",))
    write_pairs(fake_run / "eval" / "pairs.jsonl", pairs)
    write_claims(fake_run / "eval" / "claims.json", claims_table(pairs))

    words = _words(write_report(fake_run).read_text())

    assert "What the SFT teacher did over all 30 held-out tasks" in words
    assert "Arm against arm" not in words


def test_the_same_run_gives_the_same_page_at_the_place_asked_for(fake_run, tmp_path):
    first = write_report(fake_run).read_bytes()

    second = write_report(fake_run, output=tmp_path / "elsewhere" / "page.html")

    assert second.read_bytes() == first


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AtlasError, match="nowhere"):
        write_report(tmp_path / "nowhere")


def test_the_report_loads_no_heavy_package():
    code = "import sys, atlas.report; sys.exit('torch' in sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )

    assert result.returncode == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.4, "41 s"), (171.9, "2 min 52 s"), (11_100, "3 h 05 min")]
)
def test_durations_are_told_in_two_units_at_most(seconds, text):
    assert duration_text(seconds) == text


def test_numbers_are_typeset_with_minus_signs_and_their_units():
    assert typeset("-2.5 % to 3 - 1") == ("\N{MINUS SIGN}2.5\N{NO-BREAK SPACE}% to 3 - 1")


def test_several_runs_are_one_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [make_fake_run(tmp_path / name, num_tasks=12) for name in ("a", "b")]
    (folders[1] / "grpo" / "config.yaml").write_text("seed: 8\noutput_dir: runs/b/grpo\n")

    text = write_report(*folders).read_text()

    assert "2 runs, side by side" in _words(text)
    assert Page(text).open == []
    assert {chunk["run"] for chunk in _carried(text, "rollouts")} == {0, 1}
    labels = {line["label"] for panel in _carried(text, "panels")[0] for line in panel["lines"]}
    assert "reward, mean of 2 seeds" in labels
    assert (tmp_path / "comparison.html").is_file()


def test_a_run_that_stopped_says_where_and_how_it_goes_on(tmp_path):
    run = RunDir.create(tmp_path / "run", "grpo")
    run.note("grpo", "12/40  loss 0.5")

    words = _words(write_report(run.path).read_text())

    assert "This run died at step 12 of 40." in words
    assert f"atlas resume {run.path}" in words


def test_a_page_that_a_run_writes_at_its_end_does_not_say_that_it_runs(fake_run):
    with RunDir.open(fake_run).lock():
        written = _words(write_report(fake_run).read_text())
        watched = _words(render_report(read_run(fake_run), live=True))

    assert "This run" not in written
    assert "This run is running" in watched
