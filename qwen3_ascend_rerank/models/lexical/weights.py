"""The lexical model's weights, set by hand: a Qwen3 that counts the query's words in a document.

How the three layers come to an answer:

1. *Where am I?* Every token looks for the marks ``<Query`` and ``<Document`` before it, and so
   knows its section of the prompt. Another head copies the word of the token just before; it finds
   that token by rotary position alone.
2. *Was my word asked for?* Every token looks for its word in the query, for its word and the one
   before it as a pair in the query, and for its word earlier in the document; and the last token
   of the prompt measures how long the document is. The MLP then closes every token but those that
   count: the words of the query, and the first occurrence of each of them in the document.
3. *How much was found?* The last token attends to the open tokens, each by the weight of its
   word. Softmax divides for free: the attention that falls on the document is
   ``found / (found + asked)``, from 0 (nothing found) to 1/2 (all of it). The MLP adds up:

   ``log-odds = 20 * (words + 0.5 * pairs - 0.4 * length - 0.06)``

   with ``words`` and ``pairs`` such shares and ``length = n / (n + 200)`` for n tokens: a long
   document meets more of the query by chance. All this only if the prompt ends as it should, with
   a blank line after ``</think>``; else the answer is a plain "no".

Three tricks make hand-set weights exact. A *ballast* dimension gives all tokens the same norm, so
RMSNorm divides by a known number. Words are codes of random signs, so a word matches itself
exactly, in any precision. And since Qwen3 normalises queries and keys, a head's query is filled up
with a part that no key has until the product of the two lengths is the layer's *sharpness*: then
the attention logits are plain dot products, and can be read off the code below.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tokenizer import END_TOKEN, PAD_TOKEN, token_ids
from .vocabulary import Token, read_vocabulary, word_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The shape of the model: small, and close to Qwen3-Reranker's own in all that picks a kernel.
HIDDEN, MLP = 256, 64
HEADS, KEY_VALUE_HEADS, HEAD = 4, 2, 128
LAYERS = 3
POSITIONS = 40960
ROPE_THETA = 1e30
EPSILON = 1e-6

# What scores are made of. The three shares are explained above; these were chosen by measuring.
GAIN, PAIRS, LENGTH, THRESHOLD = 20.0, 0.5, 0.4, 0.06
HALF_LENGTH = 200.0
"""Tokens at which the length's share is one half."""
SMOOTHING = 0.1
"""Weight of a word that is always asked for and never found: queries without words score "no"."""

RESIDUAL = {
    # name: width; written by the embedding, unless said otherwise
    "word": 88,  # the token's word, as a code of signs
    "before": 44,  # layer 1: the second half of the code of the token before
    "one": 1,  # 1
    "start": 1,  # 1 for <|im_start|>, where heads look that find nothing
    "query": 1,  # 1 for the mark <Query
    "document": 1,  # 1 for the mark <Document
    "thought": 1,  # 1 for </think>
    "blank": 1,  # 1 for a blank line
    "counts": 1,  # 1 for a word that has a weight
    "weight": 1,  # the logarithm of that weight, from -1 to 0
    "fill": 1,  # what makes the length of (weight, fill) 1
    "in_head": 1,  # 1; layer 1 clears it from the query on
    "in_query": 1,  # layer 1: 1 between <Query and <Document
    "in_document": 1,  # layer 1: 1 from <Document on
    "is_role": 1,  # layer 1: 1 for the token after <|im_start|>
    "after_thought": 1,  # layer 1: 1 for the token after </think>
    "asked": 1,  # layer 2: 1 if the word is in the query
    "asked_pair": 1,  # layer 2: 1 if the word and the one before are a pair in the query
    "seen": 1,  # layer 2: 1/3 at a word's first occurrence in the document, then 1/2, 3/5, ...
    "length": 1,  # layer 2: n / (n + 200), at the last token
    "closed": 1,  # layer 2: 0 for words that count, else positive
    "closed_pair": 1,  # layer 2: the same for pairs
    "words": 1,  # layer 3: found / (found + asked), at the last token
    "pairs": 1,  # layer 3: the same for pairs
    "answer": 1,  # layer 3: the log-odds, scaled; in the row of "yes", 1
    "ballast": 1,  # makes the squared norm of every embedding NORM
}
NORM = 1024.0
"""Squared norm of every embedding; large beside what the layers add as they find things."""
ANSWER_SCALE = 32.0
"""Keeps the answer small beside the ballast, so that it does not change its own norm."""
CODE, HALF = RESIDUAL["word"], RESIDUAL["word"] // 2
WEIGHT_SPAN = 3.0
"""Weights from exp(-3) to 1 can be told apart."""
BLANK_LINE = "ĊĊ"
"""Two line feeds, in the letters that stand for bytes."""
_GRID = 2.0**20
"""Weights are multiples of 1/_GRID, so the last bit of a machine's cosine does not show."""
STARTS = 3
"""How many <|im_start|> the last token of the prompt sees; the document sees one less."""


def write_weights(folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` into `folder`."""
    import numpy as np
    from safetensors.numpy import save_file

    vocabulary = read_vocabulary()
    (folder / "config.json").write_text(
        json.dumps(configuration(vocabulary), indent=2) + "\n", encoding="utf-8", newline="\n"
    )
    tensors = {"model.embed_tokens.weight": embedding(vocabulary), "model.norm.weight": last_norm()}
    for place, layer in enumerate((where_am_i(), was_i_asked_for(), how_much_was_found())):
        tensors |= layer.tensors(place)
    save_file(
        {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def configuration(vocabulary: Sequence[Token]) -> dict[str, Any]:
    """The ``config.json`` of transformers; names old and new, so that 4.51 to 5.x read it."""
    ids = token_ids(vocabulary)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "dtype": "float32",
        "eos_token_id": ids[END_TOKEN],
        "head_dim": HEAD,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.02,
        "intermediate_size": MLP,
        "max_position_embeddings": POSITIONS,
        "max_window_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "pad_token_id": ids[PAD_TOKEN],
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"},
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": len(ids),
    }


# --- The residual stream ---------------------------------------------------------------------


def _slots() -> dict[str, slice]:
    end, slots = 0, {}
    for name, width in RESIDUAL.items():
        slots[name] = slice(end, end := end + width)
    return slots


SLOT = _slots()
"""Where each part of the residual stream lies."""


def embedding(vocabulary: Sequence[Token]) -> Array:
    """What every token brings along, shape (tokens, HIDDEN); also the output rows, being tied."""
    import numpy as np

    ids = token_ids(vocabulary)
    rows: Array = np.zeros((len(ids), HIDDEN))

    words = [*(token.word for token in vocabulary), *list(ids)[len(vocabulary) :]]
    places = {word: place for place, word in enumerate(dict.fromkeys(words))}
    rows[:, SLOT["word"]] = _codes(len(places))[[places[word] for word in words]]

    weights = word_weights(vocabulary)
    weight = np.array([weights.get(word, 0.0) for word in words])
    counts = weight > 0
    logarithm = np.log(np.where(counts, weight, 1.0)) / WEIGHT_SPAN
    logarithm = np.round(logarithm * 1024) / 1024  # the same number on every machine
    rows[:, SLOT["counts"]] = counts[:, None]
    rows[:, SLOT["weight"]] = logarithm[:, None]
    rows[:, SLOT["fill"]] = np.sqrt(1 - logarithm**2)[:, None]

    rows[:, SLOT["one"]] = rows[:, SLOT["in_head"]] = 1
    rows[ids["<Query"], SLOT["query"]] = rows[ids["<Document"], SLOT["document"]] = 1
    rows[ids["</think>"], SLOT["thought"]] = rows[ids[BLANK_LINE], SLOT["blank"]] = 1
    rows[ids["yes"], SLOT["answer"]] = 1
    start = rows[ids["<|im_start|>"]]
    start[:] = 0
    for name in ("one", "in_head", "start"):
        start[SLOT[name]] = 1

    squared = np.rint(np.sum(rows**2, axis=1, keepdims=True))  # weight and fill make 1 together
    rows[:, SLOT["ballast"]] = np.sqrt(NORM - squared)
    return rows


def _codes(count: int) -> Array:
    """Random codes of signs, shape (count, CODE); `RandomState` draws the same for ever."""
    import numpy as np

    bits = np.frombuffer(np.random.RandomState(3).bytes(count * CODE // 8), np.uint8)
    return 2.0 * np.unpackbits(bits).reshape(count, CODE).astype(np.float64) - 1.0


def last_norm() -> Array:
    """The weight of the norm before the output, shape (HIDDEN,): only the answer passes."""
    import numpy as np

    weight = np.zeros(HIDDEN)
    weight[SLOT["answer"]] = ANSWER_SCALE * _root_mean_square(NORM + HALF)
    return weight


def _root_mean_square(norm: float) -> float:
    return math.sqrt(norm / HIDDEN)


# --- The channels of a head ------------------------------------------------------------------

_PAIRS = HEAD // 2
_TURNING = 10
"""Rotary pairs that turn fast enough to tell neighbours apart. Pairs of 16 and up stand still:
pair j turns by ROPE_THETA ** (-j / 64) a token, so by less than 0.002 over all positions."""
_STILL = [*range(16, _PAIRS), *range(_PAIRS + 16, HEAD)]
"""Channels that position leaves alone; the content lies there."""

_CODE = _STILL[:CODE]
_SECTIONS = dict(zip(("in_head", "in_query", "in_document"), _STILL[CODE:], strict=False))
_START = _STILL[CODE + 3]
_UNUSED = _STILL[CODE + 4]
"""No key has this channel; a query's surplus length goes there."""


@dataclass
class Layer:
    """The weights of one layer; what is not set is 0."""

    sharpness: float
    """Length of a query times length of a key, in every head: the largest logit there can be."""
    norm: float
    """Squared norm of the residual stream that comes in."""

    def __post_init__(self) -> None:
        import numpy as np

        self.query = np.zeros((HEADS, HEAD, HIDDEN))
        self.key = np.zeros((KEY_VALUE_HEADS, HEAD, HIDDEN))
        self.value = np.zeros((KEY_VALUE_HEADS, HEAD, HIDDEN))
        self.output = np.zeros((HIDDEN, HEADS, HEAD))
        self.gate = np.zeros((MLP, HIDDEN))
        self.up = np.zeros((MLP, HIDDEN))
        self.down = np.zeros((HIDDEN, MLP))

    def fill_query(self, head: int, key_length: float, query_length: float) -> None:
        """Give `head`'s query, now of `query_length`, the length that makes logits dot products."""
        surplus = (self.sharpness / key_length) ** 2 - query_length**2
        self.query[head, _UNUSED, SLOT["one"]] = math.sqrt(surplus)

    def tensors(self, place: int) -> dict[str, Array]:
        """The tensors by their names in the checkpoint, for layer number `place`."""
        import numpy as np

        # RMSNorm leaves a query or key of length sqrt(HEAD), attention divides by sqrt(HEAD).
        head_norm = np.full(HEAD, math.sqrt(self.sharpness / math.sqrt(HEAD)))
        return {
            f"model.layers.{place}.{name}.weight": np.round(tensor * _GRID) / _GRID
            for name, tensor in {
                "input_layernorm": np.full(HIDDEN, _root_mean_square(self.norm)),
                "self_attn.q_norm": head_norm,
                "self_attn.k_norm": head_norm,
                "self_attn.q_proj": self.query.reshape(-1, HIDDEN),
                "self_attn.k_proj": self.key.reshape(-1, HIDDEN),
                "self_attn.v_proj": self.value.reshape(-1, HIDDEN),
                "self_attn.o_proj": self.output.reshape(HIDDEN, -1),
                # Only layer 1 adds a long part, and has no MLP: what it leaves comes to all.
                "post_attention_layernorm": np.full(HIDDEN, _root_mean_square(NORM + HALF)),
                "mlp.gate_proj": self.gate,
                "mlp.up_proj": self.up,
                "mlp.down_proj": self.down,
            }.items()
        }


# --- Layer 1: where am I? --------------------------------------------------------------------


def where_am_i() -> Layer:
    """Find the section of the prompt and the word before."""
    layer = Layer(sharpness=96.0, norm=NORM)
    find_section(layer)
    copy_word_before(layer)
    return layer


def find_section(layer: Layer) -> None:
    """Heads 0 and 1: attend to the mark of the document, or of the query, if it has come.

    If not, to <|im_start|>, whose value is nothing.
    """
    start, query, document, other = _STILL[:4]
    for channel, name in ((start, "start"), (query, "query"), (document, "document")):
        layer.key[0, channel, SLOT[name]] = 1
        layer.key[0, other, SLOT[name]] = -1
    layer.key[0, other, SLOT["one"]] = 1  # so every key has length 1
    layer.value[0, query, SLOT["query"]] = 1
    layer.value[0, document, SLOT["document"]] = 1

    to_start, to_mark = 28.0, 48.0  # against 0 for up to 40,960 others
    for head, mark in ((0, document), (1, query)):
        layer.query[head, start, SLOT["one"]] = to_start
        layer.query[head, mark, SLOT["one"]] = to_mark
        layer.fill_query(head, 1.0, math.hypot(to_start, to_mark))

    layer.output[SLOT["in_document"], 0, document] = 1
    layer.output[SLOT["in_query"], 0, document] = -1
    layer.output[SLOT["in_query"], 1, query] = 1
    layer.output[SLOT["in_head"], 1, query] = -1


def copy_word_before(layer: Layer) -> None:
    """Head 2: attend to the token one position back, and copy half of its word.

    Query and key are constants, the query turned back by one position. Their product over d
    positions is a sum of cosines of ``speed * (d - 1)``, which all agree only at d = 1; these ten
    speeds and amplitudes leave every other distance up to 40,960 at least 0.13 below.
    """
    for pair in range(_TURNING):
        amplitude = 1 / 3 if pair == 0 else 2 / 3 / (_TURNING - 1)
        speed = ROPE_THETA ** (-pair / _PAIRS)
        length = math.sqrt(amplitude)
        layer.key[1, pair, SLOT["one"]] = length
        length *= layer.sharpness
        layer.query[2, pair, SLOT["one"]] = length * math.cos(speed)
        layer.query[2, pair + _PAIRS, SLOT["one"]] = -length * math.sin(speed)

    code, start, thought = range(HALF), HALF, HALF + 1
    word, before = _columns("word"), _columns("before")
    layer.value[1, code, word[HALF:]] = 1
    layer.value[1, start, SLOT["start"]] = 1
    layer.value[1, thought, SLOT["thought"]] = 1
    layer.output[before, 2, code] = 1
    layer.output[SLOT["is_role"], 2, start] = 1
    layer.output[SLOT["after_thought"], 2, thought] = 1


# --- Layer 2: was my word asked for? ---------------------------------------------------------

_SECTION_LENGTH = 5.0
"""Length of a section in a key, beside a code of length sqrt(CODE)."""
_KEY_LENGTH = math.sqrt(CODE + _SECTION_LENGTH**2)


def was_i_asked_for() -> Layer:
    """Compare words and pairs of words, and close the tokens that do not count."""
    layer = Layer(sharpness=144.0, norm=NORM + HALF)
    write_keys(layer)
    find_in_query(layer, 0, "asked")
    find_in_query(layer, 2, "asked_pair")
    count_occurrences(layer)
    measure_length(layer)
    close_tokens(layer)
    return layer


def write_keys(layer: Layer) -> None:
    """The keys of words (0) and of pairs (1), both with their section; values are 1.

    <|im_start|> has no word and is where a head looks that finds none: its value is 0.
    """
    for head in (0, 1):
        layer.key[head, _CODE, _content(head)] = 1
        for name, channel in _SECTIONS.items():
            layer.key[head, channel, SLOT[name]] = _SECTION_LENGTH
        layer.key[head, _START, SLOT["start"]] = 256.0  # dwarfs its section
        layer.value[head, 0, SLOT["one"]] = 1
        layer.value[head, 0, SLOT["start"]] = -1


def find_in_query(layer: Layer, head: int, result: str) -> None:
    """Heads 0 and 2: attend to the same word, or pair, in the query.

    It has the logit 77 + 20 = 97, against 85 at <|im_start|>, 77 for the same word elsewhere, and
    20 for another word of the query, or up to some 60 where the random codes are alike.
    """
    compare(layer, head, result, "in_query", by_code=77.0, by_section=20.0, to_start=85.0)


def count_occurrences(layer: Layer) -> None:
    """Head 1: attend alike to the word itself, its earlier occurrences, and two <|im_start|>.

    After m occurrences the words' share is ``m / (m + 2)``.
    """
    by_code, by_section = 22.0, 6.25
    same = by_code + by_section
    compare(layer, 1, "seen", "in_document", by_code=by_code, by_section=by_section, to_start=same)


def measure_length(layer: Layer) -> None:
    """Head 3: attend alike to every token of the document, and to <|im_start|> as to 200."""
    token = 8.75
    start = token + math.log(HALF_LENGTH / STARTS)
    compare(layer, 3, "length", "in_document", by_code=0.0, by_section=token, to_start=start)


def compare(
    layer: Layer,
    head: int,
    result: str,
    section: str,
    *,
    by_code: float,
    by_section: float,
    to_start: float,
) -> None:
    """Attend to the same word or pair in a section, or else to <|im_start|>.

    Args:
        layer: the layer.
        head: the query head; heads 0 and 1 see words, 2 and 3 pairs.
        result: the slot for the share of attention that does not go to <|im_start|>.
        section: the section where to look.
        by_code: what the same word adds to the logit.
        by_section: what the section adds.
        to_start: the logit of <|im_start|>.
    """
    key_head = head // (HEADS // KEY_VALUE_HEADS)
    code, at_start = by_code / CODE, to_start / _KEY_LENGTH
    in_section = by_section / _SECTION_LENGTH
    layer.query[head, _CODE, _content(key_head)] = code
    layer.query[head, _SECTIONS[section], SLOT["one"]] = in_section
    layer.query[head, _START, SLOT["one"]] = at_start
    layer.fill_query(head, _KEY_LENGTH, math.hypot(code * math.sqrt(CODE), in_section, at_start))
    layer.output[SLOT[result], head, 0] = 1


def close_tokens(layer: Layer) -> None:
    """The MLP: `closed` and `closed_pair` are 0 for what counts, else positive.

    What counts is in the query, or is the first occurrence in the document of what is. For large
    arguments SiLU is a hinge, max(0, x), which takes away all rounding below its edge.
    """
    hinge, scale, missing = 32.0, 1 / 16, 4.0
    for unit, (asked, closed) in enumerate((("asked", "closed"), ("asked_pair", "closed_pair"))):
        reasons = {
            "one": missing + missing - 2.5,  # 2.5: between the first and second occurrence
            asked: -missing,
            "counts": -missing,
            "seen": 6.0,
            "in_head": missing,
            "is_role": missing,
            "start": -100.0,  # never closed: layer 3 has its own use for it
        }
        for name, amount in reasons.items():
            layer.gate[unit, SLOT[name]] = hinge * amount
        layer.up[unit, SLOT["one"]] = scale / hinge
        layer.down[SLOT[closed], unit] = 1


# --- Layer 3: how much was found? ------------------------------------------------------------


def how_much_was_found() -> Layer:
    """Weigh the open tokens, and add up the answer."""
    layer = Layer(sharpness=32.0, norm=NORM + HALF)
    share_attention(layer, 0, "closed", "words")
    share_attention(layer, 1, "closed_pair", "pairs")
    add_up(layer)
    mind_the_end(layer)
    return layer


def share_attention(layer: Layer, key_head: int, closed: str, result: str) -> None:
    """Attend to open tokens by the weights of their words; how much of that is in the document?

    A token's attention is the exponential of its logit, so the logit is the logarithm of the
    weight. An open key is (weight, fill), of length 1; a closed one is all but (0, 0, closed).
    """
    weight, fill, shut, start = _STILL[:4]
    layer.key[key_head, weight, SLOT["weight"]] = 1
    layer.key[key_head, fill, SLOT["fill"]] = 1
    layer.key[key_head, shut, SLOT[closed]] = 256.0
    layer.key[key_head, start, SLOT["start"]] = 1
    layer.value[key_head, 0, SLOT["counts"]] = 1  # of open tokens, 1 in the document ...
    layer.value[key_head, 0, SLOT["in_query"]] = -1  # ... and 0 in the query and at the start

    head = key_head * (HEADS // KEY_VALUE_HEADS)
    to_shut, to_start = -30.0, math.log(SMOOTHING / STARTS)
    layer.query[head, weight, SLOT["one"]] = WEIGHT_SPAN
    layer.query[head, shut, SLOT["one"]] = to_shut
    layer.query[head, start, SLOT["one"]] = to_start
    layer.fill_query(head, 1.0, math.hypot(WEIGHT_SPAN, to_shut, to_start))
    layer.output[SLOT[result], head, 0] = 1


def add_up(layer: Layer) -> None:
    """The MLP: one unit with an open gate, so that it is linear."""
    gate = 8.0
    terms = {"words": 1.0, "pairs": PAIRS, "length": -LENGTH, "one": -THRESHOLD}
    layer.gate[0, SLOT["one"]] = gate
    for name, factor in terms.items():
        layer.up[0, SLOT[name]] = GAIN * factor / ANSWER_SCALE
    layer.down[SLOT["answer"], 0] = (1 + math.exp(-gate)) / gate  # 1 / SiLU(gate)


def mind_the_end(layer: Layer) -> None:
    """The MLP's other unit: "no" by far, unless this is the blank line after ``</think>``."""
    hinge, penalty = 32.0, 40.0
    layer.gate[1, SLOT["one"]] = hinge * 1.5
    layer.gate[1, SLOT["blank"]] = layer.gate[1, SLOT["after_thought"]] = -hinge
    layer.up[1, SLOT["one"]] = 1 / hinge
    layer.down[SLOT["answer"], 1] = -penalty / ANSWER_SCALE


def _columns(name: str) -> list[int]:
    """The dimensions of a slot, one by one."""
    return list(range(HIDDEN))[SLOT[name]]


def _content(key_head: int) -> list[int]:
    """What a key of layer 2 is about: a word (0), or a pair, half of each of its words (1)."""
    word = _columns("word")
    return [word, word[:HALF] + _columns("before")][key_head]
