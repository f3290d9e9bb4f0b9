"""Encoders as the tests call them."""

from hf_curriculum.embedding.forward import Forward
from hf_curriculum.encoders.resolve import Options, load_encoder


def encoder(model_id, dataset, input_column=None, **options):
    """Rows and a batch size to vectors, as the rooms above the encoders do it."""
    found, _ = load_encoder(model_id, dataset, Options(**options), input_column)
    forward = Forward(found, "float32")

    def embed(rows, batch_size):
        return forward(found.prepare([found.read(row) for row in rows], batch_size), len(rows))

    embed.record = found.record
    return embed


def vectors_of(dataset, column="embedding"):
    """The embeddings of a dataset as an array."""
    return dataset.with_format("numpy", columns=[column])[:][column]
