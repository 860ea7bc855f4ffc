"""Every training command of the guide on its machines: a plan that fits, or one that would."""

from __future__ import annotations

import pytest
from scripts.guide_plans import COMMANDS, LIMITS, NUMBERS, planned


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_fits_or_its_refusal_names_what_does(
    command: str, number: int, limit: int
) -> None:
    found = planned(command, number, limit)
    if not found.plan.fits:
        assert found.ways
        again = planned(command, number, limit, *found.ways[0].split())
        assert again.plan.fits, found.ways[0]


def test_production_with_whole_weights_fits_80_gb_with_room_and_without_offload() -> None:
    found = planned("scripts/launch_with_server.sh {half} {half} teacher_rcl", 8, 80)
    assert found.plan.has_room
    assert found.plan.setup.num_devices == 4
    assert not found.plan.setup.offload
    assert found.plan.setup.trained == 8_030_261_248
