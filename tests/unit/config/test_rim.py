from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from atlas.config.parts.endpoint import EndpointConfig
from atlas.config.rim import load_rim_config, parse_rim_config
from atlas.errors import AtlasError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
ON = {"active_judges": {"process": True}}


def test_the_guides_offline_file_has_the_guides_judges() -> None:
    config = load_rim_config("configs/rim_offline_config.yaml")
    assert config.active == ("helpfulness", "process")
    assert dict(config.active_judges) == {
        "accuracy": False,
        "helpfulness": True,
        "process": True,
        "diagnostic": False,
    }
    assert (config.settings.variance_threshold, config.settings.uncertainty_threshold) == (
        0.15,
        0.3,
    )


def test_the_full_file_turns_every_judge_on() -> None:
    assert load_rim_config(CONFIGS / "rim_config.yaml").active == (
        "accuracy",
        "helpfulness",
        "process",
        "diagnostic",
    )


def test_what_is_commented_out_in_the_full_file_is_right() -> None:
    lines = (CONFIGS / "rim_config.yaml").read_text().splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("#   "))
    config = parse_rim_config(yaml.safe_load(text))
    assert config.large is not None
    assert config.large.api_key_env == "OPENAI_API_KEY"
    assert (config.active, config.judges["kindness"].weight) == (("kindness",), 0.5)


def test_sections_and_flat_keys_are_read() -> None:
    config = parse_rim_config(
        ON
        | {
            "small": {"model": "s", "concurrency": "4"},
            "large": {"model": "l"},
            "temperatures": [0, 1],
            "cache_path": None,
        }
    )
    assert (config.small.model, config.small.concurrency) == ("s", 4)
    assert config.large == EndpointConfig(model="l")
    assert (config.settings.temperatures, config.settings.cache_path) == ((0.0, 1.0), None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            ON | {"variance_treshold": 0.1},
            "'variance_treshold' in f.yaml; did you mean 'variance_t",
        ),
        (ON | {"smal": {}}, "unknown key 'smal' in f.yaml; did you mean 'small'"),
        (
            ON | {"small": {"base_ulr": "x"}},
            "'base_ulr' in small of f.yaml; did you mean 'base_url'",
        ),
        (ON | {"small": {"concurrency": 0}}, "concurrency must be an integer of at least 1"),
        (ON | {"small": "x"}, "small of f.yaml must hold keys and values"),
        ({"active_judges": {"helpfullness": True}}, "unknown judge 'helpfullness'.*'helpfulness'"),
        ({"active_judges": {"process": "maybe"}}, "active_judges.process must be true or false"),
        ({"active_judges": {"process": False}}, "f.yaml has no active judge"),
        ({}, "f.yaml has no active judge"),
        (
            {"active_judges": {"kind": True}, "judges": {"kind": {"weight": 2}}},
            "judges.kind of f.yaml needs a prompt",
        ),
        (ON | {"max_cost": 5}, "max_cost of f.yaml needs prices"),
        (["process"], "f.yaml must hold keys and values"),
    ],
)
def test_mistakes_are_named(content: object, says: str) -> None:
    with pytest.raises(AtlasError, match=says):
        parse_rim_config(content, where="f.yaml")


def test_a_missing_file_names_the_nearest() -> None:
    with pytest.raises(AtlasError, match=r"did you mean 'configs/rim_config\.yaml'"):
        load_rim_config("configs/rim_confg.yaml")


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("a: [")
    with pytest.raises(AtlasError, match=r"f.yaml can't be read as YAML"):
        load_rim_config(tmp_path / "f.yaml")


def test_a_password_in_an_address_is_not_shown() -> None:
    config = EndpointConfig(base_url="https://me:secret@host/v1")
    assert config.shown_url == "https://me:***@host/v1"
