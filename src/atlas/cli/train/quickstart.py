"""``atlas quickstart``: run the stages, then print the claims and where everything is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atlas.cli.options import Config, Fresh, OverrideConfig, Overrides, command_app
from atlas.cli.terminal import say, working
from atlas.cli.train.claims import show_claims

app = command_app()


def preset_of(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the configuration that a first word without ``=`` names, and the other words.

    Example:
        >>> preset_of(["real", "seed=1"])
        ('quickstart_real', ['seed=1'])
    """
    if words and "=" not in words[0] and words[0].isidentifier():
        return f"quickstart_{words[0]}", list(words[1:])
    return None, list(words)


@app.command()
def quickstart(
    overrides: Overrides,
    config: Config = "quickstart",
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
) -> None:
    """Collect traces, warm a teacher up, reinforce it, measure it: guide B at small size."""
    from atlas.cli.train.job import names_results
    from atlas.config import QuickstartConfig, load_config

    preset, changed = preset_of(overrides or [])
    settings = load_config(QuickstartConfig, preset or config, changed)

    import torch

    from atlas.data.tasks import make_tasks
    from atlas.quickstart.run import prepare, run_stages

    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    run = prepare(settings, fresh=fresh, override=override_config)
    hint = "The same command goes on from where it stopped; --fresh starts over."
    with run.lock(), working(hint, run) as (stop, bar_of):
        linked, line = run_stages(
            run, settings, progress_of=bar_of, stop=stop, meant=names_results(overrides)
        )
    show_claims(run)
    say(line)
    place = Path(settings.results_dir) if linked else run.path / "grpo"
    checkpoint = place / ("rl_checkpoint" if linked else "final")
    say(f"report:      {run.report}")
    say(f"checkpoint:  {checkpoint}")
    teacher = "" if linked and place == Path("results") else f" --teacher {checkpoint}"
    model = settings.model_name_or_path
    student = "" if model == "base" else f" --student {model}"
    (task,) = make_tasks(settings.families[0], 1, seed=0, split="held_out")
    atlas = ".venv/bin/atlas" if Path(".venv/bin/atlas").exists() else "atlas"
    say(f'try it:      {atlas} teach "{task.question}"{teacher}{student}')
