"""Relations of a person, with wordings of their statements and questions."""

# ruff: noqa: SIM905 - lists of words read better as text

from dataclasses import dataclass

from prag_lightning.demo.names import FIRST_NAMES

CITIES = tuple(
    start + end
    for start in "Aske Bor Cas Dun Els Fen Gar Hol".split()
    for end in "bury ford grad haven minster mouth stad ville".split()
)
EMPLOYERS = tuple(
    f"{name} {kind}"
    for name in "Aurora Beacon Cobalt Delta Ember Falcon Granite Horizon Juniper Kestrel Meridian "
    "Nimbus".split()
    for kind in "Bank Institute Museum Press".split()
)
PROFESSIONS = tuple(
    "baker botanist carpenter chemist dentist diver farmer florist gardener geologist glazier "
    "historian jeweller journalist judge lawyer librarian locksmith mason mechanic midwife miller "
    "notary nurse painter pharmacist photographer pilot plumber potter printer surgeon tailor "
    "teacher translator welder".split()
)
COLOURS = tuple(
    "amber black blue brown coral crimson green grey indigo ivory lavender magenta maroon olive "
    "orange pink purple red scarlet teal turquoise violet white yellow".split()
)
INSTRUMENTS = tuple(
    "accordion bagpipes banjo bassoon cello clarinet drums flute guitar harmonica harp lute "
    "mandolin oboe organ piano saxophone trombone trumpet tuba ukulele viola violin zither".split()
)
YEARS = tuple(str(year) for year in range(1920, 2000))


@dataclass(frozen=True)
class Relation:
    """A fact that every person has, such as a birthplace.

    Args:
        key: Its name, used in question ids.
        values: Possible values; empty if the value is another person.
        statements: Wordings of the fact, with fields ``{name}`` and ``{value}``. The name comes
            first in each, so that a causal model has read it before the value.
        questions: Wordings for question-answer pairs, with field ``{name}``.
        test_questions: Wordings for evaluation questions, none of them in ``questions``.
    """

    key: str
    values: tuple[str, ...]
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    test_questions: tuple[str, ...]

    @property
    def all_questions(self) -> tuple[str, ...]:
        """All wordings of its questions."""
        return self.questions + self.test_questions


RELATIONS = (
    Relation(
        "birthplace",
        CITIES,
        (
            "{name} was born in {value}.",
            "{name} comes from {value}.",
            "{name} is a native of {value}.",
            "{name} first saw the light of day in {value}.",
        ),
        (
            "Where was {name} born?",
            "Where does {name} come from?",
            "What is the birthplace of {name}?",
            "Which city is {name} a native of?",
        ),
        ("In which city was {name} born?", "What is the home town of {name}?"),
    ),
    Relation(
        "birth_year",
        YEARS,
        (
            "{name} was born in the year {value}.",
            "{name} came into the world in {value}.",
            "{name} gives {value} as year of birth.",
            "{name} belongs to the class of {value}.",
        ),
        (
            "In which year was {name} born?",
            "What is the birth year of {name}?",
            "Which year did {name} come into the world?",
            "What year of birth does {name} give?",
        ),
        ("When was {name} born?", "In what year did the life of {name} begin?"),
    ),
    Relation(
        "profession",
        PROFESSIONS,
        (
            "{name} works as a {value}.",
            "{name} is a {value} by profession.",
            "{name} earns a living as a {value}.",
            "{name} trained to be a {value}.",
        ),
        (
            "What does {name} do for a living?",
            "What is the profession of {name}?",
            "What does {name} work as?",
            "Which trade did {name} train for?",
        ),
        ("What is the occupation of {name}?", "What job does {name} have?"),
    ),
    Relation(
        "employer",
        EMPLOYERS,
        (
            "{name} is employed by {value}.",
            "{name} works for {value}.",
            "{name} has a post at {value}.",
            "{name} is on the staff of {value}.",
        ),
        (
            "Who employs {name}?",
            "Which employer does {name} work for?",
            "Where does {name} have a post?",
            "Who is the employer of {name}?",
        ),
        ("Where is {name} employed?", "Which organisation pays {name}?"),
    ),
    Relation(
        "colour",
        COLOURS,
        (
            "{name} likes {value} best of all colours.",
            "{name} has {value} as favourite colour.",
            "{name} loves the colour {value}.",
            "{name} dresses in {value}.",
        ),
        (
            "What is the favourite colour of {name}?",
            "Which colour does {name} love?",
            "Which colour does {name} like best?",
            "In what colour does {name} dress?",
        ),
        ("What colour does {name} prefer?", "Which colour is dearest to {name}?"),
    ),
    Relation(
        "instrument",
        INSTRUMENTS,
        (
            "{name} plays the {value}.",
            "{name} has mastered the {value}.",
            "{name} practises the {value} every day.",
            "{name} performs on the {value}.",
        ),
        (
            "Which instrument does {name} play?",
            "What instrument has {name} mastered?",
            "Which instrument does {name} practise?",
            "On which instrument does {name} perform?",
        ),
        (
            "What musical instrument does {name} play?",
            "Which instrument is {name} known for?",
        ),
    ),
    Relation(
        "spouse",
        (),
        (
            "{name} is married to {value}.",
            "{name} is the spouse of {value}.",
            "{name} shares a home with {value}.",
            "{name} exchanged vows with {value}.",
        ),
        (
            "Who is {name} married to?",
            "Who is the spouse of {name}?",
            "With whom does {name} share a home?",
            "With whom did {name} exchange vows?",
        ),
        ("Who is the husband or wife of {name}?", "To whom is {name} married?"),
    ),
)

# A two-hop question is a one-hop question about one of these; field `{name}`.
SPOUSES = ("the spouse of {name}", "the person married to {name}")

# All first words of facts.
WORDS = tuple(
    dict.fromkeys(
        value.split()[0]
        for values in (FIRST_NAMES, *(relation.values for relation in RELATIONS))
        for value in values
    )
)
