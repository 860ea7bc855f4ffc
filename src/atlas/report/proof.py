"""What a model from scratch was found to be worth (guide A), in words: terminal and page share it.

Input: the figures that its stage ``evaluate`` keeps. Output: a header and rows of plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atlas.report.conclusion import Conclusion, Effect

Figures = Mapping[str, Any]

_MODELS: Final = ("random", "stage_0", "ranked")
_LINES: Final = {
    "ranking_accuracy": "better response likelier (pairs)",
    "loss": "loss of the best response, nats a token",
    "verified": "own answers verified right",
}


def proof_header(figures: Figures, *, pretrained: bool) -> tuple[str, ...]:
    """Return the heads of the columns of `proof_rows`: what is measured, and each model."""
    return ("", *(_title(name, pretrained) for name in _measured(figures)))


def proof_rows(figures: Figures) -> list[tuple[str, ...]]:
    """Return a row a number, with a cell a model; empty where it wasn't measured."""
    return [
        (title, *(_cell(figures.get(f"{model}_{name}")) for model in _measured(figures)))
        for name, title in _LINES.items()
    ]


def proof_gain(figures: Figures) -> str:
    """Return the gain of the ranked stage in right answers; empty where it wasn't measured."""
    return _cell(figures.get("verified_gain"))


def proof_conclusion(figures: Figures, *, pretrained: bool) -> Conclusion:
    """Return what is to be said of a model from scratch: what the ranked stage was worth."""
    gain = figures.get("verified_gain")
    effect: Effect = "unmeasured"
    headline = "The model from scratch, measured"
    if isinstance(gain, Mapping):
        effect = "helps" if gain["low"] > 0 else "harms" if gain["high"] < 0 else "unclear"
        headline = {
            "helps": "The ranked stage makes the model better",
            "harms": "The ranked stage makes the model worse",
            "unclear": "The ranked stage makes no clear difference",
        }[effect]
    last = _measured(figures)[-1]
    said = [
        f"{title}: {cell}"
        for title, cell in (
            (title, _cell(figures.get(f"{last}_{name}"))) for name, title in _LINES.items()
        )
        if cell
    ]
    if gain:
        said.append(f"gain of the ranked stage in right answers: {proof_gain(figures)}")
    sentence = (
        f"On {figures.get('validation_prompts', 0)} validation prompts that none of it was learned "
        f"from, {_title(last, pretrained)}: {'; '.join(said)}."
    )
    return Conclusion(finding=effect, headline=headline, sentence=sentence)


def _title(model: str, pretrained: bool) -> str:
    before = "after stage 0" if pretrained else "at the start"
    titles = {"random": "random weights", "stage_0": before}
    return titles.get(model, "after the ranked stage")


def _measured(figures: Figures) -> list[str]:
    return [name for name in _MODELS if f"{name}_loss" in figures]


def _cell(value: float | Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        low, high = 100 * value["low"], 100 * value["high"]
        return f"{100 * value['value']:.1f} % [{low:.1f}, {high:.1f}]"
    return f"{value:.3f}"
