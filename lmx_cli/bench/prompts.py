"""Prompts of a given length in tokens, for a server whose tokenizer is unknown.

The number of tokens for each word is derived from the usage that the server reports for two prompts. Prompts of one
run share no prefix unless the workload requires one. The same seed yields the same prompts.
"""

import random
from dataclasses import dataclass

TEXT = (
    "able about after again air all also and another any are ask away back base be because been before began best "
    "better big bird black blue boat body book both box boy bring build but by call came can car care carry change "
    "city clear close cold color come could country course cut dark day deep did different do dog done door down draw "
    "dry each early earth eat end enough even ever every eye face fact fall family far farm fast father feel feet few "
    "field figure find fine fire first fish five fly follow food foot for form found four free friend from front full "
    "game gave get girl give go gold good got great green ground group grow had half hand hard has have he head hear "
    "heat help her here high him his hold home horse hot hour house how hundred idea if in inch is it just keep kind "
    "king knew know land large last late lay learn leave left less let letter life light like line list listen little "
    "live long look love low made main make man many map mark may me mean men might mile mind minute miss money moon "
    "more morning most mother mountain move much music must my name near need never new next night no north note now "
    "number of off often oh old on once one only open or order other our out over own page paper part pass people"
)
WORDS = tuple(TEXT.split())
FEW, MANY = 16, 272
"""Numbers of words in the two prompts that the scale is derived from."""


@dataclass(frozen=True)
class Scale:
    """Linear relation of words and prompt tokens on one server: tokens = fixed + each * words."""

    fixed: float = 0.0
    each: float = 1.3

    def words(self, tokens: int) -> int:
        return max(1, round((tokens - self.fixed) / self.each))


def scale_from(few: int, many: int) -> Scale:
    """Return the scale for a server that counted `few` and `many` prompt tokens for FEW and MANY words.

    A server that reports no usage gets the default scale.
    """
    each = (many - few) / (MANY - FEW)
    return Scale(fixed=few - FEW * each, each=each) if each > 0 else Scale()


def words(count: int, key: str) -> str:
    """Return `count` words chosen by `key` alone."""
    return " ".join(random.Random(key).choices(WORDS, k=count))


def message(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
