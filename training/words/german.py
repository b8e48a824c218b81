"""A little German beside its English translation, word by word as far as grammar lets it.

Everything is written in lower case, as the transcripts are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .grammar import Grammar, Phrase
from .numbers import (
    EIN,
    GERMAN_NUMBER_WORDS,
    UND,
    UNITS_DE,
    german_number,
    write_german,
)

NOMINATIVE = {"m": "der", "f": "die", "n": "das"}
ACCUSATIVE = {"m": "den", "f": "die", "n": "das"}
A_NOMINATIVE = {"m": "ein", "f": "eine", "n": "ein"}
A_ACCUSATIVE = {"m": "einen", "f": "eine", "n": "ein"}
MY_NOMINATIVE = {"m": "mein", "f": "meine", "n": "mein"}
IN_DATIVE = {"m": "im", "f": "in der", "n": "im"}


@dataclass(frozen=True, slots=True)
class Noun:
    """A singular noun; ``gender`` is m, f or n."""

    german: str
    gender: str
    english: str


PEOPLE = (
    Noun("mann", "m", "man"),
    Noun("frau", "f", "woman"),
    Noun("kind", "n", "child"),
    Noun("lehrer", "m", "teacher"),
    Noun("arzt", "m", "doctor"),
)
RELATIVES = (
    Noun("mutter", "f", "mother"),
    Noun("vater", "m", "father"),
    Noun("bruder", "m", "brother"),
    Noun("schwester", "f", "sister"),
    Noun("freund", "m", "friend"),
)
ANIMALS = (
    Noun("hund", "m", "dog"),
    Noun("katze", "f", "cat"),
    Noun("pferd", "n", "horse"),
    Noun("kuh", "f", "cow"),
    Noun("vogel", "m", "bird"),
    Noun("fisch", "m", "fish"),
)
THINGS = (
    Noun("tisch", "m", "table"),
    Noun("stuhl", "m", "chair"),
    Noun("lampe", "f", "lamp"),
    Noun("buch", "n", "book"),
    Noun("schlüssel", "m", "key"),
    Noun("tasse", "f", "cup"),
    Noun("teller", "m", "plate"),
    Noun("flasche", "f", "bottle"),
    Noun("tasche", "f", "bag"),
    Noun("brief", "m", "letter"),
    Noun("bild", "n", "picture"),
    Noun("fahrrad", "n", "bicycle"),
)
OPENINGS = (Noun("tür", "f", "door"), Noun("fenster", "n", "window"))
ROOMS = (
    Noun("garten", "m", "garden"),
    Noun("küche", "f", "kitchen"),
    Noun("schule", "f", "school"),
    Noun("haus", "n", "house"),
    Noun("park", "m", "park"),
    Noun("stadt", "f", "city"),
    Noun("zimmer", "n", "room"),
)
VEHICLES = (
    Noun("zug", "m", "train"),
    Noun("bus", "m", "bus"),
    Noun("auto", "n", "car"),
    Noun("schiff", "n", "ship"),
)


def _a(english: str) -> str:
    return f"an {english}" if english[0] in "aeiou" else f"a {english}"


def _the(nouns: Iterable[Noun], article: dict[str, str]) -> tuple[Phrase, ...]:
    return tuple(Phrase(f"{article[n.gender]} {n.german}", f"the {n.english}") for n in nouns)


def _one(nouns: Iterable[Noun], article: dict[str, str]) -> tuple[Phrase, ...]:
    return tuple(Phrase(f"{article[n.gender]} {n.german}", _a(n.english)) for n in nouns)


def _pairs(text: str) -> tuple[Phrase, ...]:
    """Lines of "german = english"."""
    pairs = (line.split(" = ") for line in text.strip().splitlines())
    return tuple(Phrase(german.strip(), english.strip()) for german, english in pairs)


def _number(low: int, high: int, rng: np.random.Generator) -> Phrase:
    value = int(rng.integers(low, high + 1))
    return Phrase(" ".join(german_number(value)), str(value))


def _digits(rng: np.random.Generator) -> Phrase:
    spoken = [UNITS_DE[int(digit)] for digit in rng.integers(0, 10, int(rng.integers(3, 7)))]
    return Phrase(" ".join(spoken), write_german(spoken))


MY = tuple(Phrase(f"{MY_NOMINATIVE[n.gender]} {n.german}", f"my {n.english}") for n in RELATIVES)

SLOTS = {
    "person": _the(PEOPLE, NOMINATIVE) + MY,
    "animal": _the(ANIMALS, NOMINATIVE),
    "an_animal": _one(ANIMALS, A_ACCUSATIVE),
    "thing": _the(THINGS, NOMINATIVE),
    "thing_object": _the(THINGS, ACCUSATIVE),
    "a_thing": _one(THINGS, A_ACCUSATIVE),
    "this_thing": _one(THINGS, A_NOMINATIVE),
    "opening": _the(OPENINGS, ACCUSATIVE),
    "vehicle": _the(VEHICLES, NOMINATIVE),
    "in_room": tuple(
        Phrase(f"{IN_DATIVE[n.gender]} {n.german}", f"in the {n.english}") for n in ROOMS
    ),
    "food": _pairs("""
        brot = bread
        milch = milk
        wasser = water
        kaffee = coffee
        tee = tea
        käse = cheese
        suppe = soup
        zucker = sugar
        salz = salt
        butter = butter
    """),
    "no_food": _pairs("""
        kein brot = no bread
        kein wasser = no water
        keine milch = no milk
        keine suppe = no soup
        keinen kaffee = no coffee
        keinen käse = no cheese
    """),
    "drink": _pairs("""
        milch = milk
        wasser = water
        kaffee = coffee
        tee = tea
    """),
    "pieces": _pairs("""
        äpfel = apples
        eier = eggs
        bücher = books
        briefe = letters
        tassen = cups
    """),
    "color": _pairs("""
        rot = red
        blau = blue
        grün = green
        gelb = yellow
        schwarz = black
        weiß = white
    """),
    "state": _pairs("""
        groß = big
        klein = small
        alt = old
        neu = new
        schön = beautiful
        kaputt = broken
    """),
    "mood": _pairs("""
        müde = tired
        glücklich = happy
        krank = sick
        hungrig = hungry
    """),
    "weather": _pairs("""
        kalt = cold
        warm = warm
        sonnig = sunny
        windig = windy
    """),
    "very": _pairs("""
        sehr = very
        nicht = not
        immer = always
    """),
    "when": _pairs("""
        heute = today
        morgen = tomorrow
        jetzt = now
        am {day} = on {day}
    """),
    "day": _pairs("""
        montag = monday
        dienstag = tuesday
        mittwoch = wednesday
        donnerstag = thursday
        freitag = friday
        samstag = saturday
        sonntag = sunday
    """),
    "needs": _pairs("""
        braucht = needs
        kauft = buys
        sucht = looks for
        findet = finds
    """),
    "does": _pairs("""
        schläft = sleeps
        arbeitet = works
        spielt = plays
        wartet = waits
        singt = sings
    """),
}

TEMPLATES = _pairs("""
    {person} {needs} {food} = {person} {needs} {food}
    {person} {needs} {a_thing} = {person} {needs} {a_thing}
    {person} {needs} {thing_object} = {person} {needs} {thing_object}
    {person} {needs} {few} {pieces} = {person} {needs} {few} {pieces}
    {person} trinkt {drink} und {drink.2} = {person} drinks {drink} and {drink.2}
    {person} hat {an_animal} = {person} has {an_animal}
    {person} sieht {an_animal} {in_room} = {person} sees {an_animal} {in_room}
    {person} {does} {in_room} = {person} {does} {in_room}
    {person} {does} {when} = {person} {does} {when}
    {person} ist {very} {mood} = {person} is {very} {mood}
    {person} ist {in_room} = {person} is {in_room}
    {person} ist {number} jahre alt = {person} is {number} years old
    {person} kommt {when} um {hour} uhr = {person} comes {when} at {hour}
    {animal} ist {in_room} = {animal} is {in_room}
    {animal} {does} {in_room} = {animal} {does} {in_room}
    {animal} ist {very} {mood} = {animal} is {very} {mood}
    {thing} ist {color} = {thing} is {color}
    {thing} ist {very} {state} = {thing} is {very} {state}
    {thing} ist {in_room} = {thing} is {in_room}
    {thing} und {thing.2} sind {state} = {thing} and {thing.2} are {state}
    {thing} kostet {number} euro = {thing} costs {number} euros
    das ist {this_thing} = that is {this_thing}
    hier ist {thing} = here is {thing}
    wo ist {thing} = where is {thing}
    wo ist {person} {when} = where is {person} {when}
    wer ist {in_room} = who is {in_room}
    wer hat {thing_object} = who has {thing_object}
    wann kommt {vehicle} = when does {vehicle} come
    {vehicle} kommt um {hour} uhr = {vehicle} comes at {hour}
    {vehicle} kommt in {number} minuten = {vehicle} comes in {number} minutes
    ist {thing} {state} oder {state.2} = is {thing} {state} or {state.2}
    öffne bitte {opening} = open {opening} please
    bring mir bitte {thing_object} = bring me {thing_object} please
    ich möchte {food} mit {food.2} = i want {food} with {food.2}
    ich habe {number} {pieces} = i have {number} {pieces}
    ich bin {when} {mood} = i am {mood} {when}
    wir brauchen {few} {pieces} und {food} = we need {few} {pieces} and {food}
    wir haben {no_food} = we have {no_food}
    es ist {when} {weather} = it is {weather} {when}
    es ist {very} {weather} {in_room} = it is {very} {weather} {in_room}
    es regnet {when} = it rains {when}
    die nummer ist {digits} = the number is {digits}
    guten morgen = good morning
    vielen dank = thank you very much
""")

GRAMMAR = Grammar(
    templates=TEMPLATES,
    slots=SLOTS,
    drawn={
        "few": lambda rng: _number(2, 12, rng),
        "hour": lambda rng: _number(2, 24, rng),
        "number": lambda rng: _number(2, 99, rng),
        "digits": _digits,
    },
    drawn_words=(*GERMAN_NUMBER_WORDS, EIN, UND),
)
