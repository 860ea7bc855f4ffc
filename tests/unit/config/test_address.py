from __future__ import annotations

import pytest

from atlas.config.address import parse_address
from atlas.config.grpo import GRPOConfig
from atlas.config.parts.endpoint import EndpointConfig
from atlas.errors import AtlasError

WRONG = (
    *("", "h", "h:1", "ftp://h", "http://", "http://:8000", "http://h:x", "http://h:99999"),
    *("http://[::1", "http://[x]/", "http://a b", "http://h\\u00e9", "http://-h", "http://h:1\n"),
)


@pytest.mark.parametrize("url", WRONG)
def test_what_is_no_address_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(AtlasError, match="no address"):
        parse_address(url)
    if url:
        with pytest.raises(AtlasError, match=r"base_url is .* no address"):
            EndpointConfig(base_url=url)
        with pytest.raises(AtlasError, match=r"vllm_server_url is .* no address"):
            GRPOConfig(model_name_or_path="m", rollout_engine="vllm", vllm_server_url=(url,))


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000),
        ("https://api.example.com/v1", "api.example.com", None),
        ("http://[::1]:8000/v1", "::1", 8000),
        ("http://gpu_node-3:80", "gpu_node-3", 80),
    ],
)
def test_an_address_has_a_host(url: str, host: str, port: int | None) -> None:
    parts = parse_address(url)
    assert (parts.hostname, parts.port) == (host, port)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(AtlasError) as caught:
        parse_address("http://u:Pl4nted@h:x")
    assert "Pl4nted" not in str(caught.value)
