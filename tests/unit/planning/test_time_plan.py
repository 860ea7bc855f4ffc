"""How many operations a training takes, by hand."""

from __future__ import annotations

from typing import Any

from atlas.config import GRPOConfig, SFTConfig
from atlas.config.resolve import resolve
from atlas.planning.time_plan import (
    grpo_products,
    learning_products,
    products_per_second,
    time_line,
)


def test_learning_by_hand() -> None:
    config = SFTConfig(model_name_or_path="m")
    assert learning_products(config, 10, 7) == 6 * 10 * 7
    again = SFTConfig(model_name_or_path="m", use_peft=True, gradient_checkpointing=True)
    assert learning_products(again, 10, 7) == (4 + 2) * 10 * 7


def test_a_grpo_run_by_hand() -> None:
    given: dict[str, Any] = {
        "model_name_or_path": "m",
        "student_model": "s",
        "max_steps": 2,
        "prompts_per_step": 3,
        "num_generations": 4,
        "max_new_tokens": 10,
        "student_max_new_tokens": 20,
    }
    said, answered = 24 * 5, 24 * 10
    with_reference = grpo_products(resolve(GRPOConfig(**given)), 100, 50)
    assert with_reference == (6 + 2 + 2) * 100 * said + 2 * 50 * answered
    without = grpo_products(resolve(GRPOConfig(**given, beta=0.0, num_iterations=2)), 100, 0)
    assert without == (2 * 6 + 2) * 100 * said


def test_the_line_says_a_bound_and_where_its_speed_is_from() -> None:
    line = time_line(7.2e15, 1e12, num_devices=2)
    assert line.startswith("time: at least 1:00:00: 7.2e+15 operations at the 1.0e+12 a second")
    assert "at least 0:00:01" in time_line(1.0, 1e12)
    assert products_per_second() > 0


def test_a_student_with_tools_takes_turns_and_reads_results() -> None:
    given: dict[str, Any] = {"model_name_or_path": "m", "student_model": "s", "tools": ("sql",)}
    given |= {"max_turns": 3, "student_max_new_tokens": 20, "tool_max_chars": 30}
    config = resolve(GRPOConfig(**given, max_new_tokens=10))
    assert (config.attempt_tokens, config.teaching_tokens) == (3 * 20 + 2 * 10, 10)
    steps = resolve(GRPOConfig(**given, max_new_tokens=10, teaching_at="every_step"))
    assert steps.teaching_tokens == 3 * 10 + steps.attempt_tokens
    plain = GRPOConfig(model_name_or_path="m", student_model="s", student_max_new_tokens=20)
    assert plain.attempt_tokens == 20
