"""What runs in the interpreter that has vLLM, which has nothing of the trainer's.

Imports are the standard library, torch and vLLM only.
"""
