"""A real vLLM server on the CPU; its small random model knows the tokens of many chat templates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.serve.interpreter import Interpreter, find_interpreter
from atlas.serve.settings import ServerSettings
from atlas.serve.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".serve-venv" / "bin" / "python"
START_S = 900
"""A deadline for a busy machine; an idle one takes half a minute."""

SPECIAL_TOKENS = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<<SYS>>", "<</SYS>>"),
    *(
        "[INST]",
        "[/INST]",
        "[TOOL_CALLS]",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
    ),
    *(
        "<start_of_turn>",
        "<end_of_turn>",
        "<eos>",
        "<bos>",
        "<pad>",
        "<unk>",
        "<think>",
        "</think>",
    ),
    *(
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<\uff5cUser\uff5c>",
        "<\uff5cAssistant\uff5c>",
        "[gMASK]",
        "<sop>",
        "[CLS]",
        "[SEP]",
    ),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|end_of_text|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|start|>", "<|message|>", "<|channel|>", "[MASK]"),
)
"""Of the chat templates that are most in use; one model knows all of them here."""


@pytest.fixture(scope="session")
def judge_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model."""
    import torch  # noqa: PLC0415 - slow to import, and not needed where there is no vLLM
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    from atlas.from_scratch.model.tokenizer import END, train_tokenizer  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("judge")
    tokenizer = train_tokenizer(["Judge the text, and give a score with a reason."], vocab_size=290)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS)})
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=16384,
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def interpreter() -> Interpreter:
    """The Python that has vLLM."""
    if not PYTHON.exists():
        pytest.skip("there is no .serve-venv; make serve-env installs vLLM there")
    return find_interpreter()


@pytest.fixture(scope="session")
def vllm_url(judge_model: Path, interpreter: Interpreter) -> Iterator[str]:
    """The address of a server of that model; ``/v1`` not included."""
    settings = ServerSettings(
        model=str(judge_model), served_name="judge", port=0, dtype="float32", max_model_len=16384
    )
    with Supervisor(settings, interpreter, ready_s=START_S) as server:
        server.wait_until_ready()
        yield server.url
