"""The claims of a run in the terminal: the verdict, and the guide's numbers beside the measured."""

from __future__ import annotations

from atlas.cli.terminal import say
from atlas.run.run_dir import RunDir


def show_claims(run_dir: RunDir) -> None:
    """Print what a finished evaluation says, in lines that fit any terminal."""
    from atlas.evaluation.claims_file import read_claims
    from atlas.report.conclusion import conclusion
    from atlas.report.text import arm_name, claim_text, ordered_arms, rows_by_claim

    table = read_claims(run_dir.claims)
    verdict = conclusion(table)
    say(lead=f"\n{verdict.headline}.", bold=True)
    say(verdict.sentence)
    say()
    names = [arm_name(arm) for arm in ordered_arms(table.arms)]
    room = max(map(len, names))
    for claims in rows_by_claim(table):
        if claims[0].guide_value is not None:
            say(f"  guide {claims[0].guide_text}", lead=claims[0].label, bold=True)
            for name, claim in zip(names, claims, strict=True):
                say(f"  {name:<{room}}  {claim_text(claim)}")
    say()
