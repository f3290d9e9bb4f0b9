"""Prepared rows through an encoder, and windows of them one behind the other."""

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch.utils._python_dispatch import TorchDispatchMode

from hf_curriculum.embedding.forward import Forward
from hf_curriculum.embedding.prefetch import one_behind
from hf_curriculum.embedding.rows import PreparedRows
from hf_curriculum.encoders import Prepared
from hf_curriculum.encoders.base import Batch


class Encoder:
    """A linear layer of the inputs."""

    ready = False

    def __init__(self, width=8):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(width, 5)

    def encode(self, inputs):
        return self.model(inputs)


def batch(positions, weights, seed=0):
    inputs = torch.randn(len(positions), 8, generator=torch.Generator().manual_seed(seed))
    return Batch(inputs, np.array(positions), np.array(weights, np.float32))


def test_a_row_of_one_input_has_its_vector_to_the_last_bit_whatever_it_weighs():
    encoder = Encoder()
    batches = [batch([3, 0], [3, 7], 1), batch([1, 2], [0.1, 49], 2)]
    found = Forward(encoder, "float32")(Prepared(batches), 4)
    with torch.no_grad():
        expected = torch.cat([encoder.model(some.inputs) for some in batches])
    np.testing.assert_array_equal(found[[3, 0, 1, 2]], expected)
    assert found.dtype == np.float32


def test_a_row_of_several_inputs_has_their_weighted_mean():
    encoder = Encoder()
    some = batch([1, 0, 1, 2], [2, 5, 6, 1])
    found = Forward(encoder, "float32")(Prepared([some]), 3)
    vectors = encoder.model(some.inputs).detach().double().numpy()
    expected = [vectors[1], (2 * vectors[0] + 6 * vectors[2]) / 8, vectors[3]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_started_pass_has_the_weights_of_its_start():
    """A GPU goes on by itself; what is asked for later is what was started."""
    encoder = Encoder()
    forward, prepared = Forward(encoder, "float32"), Prepared([batch([0, 1], [1, 1])])
    expected = forward(prepared, 2)
    started = forward.start(prepared, 2)
    with torch.no_grad():
        encoder.model.weight.zero_()
    np.testing.assert_array_equal(started(), expected)


class Casts(TorchDispatchMode):
    """Counts what brings the weight of the layer to 16 bits."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._to_copy.default and args[0].shape == (5, 8)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("hooked", [False, True])
def test_weights_are_brought_to_16_bits_once_a_window_unless_they_come_anew_each_time(hooked):
    encoder = Encoder()
    if hooked:  # as under device_map: to keep copies of all weights would fill the memory that they do not fit in
        add_hook_to_module(encoder.model, ModelHook())
    forward, prepared = Forward(encoder, "bfloat16"), Prepared([batch([row], [1], row) for row in range(6)])
    with Casts() as casts:
        found = forward(prepared, 6)
    assert casts.count == (6 if hooked else 1)
    expected = torch.cat([encoder.model(some.inputs) for some in prepared.batches]).detach()
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_each_item_comes_once_the_next_is_made_and_before_an_error():
    made = []

    def items():
        for item in "abc":
            made.append(item)
            yield item
        raise RuntimeError("no d")

    behind = one_behind(items())
    assert next(behind) == "a" and made == ["a", "b"]
    assert next(behind) == "b" and made == ["a", "b", "c"]
    assert next(behind) == "c"
    with pytest.raises(RuntimeError, match="no d"):
        next(behind)
    assert list(one_behind("xyz")) == ["x", "y", "z"] and not list(one_behind(""))


def test_arrays_and_tensors_of_any_batch_are_pinned_and_nothing_else(monkeypatch):
    """Tokenizers give arrays. Without a GPU nothing can be pinned: what is asked for is seen, where it goes is not."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append(tensor) or tensor)
    tokens, pixels, texts = np.arange(6).reshape(2, 3), torch.ones(2, 4), ["a", "b"]
    given = [{"input_ids": tokens, "mask": {"inner": tokens + 1}}, pixels, texts]
    batches = [Batch(inputs, np.arange(2), np.ones(2, np.float32)) for inputs in given]
    pinned = PreparedRows(2, [0, 1], {}, Prepared(batches)).pin_memory().prepared.batches
    assert pinned[0].inputs["input_ids"].equal(torch.from_numpy(tokens))
    assert pinned[0].inputs["mask"]["inner"].equal(torch.from_numpy(tokens + 1))
    assert pinned[1].inputs is pixels and pinned[2].inputs is texts
    assert len(asked) == 3
