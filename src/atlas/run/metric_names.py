"""The one dictionary of metrics: every name that a training logs, its unit and what it means.

A ``*`` stands for the name of a part, a judge or a cause. ``docs/metrics.md`` is made from this,
and tests hold it against what runs log. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Stage = Literal["all", "sft", "grpo", "ranked"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricInfo:
    """One metric, or one family of them.

    Example:
        >>> info_of("train/leak_rate/verbatim").name
        'train/leak_rate/*'
    """

    name: str
    unit: str
    doc: str
    stage: Stage = "grpo"


def _metric(name: str, unit: str, doc: str, stage: Stage = "grpo") -> MetricInfo:
    return MetricInfo(name=name, unit=unit, doc=doc, stage=stage)


METRICS: tuple[MetricInfo, ...] = (
    _metric("train/loss", "nats", "The loss that was minimised. SFT: of a token.", "all"),
    _metric("train/grad_norm", "norm", "Of all gradients, before clipping. SFT: below 5.0.", "all"),
    _metric("train/learning_rate", "rate", "That the step used.", "all"),
    _metric("train/tokens_per_second", "tokens/s", "Trained on; GRPO: and sampled.", "all"),
    _metric("eval/loss", "nats", "Of a token, on held-out examples.", "sft"),
    _metric("train/preference_loss", "nats", "The preference-weighted part.", "ranked"),
    _metric("train/pairwise_loss", "nats", "The pairwise part, before its weight.", "ranked"),
    # How teaching goes.
    _metric("train/reward", "reward", "Mean over the step's teachings: the guide's reward mean."),
    _metric("train/uplift", "points / 100", "Right with teaching minus right alone."),
    _metric("train/accuracy_alone", "share", "Answers that were right without teaching."),
    _metric("train/accuracy_taught", "share", "Answers that were right with teaching."),
    _metric("train/accuracy", "share", "environment=solve: the policy's answers that were right."),
    _metric("train/non_degrade_rate", "share", "Pairs that teaching made no worse; above 0.95."),
    _metric("train/leak_rate", "share", "Teachings that gave the answer away."),
    _metric("train/leak_rate/*", "share", "The same by what gave it away."),
    _metric("train/dense", "nats a token", "Gain in likelihood of the reference answer."),
    _metric("train/overlong", "reward", "Taken off for teachings near max_new_tokens."),
    _metric("reward/*", "reward", "What a part added, weighted; they sum to train/reward."),
    _metric("part/*", "its own", "What a part said, unweighted, where it was asked."),
    _metric("train/abstained_share", "share", "Teachings that no score could be told for."),
    _metric("train/abstained_share/*", "share", "The same of one part."),
    _metric("train/dead_groups", "share", "Groups that teach nothing: out of the loss."),
    _metric("train/dead_groups_equal", "share", "Those whose members all earned the same."),
    _metric("train/dead_groups_unscored", "share", "Those with fewer than two scored members."),
    _metric("train/dead_groups_right", "share", "Dead, but every answer was right."),
    # What was sampled.
    _metric("train/teaching_tokens", "tokens", "Mean length of a teaching."),
    _metric("train/completion_tokens", "tokens", "Other environments: of an episode, mean."),
    _metric("train/turns", "count", "Other environments: the policy's turns in one, mean."),
    _metric("train/attempt_tokens", "tokens", "Mean length of a taught answer."),
    _metric("train/attempt_spread", "share", "student_samples: deviation within a task, mean."),
    _metric("train/student_turns", "count", "With tools: turns of a taught attempt, mean."),
    _metric("train/tool_calls", "count", "With tools: calls of a taught attempt, mean."),
    _metric("train/tool_failures", "share", "With tools: calls without a result."),
    _metric("train/verdict_accuracy", "share", "teaching=review: verdicts that were true."),
    _metric("train/certified_share", "share", "teaching=review: attempts that were certified."),
    _metric("train/verdict_unreadable", "share", "teaching=review: verdicts without a clear word."),
    _metric("train/truncated_share", "share", "Teachings cut by max_new_tokens."),
    _metric("train/attempt_truncated_share", "share", "Answers cut by student_max_new_tokens."),
    _metric("train/thought_tokens", "tokens", "Of a completion, before the end of its thoughts."),
    _metric("train/unfinished_thoughts", "share", "Completions whose thoughts didn't end."),
    _metric("train/attempt_unfinished_thoughts", "share", "Answers whose thoughts didn't end."),
    _metric("train/approach_unfinished_thoughts", "share", "Approaches whose thoughts didn't end."),
    _metric("train/untagged", "share", "Teachings without a whole teaching_tag."),
    _metric("train/repetition", "share", "Phrases of a teaching that were there before."),
    _metric("train/loop_rate", "share", "Teachings that go round in circles."),
    _metric("train/verbosity", "ratio", "Length of the teachings to that of the first ten steps."),
    _metric("train/entropy", "nats a token", "Of the policy, over the teachings' tokens."),
    # How the policy moves.
    _metric("train/kl", "nats a sequence", "To the reference; the guide's 0.5 to 2.0, above 5.0."),
    _metric("train/kl_per_token", "nats a token", "The same, a token: what others call kl."),
    _metric("train/kl_k1_per_token", "nats a token", "The same by the estimator k1."),
    _metric("train/ratio_mean", "ratio", "Policy to the policy that the step began with."),
    _metric("train/ratio_max", "ratio", "The largest of them."),
    _metric("train/clip_ratio", "share", "Tokens held by a clip."),
    _metric("train/clip_ratio_low", "share", "Those held by epsilon_low."),
    _metric("train/clip_ratio_high", "share", "Those held by epsilon_high."),
    _metric("train/importance_ratio_mean", "ratio", "Trainer to rollout engine, before the cap."),
    _metric("train/importance_ratio_max", "ratio", "The largest of them."),
    _metric("train/importance_truncated", "share", "Tokens whose weight importance_cap cut."),
    _metric("train/mismatch_kl", "nats a token", "Between rollout engine and trainer."),
    # Time, and who watches.
    _metric("time/rollout", "s", "Sampling and scoring of a step."),
    _metric("time/update", "s", "Forward, backward and optimiser of a step."),
    _metric("time/waiting", "s", "Of both, what rank 0 waited for other processes."),
    _metric("serving/update_seconds", "s", "New weights on all servers, from pause to proof."),
    _metric("serving/logprob_difference_max", "nats", "Server against trainer, equal weights."),
    _metric("serving/logprob_difference_mean", "nats", "The same in the mean; server's worst."),
    _metric("serving/requests_sent_again", "count", "Since the start: lost, and asked again."),
    _metric("serving/policy_age", "versions", "Mean age of the weights that sampled a step."),
    _metric("canary/accuracy_taught", "share", "Held-out tasks right after a teaching."),
    _metric("canary/accuracy", "share", "Other environments: how good held-out episodes are."),
    _metric("canary/alarm", "0 or 1", "The reward rises and the canary doesn't."),
    # Judges.
    _metric("rim_rewards", "score", "Mean score of the judges together."),
    _metric("rim_rewards/*", "score", "Of one judge."),
    _metric("rim_abstention_rate", "share", "Teachings that a judge could not score."),
    _metric("escalation_rate", "share", "Verdicts that the large model decided."),
    _metric("judges/abstention_rate", "share", "Calls without a verdict that can be read."),
    _metric("judges/abstained/*", "calls", "The same by what went wrong."),
    _metric("judges/cached", "calls", "Answered from the cache."),
    _metric("judges/calls", "calls", "Made over the network."),
    _metric("judges/retries", "calls", "Made again."),
    _metric("judges/input_tokens", "tokens", "Read by the judges."),
    _metric("judges/output_tokens", "tokens", "Written by them."),
    _metric("judges/cost", "money", "Of the step, at the configured prices."),
    _metric("judges/cost_total", "money", "Of the run so far."),
    # A student that is elsewhere.
    _metric("student/abstention_rate", "share", "Calls, or attempts of an agent, without answer."),
    _metric("student/abstained/*", "calls", "The same by what went wrong."),
    _metric("student/cached", "calls", "Answered from the cache."),
    _metric("student/calls", "calls", "Made over the network; of an agent, attempts."),
    _metric("student/retries", "calls", "Made again."),
    _metric("student/input_tokens", "tokens", "Read by the student's endpoint."),
    _metric("student/output_tokens", "tokens", "Written by it."),
    _metric("student/cost", "money", "Of the step, at the configured prices."),
    _metric("student/cost_total", "money", "Of the run so far."),
)


def info_of(name: str) -> MetricInfo | None:
    """Return what the dictionary says of a name; an exact entry goes before a family's."""
    exact = next((info for info in METRICS if info.name == name), None)
    return exact or next((info for info in METRICS if fnmatchcase(name, info.name)), None)
