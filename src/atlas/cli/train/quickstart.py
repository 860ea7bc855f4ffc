"""``atlas quickstart``: run the stages, then print the claims and where everything is."""

from __future__ import annotations

from pathlib import Path

from atlas.cli.options import Config, Fresh, OverrideConfig, Overrides, command_app
from atlas.cli.terminal import say, working
from atlas.cli.train.claims import show_claims

app = command_app()


@app.command()
def quickstart(
    overrides: Overrides,
    config: Config = "quickstart",
    fresh: Fresh = False,
    override_config: OverrideConfig = False,
) -> None:
    """Collect traces, warm a teacher up, reinforce it, measure it: guide B at small size."""
    from atlas.config import QuickstartConfig, load_config

    settings = load_config(QuickstartConfig, config, overrides)

    import torch

    from atlas.quickstart.run import prepare, run_stages

    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    run = prepare(settings, fresh=fresh, override=override_config)
    hint = "The same command goes on from where it stopped; --fresh starts over."
    with run.lock(), working(hint, run) as (stop, bar_of):
        run_stages(run, settings, progress_of=bar_of, stop=stop)
    show_claims(run)
    checkpoint = Path(settings.results_dir) / "rl_checkpoint"
    say(f"report:      {run.report}")
    say(f"checkpoint:  {checkpoint}")
    teacher = "" if settings.results_dir == "results" else f" --teacher {checkpoint}"
    say(f'try it:      .venv/bin/atlas teach "Calculate 7 - 3 + 5."{teacher}')
