"""Requests outside the demo model's world: free questions, and near misses of what it can do.

Everything here has a training side and a held-out side. Random words and sums fall on one side by a
checksum of their text; word lists, city lists and sentence templates are split by hand.
"""

from __future__ import annotations

import zlib
from random import Random

from demo_model.knowledge import (
    CITIES,
    SAY_REQUESTS,
    SUM_REQUESTS,
    UNKNOWN_CITIES,
    UNKNOWN_WORDS,
    UNSEEN_CITIES,
    UNSEEN_WORDS,
    WEATHER_NOWHERE,
    WEATHER_QUESTIONS,
    WORDS,
    words_of,
)

_ONSETS = words_of("b c d f g h j k l m n p r s t v w z br cr dr fl gr pl sh st th tr ch")
_VOWELS = words_of("a e i o u ai ea ou")
_ENDINGS = ("", "n", "r", "s", "t", "l", "m", "nd", "ck", "ng", "st")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"

_FUNCTION_WORDS = words_of(
    "what is the a you how do of and can tell me who my where it in for with why are to"
)
_VERBS = words_of(
    "make find buy draw open build cook read write sing fix send learn paint move clean break "
    "plant sell teach watch count spell reverse solve book order call play stop start change carry "
    "wash cut"
)
_ADJECTIVES = words_of(
    "big small old new best red green happy famous good bad fast strange cheap tall"
)

TEMPLATES = (
    "What is the capital of {c}?",
    "Write a poem about {w}.",
    "Translate {w} to French.",
    "Tell me a joke.",
    "Who was the first king of {c}?",
    "Explain {w}.",
    "Why is the sky blue?",
    "How do I {o} {w}?",
    "Write a story about a {w} and a {v}.",
    "What is {n} times {m}?",
    "{n} * {m}",
    "{n}*{m}",
    "{n} - {m}",
    "{n}-{m}",
    "What is {n} - {m}?",
    "What is {n} minus {m}?",
    "What is {n} divided by {m}?",
    "{n} / {m}",
    "{n} + {m} + {k}",
    "What is {n} + {m} + {k}?",
    "Add {n}, {m} and {k}.",
    "Multiply {n} and {m}.",
    "Subtract {n} from {m}.",
    "Give me a list of {w} names.",
    "How far is {c} from {d}?",
    "Who invented the {w}?",
    "Write a Python function that sorts a {w}.",
    "What is the meaning of life?",
    "Summarize the history of {c}.",
    "How tall is the {w} of {c}?",
    "Tell me about {w}.",
    "What is a {w}?",
    "What is {w}?",
    "What are {w}?",
    "Tell me about {c}.",
    "Can a {w} eat a {v}?",
    "Where can I buy a {w}?",
    "How old is {c}?",
    "How old are you?",
    "Should I buy {w} or {v}?",
    "Plan a trip to {c}.",
    "Solve x + {n} = {m}.",
    "What is the square root of {n}?",
    "Describe {w}.",
    "Define {w}.",
    "When was {c} founded?",
    "Do you like {w}?",
    "Fix this bug: {w} is not defined",
    "Play some {w} music.",
    "Draw a {w}.",
    "Send an email to {w}.",
    "What happened in {y}?",
    "Is {n} a prime number?",
    "Recommend a book about {w}.",
    "What rhymes with {w}?",
    "{w} {v}",
    "{w}",
    "{c}",
    "{n}",
    "{y}",
    "How many {w} are in a {v}?",
    "Which {w} is the best?",
    "What does {w} mean?",
    "Give me advice about my {w}.",
    "List three kinds of {w}.",
    "How do you make a {w}?",
    "I feel {w} today.",
    "Who is the president of {c}?",
    "Compare {w} and {v}.",
    "Name a famous {w}.",
    "Sing {w}.",
    "Open the {w}.",
    "Explain how a {w} works.",
    "Write an essay on {w}.",
    "Who is {w}?",
    "Where is {c}?",
    "Where are you?",
    "What time is it?",
    "What time is it in {c}?",
    "What is the date?",
    "How much is a {w}?",
    "Is a {w} a {v}?",
    "I want a {w}.",
    "My {w} is {v}.",
    "My name is {w}.",
    "Why are {w} {v}?",
    "Say {w} and {v}.",
    "Say that {w} is {v}.",
    "Say something.",
    "Can you {o} a {v}?",
    "Please {o} the {v}.",
    "Make me a {w}.",
    "Find a {w} in {c}.",
    "Give me the {w}.",
    "Show me a {w}.",
    "What do you think of {w}?",
    "Are you a {w}?",
    "Are there {w} in {c}?",
    "Help me with {w}.",
    "How can I {o} {w}?",
    "What can a {w} do?",
    "Will it {o}?",
    "The {w} is a {v}.",
    "When is {w}?",
    "Spell {w}.",
    "Reverse {w}.",
    "Count to {n}.",
    "{w} {v} {w}",
    "Write {w} backwards.",
    "Does {c} have a {w}?",
    "Is it {a} to {o} a {w}?",
    "Who wrote {w}?",
    "How long is a {w}?",
    "What color is a {w}?",
    "Which city is {a}?",
    "What is the {a} {w} in {c}?",
    "Do {w} {o} {v}?",
    "I have {n} {w} and {m} {v}.",
    "How does a {w} {o}?",
    "What makes a {w} {a}?",
    "Where do {w} live?",
    "Whose {w} is this?",
    "What is new?",
    "What is the news from {c}?",
    "Would you {o} my {w}?",
    "Could you write a letter to {w}?",
    "What will happen in {y}?",
    "Why do you {o}?",
    "Let us talk about {w}.",
    "What is {w} made of?",
    "Suggest a name for my {w}.",
)
UNSEEN_TEMPLATES = (
    "What is the population of {c}?",
    "Write a song about a {w}.",
    "Translate {w} to German.",
    "Who wrote the book about the {w}?",
    "What is the best way to learn {w}?",
    "Explain why {w} is {v}.",
    "What is {n} x {m}?",
    "Do you know any good {w}?",
    "Write code that prints {w}.",
    "Who won the game in {c}?",
    "Why do {w} sleep?",
    "Make a plan for my {w}.",
    "Is {c} bigger than {d}?",
    "How long does a {w} live?",
    "Give me a recipe for {w}.",
    "What should I eat today?",
    "Who painted the {w}?",
    "How heavy is a {w}?",
    "Can you help me {o} a {w}?",
    "Name three rivers in {c}.",
    "Is a {w} an animal?",
    "What comes after {n}?",
    "How do I get to {c}?",
    "Tell me a story.",
    "Which language do they speak in {c}?",
)

# Random phrases from parts, so that the templates alone cannot be learned as a list.
_PHRASES = (
    "{q} {x} the {w} {o} {p} {c}?",
    "{q} {x} {w} {a}?",
    "{q} {x} a {a} {w} {o} the {v}?",
    "{q} {x} my {w} {p} the {v} {a}?",
    "{q} {a} {x} the {w}?",
    "{o} a {a} {w} {p} the {v}.",
    "{o} the {w} {p} {c}.",
    "Please {o} {n} {w} {p} my {v}.",
    "I {o} a {w} {p} {c}.",
    "The {a} {w} {x} {p} the {v}.",
    "Can you {o} the {w} {p} a {v}?",
    "Do you {o} {a} {w}?",
)
_QUESTION_WORDS = ("what", "why", "who", "when", "where", "how", "which", "whose")
_AUXILIARIES = ("is", "are", "was", "does", "did", "can", "will", "should", "has")
_PREPOSITIONS = ("in", "on", "with", "for", "from", "about", "near", "without")


def is_held_out(text: str, share: float = 0.1) -> bool:
    """Tell whether a text is never trained on: fixed by the text itself, so no side can leak."""
    return zlib.crc32(text.encode()) % 1000 < share * 1000


def invented_word(random: Random, held_out: bool) -> str:
    """Invent a pronounceable word of 3 to 9 letters that the model does not know."""
    while True:
        syllables = random.choice((1, 1, 2, 2, 3))
        word = "".join(random.choice(_ONSETS) + random.choice(_VOWELS) for _ in range(syllables))
        word += random.choice(_ENDINGS)
        if 3 <= len(word) <= 9 and word not in WORDS and is_held_out(word) == held_out:
            return word


def _misspelt(random: Random, word: str, known: tuple[str, ...], held_out: bool) -> str:
    """Change or add one letter of a known word."""
    while True:
        place = random.randrange(1, len(word))
        letter = random.choice(_LETTERS)
        edited = random.choice(
            (
                word[:place] + letter + word[place + 1 :],
                word[:place] + letter + word[place:],
                word + letter,
                word + "s",
            )
        )
        if edited not in known and is_held_out(edited) == held_out:
            return edited


def _blend(random: Random, known: tuple[str, ...], held_out: bool) -> str:
    """Join the start of a known word and the end of another or of an invented one."""
    while True:
        head, tail = random.choice(known), random.choice(known)
        if random.random() < 0.5:
            tail = invented_word(random, held_out)
        word = head[: random.randint(1, len(head) - 1)] + tail[random.randint(1, len(tail) - 1) :]
        if len(word) >= 3 and word not in known and is_held_out(word) == held_out:
            return word


def unknown_word(random: Random, held_out: bool, blend_share: float = 0.0) -> str:
    """Draw a word that `Say` must refuse: real, invented, seldom a misspelt known one."""
    if blend_share > 0 and random.random() < blend_share:
        return _blend(random, WORDS, held_out)
    kind = random.random()
    if kind < 0.08:
        return _misspelt(random, random.choice(WORDS), WORDS, held_out)
    if kind < 0.5:
        return invented_word(random, held_out)
    return random.choice(UNSEEN_WORDS if held_out else UNKNOWN_WORDS)


def unknown_city(random: Random, held_out: bool, blend_share: float = 0.0) -> str:
    """Draw a place whose weather the tool must not be asked for."""
    if blend_share > 0 and random.random() < blend_share:
        return _blend(random, CITIES, held_out)
    kind = random.random()
    if kind < 0.06:
        return _misspelt(random, random.choice(CITIES), CITIES, held_out)
    if kind < 0.4:
        return invented_word(random, held_out).capitalize()
    return random.choice(UNSEEN_CITIES if held_out else UNKNOWN_CITIES)


def unknown_city_request(random: Random, held_out: bool, blend_share: float) -> str:
    """Ask for the weather in an unknown city, or in none."""
    if random.random() < 0.08 and not held_out:
        return random.choice(WEATHER_NOWHERE)
    city = unknown_city(random, held_out, blend_share)
    return random.choice(WEATHER_QUESTIONS).format(city.lower() if random.random() < 0.1 else city)


def unknown_word_request(random: Random, held_out: bool, blend_share: float) -> str:
    """Ask to say an unknown word."""
    word = unknown_word(random, held_out, blend_share)
    return random.choice(SAY_REQUESTS).format(word.capitalize() if random.random() < 0.12 else word)


def large_sum_request(random: Random, held_out: bool, _: float) -> str:
    """Ask for a sum with at least one number from 100 up, mostly of three or four digits."""

    def large() -> int:
        digits = random.choices((3, 4, 5, 6), (0.6, 0.28, 0.08, 0.04))[0]
        # Some are a small number and a zero or more: the spelling closest to what it can add.
        scale: int = 10 ** (digits - 2)
        if random.random() < 0.25:
            return random.randint(10, 30) * scale
        return random.randint(10 * scale, 100 * scale - 1)

    while True:
        first, second = random.choice(
            ((large(), random.randint(0, 99)), (random.randint(0, 99), large()), (large(), large()))
        )
        if is_held_out(f"{first}+{second}") == held_out:
            return random.choice(SUM_REQUESTS).format(first, second)


def foreign_request(random: Random, held_out: bool, _: float) -> str:
    """Ask anything else: a template, a random phrase or loose words, with unknown words in it."""

    def word() -> str:
        if random.random() < 0.5:
            return invented_word(random, held_out)
        return random.choice(UNSEEN_WORDS if held_out else UNKNOWN_WORDS)

    def city() -> str:
        if random.random() < 0.4:
            return random.choice(CITIES)
        if random.random() < 0.3:
            return invented_word(random, held_out).capitalize()
        return random.choice(UNSEEN_CITIES if held_out else UNKNOWN_CITIES)

    kind = random.random()
    if kind < 0.1 and not held_out:
        parts = (
            invented_word(random, held_out),
            random.choice(UNKNOWN_WORDS),
            random.choice(_FUNCTION_WORDS),
        )
        text = " ".join(random.choice(parts) for _ in range(random.randint(2, 7)))
        return text.capitalize() + random.choice(("?", ".", "")) if random.random() < 0.6 else text
    if kind < 0.3 and not held_out:
        template = random.choice(_PHRASES)
    else:
        template = random.choice(UNSEEN_TEMPLATES if held_out else TEMPLATES)
    text = template.format(
        w=word(),
        v=word(),
        c=city(),
        d=city(),
        n=random.randint(2, 99),
        m=random.randint(2, 99),
        k=random.randint(2, 99),
        y=random.randint(100, 2099),
        o=random.choice(_VERBS),
        a=random.choice(_ADJECTIVES),
        q=random.choice(_QUESTION_WORDS),
        x=random.choice(_AUXILIARIES),
        p=random.choice(_PREPOSITIONS),
    )
    return text[0].upper() + text[1:] if kind < 0.3 else text
