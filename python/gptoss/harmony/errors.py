"""The exception of `gptoss.harmony`, with the name that `openai_harmony` gives it."""


class HarmonyError(RuntimeError):
    """Tokens do not parse or decode, or a conversation cannot be rendered."""
