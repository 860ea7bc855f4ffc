"""Passes of one model: shared prompts, the projection, an update, likelihood, compiled, flash."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import torch

from atlas.machine.precision import computing
from atlas.models.passes import compiled
from atlas.models.passes.compiling import compile_training
from atlas.models.passes.forward import logprobs, prepare_forward
from atlas.models.passes.shared_prefix import shares_prefixes
from atlas.models.rounding import round_products
from atlas.objectives.logprobs import selected_logprobs
from atlas.objectives.loss_types import LossSettings
from atlas.parallel.engine.plain import PlainEngine
from atlas.planning.memory_plan import Setup, plan_device
from atlas.training.update import UpdateSettings, update
from atlas.types import Tokens
from gpu_sections.setting import BF16_FLOPS, STUDENT, Found, Setting, samples, shape_of


def forward(setting: Setting, found: Found) -> None:
    """Shared prompts against plain ones, in both precisions; first KL, exactly 0."""
    model = setting.model(layers=4)
    prepare_forward(model)
    found["prompts are shared"] = shares_prefixes(model)
    rows = samples(2, 4, 40, 24, model.config.vocab_size)
    both = partial(logprobs, model, rows), partial(logprobs, model, rows, share=False)
    for name, autocast in (("float32", False), ("bf16", True)):
        with computing(setting.device, autocast), torch.no_grad():
            shared, plain = (compute().logprobs_BT for compute in both)
        found[f"shared minus plain, {name}"] = float((shared - plain).abs().max())
        found[f"dtype of log-probabilities, {name}"] = str(shared.dtype)
    reference = setting.model(layers=4)
    prepare_forward(reference)  # while it is float32, as grpo_parts.py does
    reference = round_products(reference)
    with computing(setting.device, autocast=True), torch.no_grad():
        policy, frozen = (logprobs(one, rows).logprobs_BT for one in (model, reference))
    found["KL of the first step"] = float((policy - frozen).abs().max())
    gradients = []
    for compute in both:
        model.zero_grad(set_to_none=True)
        compute().logprobs_BT.sum().backward()
        parts = [p.grad.flatten()[:1000] for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
    apart = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    found["difference of gradients"] = float(apart)


def projection(setting: Setting, found: Found) -> None:
    """Seconds and memory of the projection onto the vocabulary, by the size of its chunks."""
    tokens, hidden, vocab = setting.of((64, 32, 512), (16384, 4096, 128256))
    device = setting.device
    hidden_ND = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16, requires_grad=True)
    weight_VD = (torch.randn(vocab, hidden, device=device) * 0.02).requires_grad_()
    targets_N = torch.randint(0, vocab, (tokens,), device=device)
    for chunk in (None, 256, 1024, 4096):
        for _ in range(2):  # the second is told
            setting.forget_peak()
            name = f"chunks of {chunk}" if chunk else "chunks as chosen"
            with setting.timed(found, name), computing(device, autocast=True):
                selected_logprobs(
                    hidden_ND, weight_VD, targets_N, chunk_tokens=chunk, with_entropy=True
                ).logprobs_N.sum().backward()
            found[f"{name}, peak GB"] = setting.peak_gb()
            hidden_ND.grad = weight_VD.grad = None


def grpo_update(setting: Setting, found: Found) -> None:
    """One update on 12 of 32 layers as the guide runs it: MFU, and the peak against the plan."""
    layers, tokens = setting.of((2, 64), (12, 16384))
    model = setting.model(layers=layers)
    model.activation_checkpointing_enable()
    prepare_forward(model)
    engine = PlainEngine(model, learning_rate=1e-6, total_steps=10)
    reference = setting.model(layers=layers)
    prepare_forward(reference)
    reference = round_products(reference)
    groups, members, prompt, completion = setting.of((1, 4, 12, 8), (2, 32, 512, 512))
    rows = samples(groups, members, prompt, completion, model.config.vocab_size)
    settings = UpdateSettings(
        loss=LossSettings(loss_type="dapo"), temperature=0.7, max_tokens=tokens, autocast=True
    )
    update(engine, reference, rows, settings)  # makes the optimiser's states
    setting.forget_peak()
    with setting.timed(found, "update"):
        metrics = update(engine, reference, rows, settings)
    found["train/kl"] = metrics["train/kl"]
    found["train/grad_norm"] = metrics["train/grad_norm"]
    computed = sum(row.num_trained for row in rows) + prompt * groups
    embedding = model.get_input_embeddings().weight.numel()
    weights = sum(p.numel() for p in model.parameters()) - embedding
    # 6 for the update, 2 each for the reference and for what checkpoints compute again.
    products = (6 + 2 + 2) * weights * computed
    found["tokens a second"] = round(computed / found["update_s"])
    found["MFU"] = round(products / found["update_s"] / BF16_FLOPS, 3)
    setup = Setup(
        shape=shape_of(model), tokens=tokens, precision="bf16", gradient_checkpointing=True
    )
    found["peak GB"] = setting.peak_gb()
    found["planned GB"] = round(plan_device(setup, reference=True).peak / 1e9, 2)


def likelihood(setting: Setting, found: Found) -> None:
    """What 256 answers after taught prompts take in one pass of the student."""
    model = setting.model(STUDENT, dtype=setting.of(torch.float32, torch.bfloat16))
    rows, prompt = setting.of((8, 12), (256, 700))
    prepare_forward(model)
    random = torch.Generator().manual_seed(2)

    def ids(count: int) -> list[int]:
        return torch.randint(5, model.config.vocab_size, (count,), generator=random).tolist()

    asked = [Tokens.of(ids(prompt), ids(6)) for _ in range(rows)]
    setting.forget_peak()
    before = setting.held_gb()
    with setting.timed(found, "pass"), torch.inference_mode():
        logprobs(model, asked)
    found["beside the weights, GB"] = round(setting.peak_gb() - before, 2)


def compiling(setting: Setting, found: Found) -> None:
    """Whether compiled layers hold, how long they take to make, what they gain under autocast."""
    compiled.BACKEND = setting.of("eager", compiled.BACKEND)
    model = setting.model(layers=setting.of(2, 4))
    members, prompt, completion = setting.of((4, 12, 8), (16, 256, 256))
    rows = samples(1, members, prompt, completion, model.config.vocab_size)

    def step() -> None:
        with computing(setting.device, autocast=True):
            loss = logprobs(model, rows).logprobs_BT.sum()
        loss.backward()
        model.zero_grad(set_to_none=True)

    prepare_forward(model)
    step()
    with setting.timed(found, "as it is"):
        step()
    found["said"] = compile_training(model, autocast=True)
    with setting.timed(found, "first after the check"):  # nothing is compiled once more
        step()
    with setting.timed(found, "compiled"):
        step()


def flash(setting: Setting, found: Found) -> None:
    """flash_attention_2 with float32 weights, where its package is here."""
    if setting.tiny or find_spec("flash_attn") is None:
        found["skipped"] = "no GPU, or no flash-attn"
        return
    model = setting.model(layers=2)
    model.set_attn_implementation("flash_attention_2")
    prepare_forward(model)
    found["prompts are shared"] = shares_prefixes(model)
