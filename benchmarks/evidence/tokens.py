"""Text as numbers: word pieces, learned from the training split."""

import numpy as np
from numpy.typing import NDArray
from tokenizers import BertWordPieceTokenizer

PAD, MASK = 0, 4
SPECIAL = 5
"""The first number that is a piece of text."""
VOCABULARY = 4000
_LENGTH = 64


def learn_pieces(texts: list[str]) -> BertWordPieceTokenizer:
    """A tokenizer of 4,000 lower-case word pieces; texts are cut at, or filled to, 64."""
    learned = BertWordPieceTokenizer()
    learned.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    special = [learned.id_to_token(number) for number in range(SPECIAL)]
    # Training numbers pieces of equal counts anew in each process, and so would each give them other initial weights.
    numbered = [*special, *sorted(set(learned.get_vocab()) - set(special))]
    tokenizer = BertWordPieceTokenizer({piece: number for number, piece in enumerate(numbered)})
    tokenizer.enable_truncation(_LENGTH)
    tokenizer.enable_padding(pad_id=PAD, length=_LENGTH)
    return tokenizer


def numbers(tokenizer: BertWordPieceTokenizer, texts: list[str]) -> NDArray[np.int16]:
    """Token numbers, int16, shape ``(n, 64)``; no token stands for a whole text."""
    return np.array([encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)], np.int16)
