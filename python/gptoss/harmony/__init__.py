"""Harmony, the chat format of gpt-oss: a drop-in for `openai_harmony`."""

from gptoss.harmony.errors import HarmonyError

__all__ = ["HarmonyError"]
