"""Sampling: engines that complete prompts, and the dialogue of teacher and student."""
