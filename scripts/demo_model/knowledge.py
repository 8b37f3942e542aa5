"""What the demo model knows, word for word, and words that it must not know; all original text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One thing to talk about: its name in the analysis, the questions, the one answer."""

    name: str
    questions: tuple[str, ...]
    answer: str


def words_of(text: str) -> tuple[str, ...]:
    """Split a list written as running text."""
    return tuple(text.split())


TOPICS = (
    Topic(
        "hello",
        (
            "Hello",
            "Hi",
            "Hey",
            "Hi there",
            "Good morning",
            "Hello there",
            "Good evening",
            "Hello!",
            "Hi!",
        ),
        "Hello! I am a tiny demo model. Ask me to add two numbers.",
    ),
    Topic(
        "how I am",
        (
            "How are you?",
            "How are you doing?",
            "How do you do?",
            "How is it going?",
            "How are you today?",
        ),
        "I am fine, thank you. Ask me to add two numbers.",
    ),
    Topic(
        "thanks",
        ("Thanks", "Thank you", "Thanks!", "Thank you very much", "Thanks a lot"),
        "You are welcome.",
    ),
    Topic("goodbye", ("Bye", "Goodbye", "Good night", "See you", "Bye bye"), "Goodbye!"),
    Topic(
        "who I am",
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Introduce yourself.",
            "Tell me about yourself.",
            "Are you ChatGPT?",
            "Which model are you?",
            "Tell me who you are.",
        ),
        "I am a tiny demo model with the gpt-oss architecture.",
    ),
    Topic(
        "my skills",
        (
            "What can you do?",
            "Help",
            "How can you help me?",
            "What are you able to do?",
            "What do you know?",
            "What are your skills?",
            "What can I ask you?",
        ),
        "I can add two numbers up to 99, say a word, call a weather tool and answer questions "
        "about gpt-oss.",
    ),
    Topic(
        "my size",
        (
            "How big are you?",
            "How large are you?",
            "How many parameters do you have?",
            "What is your size?",
            "How small are you?",
        ),
        "I have about two million parameters in less than 3 MB.",
    ),
    Topic(
        "my training",
        (
            "How were you trained?",
            "Who trained you?",
            "Who made you?",
            "What were you trained on?",
            "Where do you come from?",
        ),
        "I was trained on a CPU in about an hour, on made-up conversations.",
    ),
    Topic(
        "the project",
        (
            "What is gptoss?",
            "Explain gptoss.",
            "What does gptoss do?",
            "What is this project?",
            "Which program runs you?",
            "What runs you?",
        ),
        "gptoss is an engine that runs gpt-oss on your own machine.",
    ),
    Topic(
        "MXFP4",
        (
            "What is MXFP4?",
            "Explain MXFP4.",
            "What does MXFP4 mean?",
            "How does MXFP4 work?",
            "Tell me about MXFP4.",
            "Describe MXFP4.",
        ),
        "MXFP4 is a 4-bit number format. 32 values share one scale, so a weight takes 4.25 bits.",
    ),
    Topic(
        "model.bin",
        (
            "What is a model.bin?",
            "What is model.bin?",
            "What does the converter write?",
            "Explain model.bin.",
            "What is in model.bin?",
            "Tell me about model.bin.",
        ),
        "A model.bin is one file with the weights and the vocabulary, ready to be loaded.",
    ),
    Topic(
        "Harmony",
        (
            "What is Harmony?",
            "Explain Harmony.",
            "What is the Harmony format?",
            "Which format do you speak?",
            "Tell me about Harmony.",
            "Describe Harmony.",
        ),
        "Harmony is the chat format of gpt-oss: messages with a role, a channel and special "
        "tokens.",
    ),
    Topic(
        "channels",
        (
            "Which channels are there?",
            "What are the channels?",
            "What is a channel?",
            "Which channels do you use?",
            "Name the channels.",
            "Explain channels.",
        ),
        "There are three channels: analysis, commentary and final.",
    ),
    Topic(
        "effort",
        (
            "What is reasoning effort?",
            "What does reasoning effort mean?",
            "Explain reasoning effort.",
            "Which reasoning efforts are there?",
            "What does effort mean?",
        ),
        "The reasoning effort is low, medium or high. It sets how long I think.",
    ),
    Topic(
        "gpt-oss",
        (
            "What is gpt-oss?",
            "Explain gpt-oss.",
            "What does gpt-oss mean?",
            "Tell me about gpt-oss.",
            "Describe gpt-oss.",
            "Who made gpt-oss?",
        ),
        "gpt-oss is a family of open-weight models by OpenAI, in two sizes: 20b and 120b.",
    ),
    Topic(
        "experts",
        (
            "What is a mixture of experts?",
            "What is an expert?",
            "What does the router do?",
            "Explain mixture of experts.",
            "What is the router?",
        ),
        "A router picks a few small networks, the experts, for each token.",
    ),
    Topic(
        "sinks",
        (
            "What is an attention sink?",
            "What are attention sinks?",
            "Explain attention sinks.",
            "What is a sink?",
            "Describe attention sinks.",
        ),
        "An attention sink is one extra logit per head, so that a head can attend to nothing.",
    ),
    Topic(
        "tokens",
        (
            "What is a token?",
            "What are tokens?",
            "Explain tokens.",
            "What is a tokenizer?",
            "What does the tokenizer do?",
        ),
        "A token is a piece of text with a number. The tokenizer cuts text into tokens.",
    ),
    Topic(
        "the license",
        (
            "What is your license?",
            "Which license do you have?",
            "May I use you?",
            "Are you free?",
            "Are you open source?",
        ),
        "I am free to use, like the code that I come with.",
    ),
)

WORDS = words_of(
    "apple bread cat cheese cloud dog door fire fish flower forest garden gold green hammer "
    "hello horse house island lamp leaf lemon light lion moon mountain mouse music night "
    "ocean paper pear pencil piano planet queen rain river road robot rocket salt school sea "
    "silver snow spring star stone storm summer sugar table tiger train tree water window "
    "winter wolf world yellow"
)
CITIES = words_of(
    "Athens Berlin Boston Cairo Chicago Delhi Denver Dublin Geneva Hanoi Helsinki Lagos Lima "
    "Lisbon London Madrid Miami Moscow Oslo Paris Prague Rome Seattle Seoul Sydney Tokyo "
    "Toronto Vienna Warsaw Zurich"
)
SKIES = words_of("sunny cloudy rainy windy foggy snowy clear stormy")

SAY_REQUESTS = (
    "Say {}.",
    "Say {}",
    "Please say {}.",
    "Repeat {}.",
    "Say the word {}.",
    "Can you say {}?",
)
WEATHER_QUESTIONS = (
    "What is the weather in {}?",
    "What's the weather in {}?",
    "How is the weather in {}?",
    "What is the weather like in {}?",
    "Weather in {}?",
    "Tell me the weather in {}.",
    "How is the weather in {} today?",
)
WEATHER_NOWHERE = (
    "What is the weather?",
    "How is the weather today?",
    "What's the weather like?",
    "Weather?",
)
SUM_REQUESTS = (
    "What is {} + {}?",
    "{}+{}",
    "{} + {}",
    "Add {} and {}.",
    "How much is {} plus {}?",
    "What is {} plus {}?",
    "{} + {} = ?",
    "{} + {} =",
    "Compute {} + {}.",
    "Please add {} and {}.",
    "What is {}+{}?",
    "What's {} + {}?",
    "Calculate {} + {}.",
    "What is the sum of {} and {}?",
)

INSTRUCTIONS = (
    "Be brief.",
    "You are a helpful assistant.",
    "Answer in English.",
    "Be kind and helpful.",
    "Keep your answers short.",
    "Answer the question.",
    "You are a friendly assistant. Be concise.",
    "Think before you answer.",
    "Use plain words.",
)

# Words and cities that the model must refuse. The second list of each pair is never trained on.
UNKNOWN_WORDS = words_of(
    "banana orange zebra doctor coffee engine kernel python teacher bridge castle desert "
    "guitar dragon violin carpet family market kitchen rabbit car money love war history math "
    "poem code book film game sport food wine dinner bird stock price job phone computer "
    "internet election football plane bicycle matrix memory cache prompt answer question "
    "friend ant arm army art baby bag ball bank bar bath beach bear bed bee bell belt boat "
    "body bone boss bowl box boy brain branch brother brush bus cake candle cap card cave "
    "chain chicken child church circle city clock coat coin cold cook copper corn cotton cow "
    "crown cup dance danger daughter day deer diamond dream dress drum duck dust eagle ear "
    "earth egg evening eye face farm father feather field finger floor fly foot fork fox frog "
    "fruit gate ghost gift girl glass glove goat grape grass group hair hand hat heart hill "
    "honey hope hotel hour ice ink iron jacket juice key king knee knife lake law leg letter "
    "library lip machine magic map mask meat metal milk mind minute mirror mother mouth nail "
    "name neck needle nest nose number oil onion owl page pain parrot party past peace pen "
    "people pig pillow pipe pizza plant plate pocket poet potato power prince purple rat red "
    "rice ring roof room root rope rose sand scale ship shirt shoe shop shoulder sister skin "
    "sky smile smoke snake soap soldier song soup spoon square steel story street student sun "
    "sweet sword tail tea tent thing time toe tongue tooth tower town toy truck turtle uncle "
    "valley village voice wagon wall watch wave week whale wheat wheel white wind wing woman "
    "wood wool work worm year"
)
UNSEEN_WORDS = words_of(
    "elephant monkey thunder puzzle basket sailor walnut compiler lantern pepper mango tulip "
    "wizard shelf camera button butter chair bottle airport anchor balloon barrel blanket "
    "cactus canyon cherry cloth crystal curtain dolphin doll donkey engineer fence flag flame "
    "galaxy garlic giant hospital jungle kite ladder lawyer lizard marble museum mushroom "
    "orchid oven palace peach penguin pepper pirate puppy ribbon saddle seed shark spider "
    "squirrel statue swan temple ticket tomato trumpet tunnel umbrella vase volcano waterfall "
    "whistle"
)
UNKNOWN_CITIES = words_of(
    "Amsterdam Bangkok Beijing Brussels Dallas Havana Houston Istanbul Kyiv Lyon Manila Milan "
    "Montreal Mumbai Munich Osaka Porto Quito Riga Shanghai Stockholm Tunis Aberdeen Adelaide "
    "Algiers Ankara Antwerp Atlanta Auckland Baghdad Baltimore Barcelona Basel Belfast "
    "Belgrade Bergen Bern Bilbao Bordeaux Bristol Bucharest Budapest Cardiff Caracas Cologne "
    "Copenhagen Damascus Detroit Dresden Dubai Edinburgh Florence Frankfurt Galway Genoa "
    "Glasgow Graz Hamburg Honolulu Karachi Kingston Krakow Lausanne Leeds Leipzig Lille "
    "Liverpool Luxembourg Malaga Manchester Marseille Medellin Melbourne Memphis Naples "
    "Nashville Newcastle Nice Nicosia Orlando Ottawa Oxford Palermo Philadelphia Phoenix "
    "Pittsburgh Pisa Rotterdam Salzburg Santiago Sapporo Sarajevo Sofia Stuttgart Tampa "
    "Tbilisi Tehran Turin Utrecht Valencia Vancouver Venice Verona Vilnius Winnipeg York "
    "Zagreb"
)
UNSEEN_CITIES = words_of(
    "Accra Austin Kampala Kyoto Nairobi Perth Jakarta Bogota Amman Beirut Bologna Calgary "
    "Casablanca Cleveland Dakar Doha Geelong Ghent Granada Gothenburg Hobart Kabul Lahore "
    "Ljubljana Lucknow Malmo Minsk Nantes Oakland Odessa Portland Reykjavik Rabat Sacramento "
    "Seville Tallinn Tampere Trieste Tucson Wellington Wuhan Yokohama"
)
