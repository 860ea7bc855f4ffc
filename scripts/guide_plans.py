"""What the guide's commands come to on GPUs of 40 and of 80 GB: the table of docs/planning.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atlas.config import GRPOConfig, SFTConfig, load_config
from atlas.planning.run_plan import RunPlan, fitting_settings, plan_run

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
_SFT = "configs/run/teacher_sft.yaml"
_GRPO = "configs/run/teacher_rcl.yaml"
SERVED = ("rollout_engine=vllm", "student_server_url=http://127.0.0.1:8001")
"""What ``launch_with_server`` adds to the words of the command."""
LIMITS = (40, 80)
"""GB of a device."""
NUMBERS = (2, 4, 8)
"""GPUs of a machine."""
COMMANDS = {
    "scripts/launch.sh {n} teacher_sft": (SFTConfig, _SFT, (), 1.0),
    "scripts/launch.sh {n} teacher_sft +offload": (SFTConfig, _SFT, ("+offload",), 1.0),
    "scripts/launch_with_server.sh {half} {half} teacher_rcl": (GRPOConfig, _GRPO, SERVED, 0.5),
    "scripts/launch.sh {n} teacher_rcl deepspeed=configs/deepspeed/zero2.json": (
        *(GRPOConfig, _GRPO, ("deepspeed=configs/deepspeed/zero2.json",)),
        1.0,
    ),
    "torchrun --nproc_per_node={n} --nnodes=2 train.py teacher_rcl": (GRPOConfig, _GRPO, (), 2.0),
}
"""Command -> its job, its file, its words, and the processes that train for each GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A command of the guide, and what comes of it."""

    command: str
    limit_gb: int
    config: SFTConfig | GRPOConfig
    plan: RunPlan
    ways: tuple[str, ...]
    """Settings with which it would fit, where it doesn't."""


def planned(command: str, number: int, limit_gb: int, *more: str) -> Planned:
    """Return what comes of a command of the guide.

    Args:
        command: As in `COMMANDS`.
        number: GPUs of a machine.
        limit_gb: Of each.
        more: Words that are added.
    """
    config_class, source, words, per_gpu = COMMANDS[command]
    processes = int(number * per_gpu)
    model = [f"model_name_or_path={LLAMA}"]
    config = load_config(
        config_class,
        source,
        [*model, *words, f"memory_limit_gb={limit_gb}", *more],
        world_size=processes,
    )
    on_node = min(number, processes)
    plan = plan_run(config, num_devices=processes, on_node=on_node, elsewhere=True)
    ways = () if plan.fits else tuple(fitting_settings(config, plan))
    return Planned(
        command=command.format(n=number, half=number // 2),
        limit_gb=limit_gb,
        config=config,
        plan=plan,
        ways=ways,
    )


def every_plan() -> Iterator[list[Planned]]:
    """Yield a command's plans for each limit, for every command and every machine."""
    for command in COMMANDS:
        for number in NUMBERS:
            yield [planned(command, number, limit) for limit in LIMITS]


def planning_page() -> str:
    """Return the made part of ``docs/planning.md``."""
    lines = [
        f"| Command | {' | '.join(f'{limit} GB a GPU' for limit in LIMITS)} |",
        f"|---|{'---|' * len(LIMITS)}",
    ]
    for plans in every_plan():
        cells = " | ".join(map(_cell, plans))
        lines.append(f"| `{plans[0].command}` | {cells} |")
    return "\n".join([*lines, ""])


def _cell(found: Planned) -> str:
    peak = f"{found.plan.device.peak / 1e9:.1f} GB"
    if found.plan.fits:
        return f"`{found.plan.words}`: {peak}"
    return f"refused, {peak} at least; fits with `{found.ways[0]}`"
