"""Memory of the vocabulary projection: how much of it depends on the vocabulary.

    python benchmarks/memory_projection.py                   about two minutes on two cores

Log-probabilities and entropies of 64 rows of 512 tokens, forward and backward, with a vocabulary of
1,000 and of 152,000, each in a process of its own. Counted is by how much the peak of the process
exceeds what it held just before: hidden states, targets and the weight. The weight's gradient is a
part of that, and shown by itself: every optimiser holds it, whatever the projection does. Whole
logits would be rows x tokens x vocabulary in float32, several times over.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

from rich.console import Console

console = Console(highlight=False, width=140)

MIB = 2**20


def measure(vocabulary: int, rows: int, tokens: int, hidden: int) -> float:
    """Return how far the peak rises, in MiB; call it once a process."""
    import torch  # noqa: PLC0415 - only in the measured process

    from atlas.objectives.logprobs import selected_logprobs  # noqa: PLC0415

    weight = torch.randn(vocabulary, hidden, requires_grad=True)
    states = torch.randn(rows * tokens, hidden, requires_grad=True)
    targets = torch.randint(0, vocabulary, (rows * tokens,))
    before = resident()
    selected = selected_logprobs(states, weight, targets, with_entropy=True)
    selected.logprobs_N.sum().backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (peak - before) / MIB


def resident() -> int:
    """Return the bytes that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def in_a_process(vocabulary: int, arguments: argparse.Namespace) -> float:
    """Measure one vocabulary in a fresh process."""
    shape = [str(arguments.rows), str(arguments.tokens), str(arguments.hidden)]
    command = [sys.executable, __file__, "--measure", str(vocabulary), *shape]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print both peaks and their difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--vocabularies", type=int, nargs=2, default=(1_000, 152_000))
    parser.add_argument("--measure", type=int, nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        sys.stdout.write(f"{measure(*arguments.measure)}\n")
        return
    peaks = []
    for vocabulary in arguments.vocabularies:
        peaks.append(in_a_process(vocabulary, arguments))
        gradient = vocabulary * arguments.hidden * 4 / MIB
        whole = arguments.rows * arguments.tokens * vocabulary * 4 / MIB
        console.print(
            f"vocabulary {vocabulary:>7,}: peak rises by {peaks[-1]:,.0f} MiB, of which the "
            f"weight's gradient {gradient:,.0f} MiB (whole logits: {whole:,.0f} MiB each time)"
        )
    console.print(f"difference: {peaks[1] - peaks[0]:,.0f} MiB; the aim is below 1,000")


if __name__ == "__main__":
    main()
