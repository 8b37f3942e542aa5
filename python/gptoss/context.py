"""A timeline of tokens: append, process, sample."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NoReturn, SupportsIndex

from gptoss import _native
from gptoss.model import Model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FinishReason = Literal["stop", "length", "context_length"]
Progress = Callable[[int, int], object]


class Context:
    """Tokens and their key/value cache. Belongs to one model, which may have many contexts.

    `context_length`: the most tokens that the context may hold; 0 for the model's maximum, or on a
    GPU for the longest that fits its memory, if that is less (`max_tokens` tells it). Memory for
    keys and values is allocated as the context fills; a context that the GPU could not hold when it
    is full is refused when it is created (BackendError, with the numbers and what to do).
    `max_batch_tokens`: the most tokens of a prompt that are processed in one piece; 0 for 512.

    After `reset()` and `append()` of a prompt that shares a prefix with what was there before,
    only the rest is processed; `num_cached_tokens` says how much is shared.

    One thread at a time may use a context (InvalidStateError otherwise), except for `abort()`.
    Contexts of one model in several threads take turns. The GIL is released while the engine works.
    Ctrl-C stops within one layer of one piece on the CPU, and after the piece or token at work on
    Metal; it leaves the context usable.

    Errors: ContextOverflowError (more tokens than fit), ValueError (an argument out of range, a
    token outside the vocabulary), MemoryError, AbortedError, InvalidStateError (also for an empty
    context), BackendError.
    """

    def __init__(self, model: Model, context_length: int = 0, max_batch_tokens: int = 0) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"model must be a gptoss.Model, not {type(model).__name__}.")
        for name, value in (
            ("context_length", context_length),
            ("max_batch_tokens", max_batch_tokens),
        ):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}.")
        self._model = model
        self._native = _native.Context(model._native, context_length, max_batch_tokens)
        self._finish_reason: FinishReason | None = None
        self._log_probabilities: list[float] = []

    # What it holds.

    @property
    def model(self) -> Model:
        """The model that the context belongs to."""
        return self._model

    @property
    def tokens(self) -> list[int]:
        """Every token, whether or not it was processed yet."""
        return self._native.tokens()

    @property
    def num_tokens(self) -> int:
        """How many tokens the context holds."""
        return self._native.num_tokens()

    @property
    def max_tokens(self) -> int:
        """How many tokens the context may hold."""
        return self._native.max_tokens()

    @property
    def num_cached_tokens(self) -> int:
        """How many of the first tokens the next `process()` will not process.

        A token that was sampled is not cached until it was processed.
        """
        return self._native.num_cached_tokens()

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the last `sample()` or `stream()` ended, or None while there is no such thing.

        "stop": its last token is a stop token. "length": it sampled as many tokens as asked for.
        "context_length": the context is full.
        """
        return self._finish_reason

    @property
    def log_probabilities(self) -> list[float]:
        """The log-probability of each token of the last `sample()` or `stream()`.

        Natural logarithms under the model's own distribution: at temperature 1, before bias,
        penalties and filters.
        """
        return list(self._log_probabilities)

    # Changing it.

    def append(self, tokens: SupportsIndex | str | bytes | Iterable[SupportsIndex]) -> None:
        """Append a token, several tokens, or text (ordinary text: it has no special tokens).

        Either everything is appended or, with an exception, nothing.
        """
        self._native.append(self._token_ids(tokens))

    def _token_ids(
        self, tokens: SupportsIndex | str | bytes | Iterable[SupportsIndex]
    ) -> list[int]:
        if isinstance(tokens, bytes):
            try:
                tokens = tokens.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"The bytes to append are not UTF-8 text: {error.reason} at byte {error.start}."
                ) from None
        if isinstance(tokens, str):
            return self._model.tokenizer.encode(tokens)
        # In this order, because numpy's arrays have __index__ too.
        if isinstance(tokens, Iterable):
            return [self._token_id(token) for token in tokens]
        return [self._token_id(tokens)]

    def _token_id(self, token: SupportsIndex) -> int:
        number = operator.index(token)
        size = self._model.config.vocabulary_size
        if not 0 <= number < size:
            raise ValueError(
                f"The token {number} is outside the model's vocabulary of {size} tokens."
            )
        return number

    def truncate(self, num_tokens: int) -> None:
        """Keep the first `num_tokens` tokens."""
        if num_tokens < 0:
            raise ValueError(f"num_tokens must be at least 0, not {num_tokens}.")
        self._native.truncate(num_tokens)

    def reset(self) -> None:
        """Forget all tokens. What is cached stays and is reused if the same tokens come again."""
        self._native.reset()
        self._finish_reason = None
        self._log_probabilities = []

    def __copy__(self) -> Context:
        """An independent copy, cache included: what happens to one does not change the other."""
        copy = Context.__new__(Context)
        copy._model = self._model
        copy._native = self._native.copy()
        copy._finish_reason = self._finish_reason
        copy._log_probabilities = list(self._log_probabilities)
        return copy

    def __deepcopy__(self, memo: dict[int, object]) -> Context:
        return self.__copy__()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Context cannot be pickled: its cache lives in the engine's memory. Save "
            "`context.tokens` and append them to a new context, or use copy.copy in one process."
        )

    # Work.

    def process(self, progress: Progress | None = None) -> None:
        """Process the tokens that are not cached, up to the logits of the next token.

        `progress`: called with (tokens processed, tokens to process), at the start and after every
        piece. What it raises stops the processing and is raised here.
        """
        self._native.process(progress)

    def logits(self) -> npt.NDArray[np.float32]:
        """The logits of the next token, [vocabulary]; processes what is pending."""
        return self._native.logits()

    def logits_from(
        self, first_token: int, progress: Progress | None = None
    ) -> npt.NDArray[np.float32]:
        """The logits after every token from `first_token` on, [tokens, vocabulary].

        Processes what is pending, and again what is cached of these tokens. A row of the 20b takes
        0.8 MB, here and in the engine: ask for a long text in steps of some hundred tokens.
        `progress`: as in `process`.

        ValueError: there is no such token.
        """
        if not 0 <= first_token < self.num_tokens:
            raise ValueError(
                f"There are no logits from token {first_token} on: the context holds "
                f"{self.num_tokens} tokens."
            )
        return self._native.logits_from(first_token, progress)

    def sample(
        self,
        max_output_tokens: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        seed: int = 0,
        stop_tokens: Sequence[int] = (),
    ) -> list[int]:
        """Sample and append up to `max_output_tokens` tokens, and return them.

        It ends early at a stop token, which is returned as the last one, and when the context is
        full: `finish_reason` says which. A context that is full to begin with is a
        ContextOverflowError.

        The steps, in this order: logit bias, penalties, temperature, softmax, top_k, top_p, min_p,
        one draw. The random number depends on the seed and the position of the token only, so a
        seed gives the same tokens however many calls and threads there are.

        `temperature`: 0 takes the most likely token, the lowest id on a tie.
        `top_p`: keeps the fewest tokens whose probabilities reach it; 1 is off.
        `top_k`: keeps the k most likely; 0 is off.
        `min_p`: drops tokens less likely than this share of the likeliest; 0 is off.
        `repetition_penalty`: divides positive and multiplies negative logits of tokens that the
        context holds; 1 is off.
        `presence_penalty`, `frequency_penalty`: subtracted from the logits of tokens sampled since
        the last append, once and for every time; 0 is off.
        `logit_bias`: added to the logits of these tokens; -inf forbids a token.
        """
        self._finish_reason = None
        self._log_probabilities = []
        return self._sample(
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            min_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            logit_bias,
            seed,
            stop_tokens,
            num_tokens_ahead=0,
        )

    def stream(
        self,
        max_output_tokens: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        seed: int = 0,
        stop_tokens: Sequence[int] = (),
    ) -> Iterator[int]:
        """Sample like `sample`, and yield each token as soon as it is there.

        `max_output_tokens`: None for as many as fit. Tokens that were yielded are in the context,
        also when the iteration is given up.
        """
        self._finish_reason = None
        self._log_probabilities = []
        # One more than fits, so that a full context is the reason and not the limit.
        limit = self.max_tokens + 1 if max_output_tokens is None else max_output_tokens
        count = 0
        while count < limit and not (count and self.num_tokens == self.max_tokens):
            (token,) = self._sample(
                1,
                temperature,
                top_p,
                top_k,
                min_p,
                repetition_penalty,
                presence_penalty,
                frequency_penalty,
                logit_bias,
                seed,
                stop_tokens,
                # A GPU goes on while the caller looks at this one.
                num_tokens_ahead=1 if count + 1 < limit else 0,
            )
            count += 1
            stopped = token in stop_tokens
            if stopped:
                self._finish_reason = "stop"
            elif count == limit:
                self._finish_reason = "length"
            elif self.num_tokens == self.max_tokens:
                self._finish_reason = "context_length"
            else:
                self._finish_reason = None  # the consumer may stop at any token
            yield token
            if stopped:
                return

    def _sample(
        self,
        max_output_tokens: int,
        temperature: float,
        top_p: float,
        top_k: int,
        min_p: float,
        repetition_penalty: float,
        presence_penalty: float,
        frequency_penalty: float,
        logit_bias: Mapping[int, float] | None,
        seed: int,
        stop_tokens: Sequence[int],
        *,
        num_tokens_ahead: int,
    ) -> list[int]:
        if max_output_tokens < 0:
            raise ValueError(f"max_output_tokens must be at least 0, not {max_output_tokens}.")
        if not 0 <= top_k < 2**32:
            raise ValueError(f"top_k must be from 0 to 2^32 - 1, not {top_k}.")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must be from 0 to 2^64 - 1, not {seed}.")
        tokens, log_probabilities, reason = self._native.sample(
            max_tokens=min(max_output_tokens, self.max_tokens + 1),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            logit_bias=[
                (self._token_id(token), float(bias)) for token, bias in (logit_bias or {}).items()
            ],
            seed=seed,
            stop_tokens=[self._token_id(token) for token in stop_tokens],
            num_tokens_ahead=num_tokens_ahead,
        )
        self._log_probabilities += log_probabilities
        self._finish_reason = reason
        return tokens

    def abort(self) -> None:
        """Make the call that is running in another thread, or else the next one, stop.

        It raises AbortedError as soon as Ctrl-C would stop it, and leaves the context usable.
        Append, truncate and reset clear an abort that no call has seen.
        """
        self._native.abort()

    def __repr__(self) -> str:
        return f"Context({self.num_tokens} of {self.max_tokens} tokens, {self._model!r})"


def process_batch(contexts: Sequence[Context], progress: Progress | None = None) -> None:
    """Process the pending tokens of several contexts of one model as one batch.

    The weights are read once for all of them, so this is faster than one after the other. Each
    context may appear once. `progress` counts the tokens of all contexts together.
    """
    _native.process_batch([context._native for context in contexts], progress)
