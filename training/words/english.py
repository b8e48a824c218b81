"""Everyday English: a few hundred words in some hundred kinds of sentences."""

from __future__ import annotations

import numpy as np

from .grammar import Grammar, Phrase
from .numbers import ENGLISH_NUMBER_WORDS, UNITS_EN, english_number

HOMOPHONES = frozenset({"to", "for", "an"})
"""Words that only their neighbours tell from "two", "four" and "a"; no random order has them."""


def _phrases(*texts: str) -> tuple[Phrase, ...]:
    return tuple(Phrase(text, text) for text in texts)


def _words(text: str) -> tuple[Phrase, ...]:
    return _phrases(*text.split())


def _number(low: int, high: int, rng: np.random.Generator) -> Phrase:
    words = " ".join(english_number(int(rng.integers(low, high + 1))))
    return Phrase(words, words)


def _any_number(rng: np.random.Generator) -> Phrase:
    """Numbers of one, two and three digits equally often."""
    low, high = ((0, 9), (10, 99), (100, 999))[int(rng.integers(3))]
    return _number(low, high, rng)


def _digits(rng: np.random.Generator) -> Phrase:
    count = int(rng.integers(3, 9))
    words = " ".join(UNITS_EN[int(digit)] for digit in rng.integers(0, 10, count))
    return Phrase(words, words)


SLOTS = {
    "relative": _words("mother father sister brother uncle grandmother friend daughter neighbor"),
    "job": _words("teacher doctor farmer driver nurse singer girl boy woman man"),
    "person": _phrases("my {relative}", "the {job}", "your {relative}"),
    "animal": _words(
        "dog cat horse cow bird fish rabbit mouse chicken duck elephant monkey tiger frog fox goat"
    ),
    "animals": _words("dogs cats horses birds rabbits ducks monkeys elephants"),
    "food": _words(
        "bread butter cheese milk water coffee sugar salt pepper rice soup honey chocolate salad"
        " juice meat"
    ),
    "piece": _phrases(
        "a banana", "a potato", "a tomato", "an onion", "a carrot", "a lemon", "an egg",
        "an apple", "a cake", "an orange",
    ),
    "pieces": _words("apples bananas potatoes tomatoes onions lemons eggs tickets books bottles"),
    "thing": _words(
        "lamp clock mirror key bottle cup plate spoon knife basket umbrella jacket shirt hat phone"
        " computer camera radio book letter newspaper pencil picture box bag wallet ticket map"
    ),
    "furniture": _words("table chair bed sofa shelf oven piano"),
    "room": _words("kitchen bathroom bedroom garden office"),
    "place": _words(
        "station airport hotel museum market school hospital library restaurant beach bridge river"
        " forest mountain village city church park theater island lake"
    ),
    "vehicle": _words("car bus train bicycle boat airplane truck"),
    "state": _words(
        "old new big small clean dirty cheap expensive heavy beautiful broken empty wet dry"
    ),
    "mood": _words("happy tired hungry thirsty angry quiet sick young late"),
    "very": _phrases("very", "not", "always", "never", "really", "often"),
    "weather": _words("cold warm hot sunny cloudy windy rainy foggy"),
    "day": _words("monday tuesday wednesday thursday friday saturday sunday"),
    "month": _words(
        "january february march april may june july august september october november december"
    ),
    "when": _phrases(
        "today", "tomorrow", "tonight", "on {day}", "in {month}", "every {part}", "on {day} {part}",
        "next week", "after lunch", "before dinner",
    ),
    "part": _words("morning afternoon evening night"),
    "time": _phrases(
        "at {hour}", "at half past {hour}", "at quarter to {hour}", "at {hour} thirty",
        "at quarter past {hour}", "in {minutes} minutes",
    ),
    "relation": _phrases("near", "behind", "under", "on", "beside"),
    "where": _phrases(
        "in the {room}", "near the {place}", "behind the {furniture}", "under the {furniture}",
        "on the {furniture}", "at the {place}", "beside the {thing}",
    ),
    "needs": _words("needs wants likes buys has finds brings"),
    "moves": _phrases("goes to", "walks to", "runs to", "comes from"),
    "does": _words("sleeps works plays sings swims waits dances cooks"),
    "lift": _words("open close clean bring take find wash sell carry"),
    "color": _words("red blue green yellow orange purple black pink white gray brown"),
    "shape": _words("circle square triangle star"),
    "shapes": _words("circles squares triangles stars"),
    "side": _phrases("left of", "right of", "above", "below", "in"),
}  # fmt: skip

TEMPLATES = (
    "{person} {needs} {food}",
    "{person} {needs} {piece}",
    "{person} {needs} the {color} {thing} {when}",
    "{person} {needs} a new {vehicle}",
    "{person} {moves} the {place} {when}",
    "{person} {moves} the {place} {time}",
    "{person} {does} {where}",
    "{person} {does} {when}",
    "{person} is {very} {mood}",
    "{person} is {where}",
    "{person} has {few} {animals}",
    "{person} is {count} years old",
    "{person} and {person.2} are {where}",
    "the {animal} is {where}",
    "the {animal} {does} {where}",
    "the {animal} likes {food}",
    "the {animal} is {very} {mood}",
    "the {color} {animal} {moves} the {place}",
    "the {animal} and the {animal.2} are {where}",
    "there is a {state} {thing} {where}",
    "there are {few} {animals} {where}",
    "there are {count} {pieces} in the {thing}",
    "the {thing} is {relation} the {furniture}",
    "the {thing} is {very} {state}",
    "the {color} {thing} is {state}",
    "the {state} {furniture} is in the {room}",
    "the {color} {vehicle} is {very} {state}",
    "my {thing} is in your {thing.2}",
    "this is my {state} {thing}",
    "that is not my {thing}",
    "where is the {thing}",
    "where is my {color} {thing}",
    "where are the {pieces}",
    "who {needs} the {thing}",
    "who is {where}",
    "when does the {vehicle} leave",
    "when does {person} come home",
    "why is the {thing} {where}",
    "how much is the {thing}",
    "how many {animals} are {where}",
    "how far is the {place} from here",
    "how old is {person}",
    "can you {lift} the {thing} please",
    "can i have {food} with {food.2}",
    "do you have {few} {pieces}",
    "do you like {food} or {food.2}",
    "does {person} like {animals}",
    "will it rain {when}",
    "is the {place} open {when}",
    "is the {thing} {where}",
    "please {lift} the {thing}",
    "please {lift} the {state} {thing} {when}",
    "{lift} the {thing} and the {thing.2}",
    "put the {thing} {where}",
    "put {few} {pieces} on the {furniture}",
    "add {food} and {food.2} to the soup",
    "cut {piece} and {piece.2}",
    "cook the {food} for {minutes} minutes",
    "mix the {food} with {few} eggs",
    "turn off the {thing} in the {room}",
    "turn on the light in the {room}",
    "call {person} {time}",
    "wait for {person} {where}",
    "stop at the {place}",
    "turn left at the {place}",
    "turn right after the {place}",
    "show me the {state} {thing}",
    "tell {person} a story",
    "it is {weather} {when}",
    "it is {weather} and {weather.2} in the {place}",
    "it will be {weather} {when}",
    "it was {weather} yesterday",
    "the weather is {very} {weather}",
    "the wind is cold {when}",
    "we need {food} and {pieces}",
    "we buy {few} {pieces} at the market",
    "we have {few} {animals} and {few.2} {animals.2}",
    "we go to the {place} {when}",
    "we visit {person} in {month}",
    "i want {piece} and {piece.2}",
    "i see a {color} {animal} {where}",
    "i am {mood} {when}",
    "i like {food} but not {food.2}",
    "i lost my {thing} {where}",
    "they play music {when}",
    "they {lift} the {thing} {when}",
    "she reads a book {where}",
    "he drinks {food} {when}",
    "the {vehicle} leaves {time}",
    "the {vehicle} to the {place} is late",
    "the next {vehicle} comes {time}",
    "the {vehicle} stops near the {place}",
    "the {thing} costs {number} dollars",
    "the ticket to the {place} costs {number} dollars",
    "the {food} costs {count} dollars and {count.2} cents",
    "my room number is {number}",
    "the code is {digits}",
    "my phone number is {digits}",
    "the number is {number}",
    "page {number} of the {color} book",
    "the meeting is on {day} {time}",
    "the party is on {month} {date}",
    "today is {day} {month} {date}",
    "my birthday is in {month}",
    "there are {number} people {where}",
    "it is {count} degrees in the {place}",
    "the {place} is {count} miles from the {place.2}",
    "good morning how are you",
    "thank you very much",
    "what color is the {shape}",
    "what color is the {color} {shape}",
    "what color are the {shapes}",
    "what shape is {color}",
    "where is the {color} {shape}",
    "where is the {shape}",
    "how many {color} {shapes} are there",
    "how many {shapes} are there",
    "is there a {color} {shape}",
    "are there {few} {shapes}",
    "what does it say",
    "what is in the picture",
    "what is {side} the {color} {shape}",
    "the {shape} is {color}",
    "the {color} {shape} is {side} the {color.2} {shape.2}",
    "there are {few} {color} {shapes}",
    "a {color} {shape} and a {color.2} {shape.2}",
    "describe the picture",
)

GRAMMAR = Grammar(
    templates=_phrases(*TEMPLATES),
    slots=SLOTS,
    drawn={
        "few": lambda rng: _number(2, 12, rng),
        "hour": lambda rng: _number(1, 12, rng),
        "date": lambda rng: _number(1, 31, rng),
        "minutes": lambda rng: _number(2, 59, rng),
        "count": lambda rng: _number(2, 99, rng),
        "number": _any_number,
        "digits": _digits,
    },
    drawn_words=ENGLISH_NUMBER_WORDS,
)
