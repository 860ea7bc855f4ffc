"""The claims of a run in the terminal: the verdict, and the guide's numbers beside the measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.cli.terminal import say
from atlas.run.run_dir import RunDir

if TYPE_CHECKING:
    from atlas.evaluation.claims import ClaimsTable


def show_claims(run_dir: RunDir) -> None:
    """Print what a finished evaluation says, in lines that fit any terminal."""
    from atlas.evaluation.claims_file import read_claims
    from atlas.report.conclusion import conclusion
    from atlas.report.text import arm_name, claim_text, ordered_arms, reading_text, rows_by_claim

    table = read_claims(run_dir.claims)
    verdict = conclusion(table)
    say(lead=f"\n{verdict.headline}.", bold=True)
    say(verdict.sentence)
    arms = ordered_arms(table.arms)
    names = [arm_name(arm) for arm in arms]
    shares = [
        f"with {name} {_share(table, arm, 'taught')}" for name, arm in zip(names, arms, strict=True)
    ]
    alone = f"student alone {_share(table, arms[0], 'alone')}"
    say(f"Measured on {table.num_tasks} held-out tasks, right: {', '.join([alone, *shares])}")
    say()
    room = max(map(len, names))
    for claims in rows_by_claim(table):
        if claims[0].guide_value is not None:
            say(f"  guide {claims[0].guide_text}", lead=claims[0].label, bold=True)
            for name, claim in zip(names, claims, strict=True):
                say(f"  {name:<{room}}  {claim_text(claim)}")
    if any(table.read_by.values()):
        say(f"  {reading_text(table.read_by)}", lead="Completed answers were read by", bold=True)
    say()


def _share(table: ClaimsTable, arm: str, when: str) -> str:
    found = {claim.name: claim.value for claim in table.arms[arm]}[f"accuracy_{when}"]
    return "-" if found is None else f"{found:.1f} %"
