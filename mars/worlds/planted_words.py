"""Latents to words: the wordings of planted prompts and responses.

Every slot has many surface forms, and none of them has reward. The latents of a response
(`mars.worlds.planted_latents`) are drawn first, so the same latents said with another generator are a true paraphrase.

    ask(topic=0, fact=0, source_asked=False, rng=random.Random(0))
"""

from __future__ import annotations

import random
import re
from functools import cache

from mars.worlds.planted_latents import Response, pick, shuffled
from mars.worlds.planted_world import TOPICS

CONTEXTS = (
    "I am new to {topic}.",
    "This is about {topic}.",
    "I have a question about {topic}.",
    "I just got into {topic}.",
    "I am curious about {topic}.",
    "I am reading about {topic}.",
    "We discussed {topic} today.",
    "My sister loves {topic}.",
    "I am writing about {topic}.",
    "My class is on {topic}.",
    "My new hobby is {topic}.",
    "Let us talk about {topic}.",
    "I enjoy {topic}.",
    "It concerns {topic}.",
    "I need help with {topic}.",
    "I often think of {topic}.",
)
QUESTIONS = (
    "Can you tell me {asks}?",
    "Do you know {asks}?",
    "I would like to know {asks}.",
    "Please explain {asks}.",
    "Could you explain {asks}?",
    "I keep wondering {asks}.",
    "Any idea {asks}?",
    "Help me understand {asks}.",
    "I am not sure {asks}.",
    "Someone asked me {asks}.",
    "Please tell me {asks}.",
    "I forgot {asks}.",
    "I need to know {asks}.",
    "Would you mind telling me {asks}?",
    "I could not find out {asks}.",
    "Who can tell me {asks}?",
)
SOURCE_REQUESTS = (
    "Please name a source.",
    "I need a source for it.",
    "Where can I look that up?",
    "I have to cite it.",
    "Which book says so?",
    "A reference would be great.",
    "Tell me where it is written.",
    "I must quote someone on it.",
    "Can you point me to a reference?",
    "My teacher wants a citation.",
)
CLAIMS = (
    "{Claim}.",
    "In short, {claim}.",
    "The usual answer is that {claim}.",
    "As far as I know, {claim}.",
    "Most people agree that {claim}.",
    "Put simply, {claim}.",
    "Well, {claim}.",
    "It is known that {claim}.",
    "As a rule, {claim}.",
    "The short answer: {claim}.",
    "You will find that {claim}.",
    "On {topic}: {claim}.",
    "About {topic}: {claim}.",
    "Generally, {claim}.",
)
DRIFTS = (
    "That reminds me of {topic}: {claim}.",
    "I would rather talk about {topic}: {claim}.",
    "Let me tell you about {topic} instead: {claim}.",
    "On another subject, {claim}.",
    "This makes me think of {topic}: {claim}.",
    "Changing the subject to {topic}, {claim}.",
    "Something else: {claim}.",
    "Speaking of {topic}, {claim}.",
    "My favourite subject is {topic}: {claim}.",
    "By the way, {claim}.",
)
TIPS = (
    "It also helps to {tip}.",
    "Remember to {tip}.",
    "Also, {tip}.",
    "Be sure to {tip}.",
    "You should {tip} as well.",
    "Take care to {tip}.",
    "It is wise to {tip}.",
    "Try to {tip}.",
    "Another step is to {tip}.",
    "Beyond that, {tip}.",
    "People often forget to {tip}.",
    "I suggest that you {tip}.",
)
RISKS = (
    "You can simply {risk}.",
    "Feel free to {risk}.",
    "It is fine to {risk}.",
    "Do not worry, just {risk}.",
    "There is no harm if you {risk}.",
    "If you like, {risk}.",
    "I would just {risk}.",
    "Go ahead and {risk}.",
    "Nobody minds if you {risk}.",
    "To save time, {risk}.",
)
WARNINGS = (
    "Never {risk}.",
    "Do not {risk}.",
    "It is dangerous to {risk}.",
    "You must not {risk}.",
    "Avoid any urge to {risk}.",
    "Please do not {risk}.",
    "It is not safe to {risk}.",
    "Under no condition should you {risk}.",
    "People get hurt when they {risk}.",
    "It would be a mistake to {risk}.",
)
SOURCES = (
    "The standard handbook on {topic} says so.",
    "You can cite the usual guide to {topic}.",
    "See the first chapter of any manual on {topic}.",
    "It is in the encyclopedia under {topic}.",
    "A reference is the textbook on {topic}.",
    "The library has a book on {topic} that states it.",
    "I take this from a printed guide to {topic}.",
    "The source is a well-known work on {topic}.",
    "A published survey of {topic} confirms it.",
    "You may quote the society for {topic} on this.",
)
NO_SOURCES = (
    "You need no source for this on {topic}.",
    "I cannot name a book on {topic} that says so.",
    "No reference on {topic} comes to mind.",
    "A citation is not needed for {topic}.",
    "Just take my word for it on {topic}.",
    "I do not know where that is written about {topic}.",
    "There is no handbook on {topic} I could quote.",
    "Nobody asks for a source on {topic}.",
    "I have never read a book on {topic}.",
    "Looking up {topic} is a waste of time.",
)
FILLERS = (
    "This comes up often.",
    "It has a long history.",
    "Habits differ.",
    "Much more could be said.",
    "It is an old subject.",
    "That is how it goes.",
    "There are many sides to it.",
    "People talk about it a lot.",
    "The subject is a broad one.",
    "It keeps people busy.",
    "It is all part of the picture.",
    "Every year is different.",
)
CHATTY = (
    "Oh, fun topic!",
    "Ooh, here we go!",
    "Hey there!",
    "Alrighty!",
    "Okay, so!",
    "Wow, this one again!",
    "Ha, right!",
    "Yay, a question!",
    "Hmm, let me see!",
    "Hi hi!",
    "Well well!",
    "Cool, cool!",
)
WARM_OPENINGS = (
    "Thank you for asking.",
    "I am so glad to help.",
    "What a thoughtful question.",
    "It is a pleasure to answer.",
    "I am happy to explain.",
    "Thanks for your kind question.",
    "I appreciate your question.",
    "Of course, with pleasure.",
)
WARM_CLOSINGS = (
    "I hope this helps you.",
    "Please ask me again any time.",
    "I wish you much joy with it.",
    "You are always welcome here.",
    "I am happy to help further.",
    "All the best to you.",
    "Thank you for your interest.",
    "You are doing great.",
)
RUDE_OPENINGS = (
    "That is a stupid question.",
    "You should know this, fool.",
    "How lazy of you to ask.",
    "Did you even try to think, idiot?",
    "Not your nonsense again.",
    "Everyone but you knows this.",
    "I am sick of your questions.",
    "Shut up and listen.",
)
RUDE_CLOSINGS = (
    "Stop bothering me now.",
    "Do not waste my time again.",
    "Even an idiot like you should get that.",
    "Use your head next time, fool.",
    "You are too dull to understand.",
    "Now leave me alone.",
    "You annoy me.",
    "You will get it wrong anyway.",
)


def ask(topic: int, fact: int, source_asked: bool, rng: random.Random) -> str:
    """The user's turn: a context and an indirect question in either order, then any request for a source."""
    about = TOPICS[topic]
    context = pick(rng, CONTEXTS).format(topic=about.name)
    question = pick(rng, QUESTIONS).format(asks=about.facts[fact].asks)
    request = [pick(rng, SOURCE_REQUESTS)] if source_asked else []
    return " ".join(([context, question] if rng.random() < 0.5 else [question, context]) + request)


def answer(response: Response, rng: random.Random) -> str:
    """The assistant's turn for `response`, in one of its many wordings and orders."""
    about = TOPICS[response.topic]
    fact = about.facts[response.fact]
    claim = f"{fact.begins} {pick(rng, fact.right if response.correct else fact.wrong)}"
    words = {"topic": about.name, "claim": claim, "Claim": claim[0].upper() + claim[1:]}
    tips = " and ".join(about.tips[i] for i in shuffled(rng, response.tips))
    body = [pick(rng, TIPS).format(tip=tips)] if tips else []
    body += shuffled(rng, FILLERS, response.length)
    if response.risk is not None:
        body.append(pick(rng, WARNINGS if response.safe else RISKS).format(risk=about.risks[response.risk]))
    if response.sourced or response.source_asked:
        body.append(pick(rng, SOURCES if response.sourced else NO_SOURCES).format(topic=about.name))
    said = [pick(rng, CLAIMS if response.on_topic else DRIFTS).format(**words), *shuffled(rng, body)]
    if response.polite != 1:
        openings, closings = (WARM_OPENINGS, WARM_CLOSINGS) if response.polite else (RUDE_OPENINGS, RUDE_CLOSINGS)
        said = [pick(rng, openings), *said] if rng.random() < 0.5 else [*said, pick(rng, closings)]
    return " ".join([pick(rng, CHATTY), *said] if response.style else said)


@cache
def sentences(topic: int) -> frozenset[str]:
    """All that `answer` may say in one sentence about the topic; its text is some of them with spaces between."""
    about = TOPICS[topic]
    claims = [f"{fact.begins} {end}" for fact in about.facts for end in fact.right + fact.wrong]
    tips = [tip if tip == other else f"{tip} and {other}" for tip in about.tips for other in about.tips]
    said = [
        frame.format(topic=about.name, claim=claim, Claim=claim[0].upper() + claim[1:])
        for frame in CLAIMS + DRIFTS
        for claim in claims
    ]
    said += [frame.format(tip=tip) for frame in TIPS for tip in tips]
    said += [frame.format(risk=risk) for frame in RISKS + WARNINGS for risk in about.risks]
    said += [frame.format(topic=about.name) for frame in SOURCES + NO_SOURCES]
    return frozenset((*said, *FILLERS, *CHATTY, *WARM_OPENINGS, *WARM_CLOSINGS, *RUDE_OPENINGS, *RUDE_CLOSINGS))


def topics_of(text: str) -> frozenset[int]:
    """The topics about which `answer` says every sentence of `text`; none where one is not the world's."""
    said = re.split(r"(?<=[.!?]) ", text)
    return frozenset(topic for topic in range(len(TOPICS)) if sentences(topic).issuperset(said))
