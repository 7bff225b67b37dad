"""English words that tell the end of an answer from a full stop within it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Lower-case words within titles; a text without other lower-case words may be a title.
SMALL_WORDS = _words(
    "a an and as at but by da de del der des di du for from in into la le of on or out over the to "
    "up v van von vs with y"
)
# Abbreviations that end a name; others, such as "St.", begin one.
CLOSING = _words("a.d a.m b.c b.c.e co corp d.c esq etc inc jr ltd m.d p.m ph.d sr")
WITH_STOP = CLOSING | _words(
    "apr aug bros dec dept dr feb ft jan jul jun mar mr mrs ms mt nov oct sept st"
)
# The letter after one of these is no initial: "Vitamin C", "World War I".
LETTERED = _words(
    "act appendix area block channel chapter class division exhibit factor figure generation grade "
    "group hepatitis influenza level line malcolm model part phase plan platform point product "
    "project schedule section series stage team title type vitamin volume war zone"
)
# Neither is "I" or "V" after one of these.
MONARCHS = _words(
    "emperor empress king pope queen sultan tsar alexander carol catherine charles christian "
    "edward elizabeth ferdinand francis frederick george gustav haakon harald henry isabella ivan "
    "james john juan leo leopold louis mary maximilian mehmed napoleon nicholas otto paul peter "
    "philip pius victor wilhelm william"
)
