import pytest
import torch

from hf_curriculum.encoders.hub import module_of, outputs_of


class Twice(torch.nn.Module):
    """Runs its layer twice; the layer returns a tuple."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.ModuleDict({"layer": Doubled()})

    def forward(self, x):
        for _ in range(2):
            x, _ = self.inner["layer"](x)
        if x.isnan().any():
            raise ValueError("not a number")
        return x


class Doubled(torch.nn.Module):
    def forward(self, x):
        return 2 * x, "weights"


def test_outputs_are_those_of_each_run_of_the_layer_and_of_the_block_alone():
    model = Twice()
    with outputs_of(model, "inner.layer") as outputs:
        model(torch.ones(1))
    model(torch.ones(1))
    assert [output.item() for output in outputs] == [2, 4]


def test_no_hook_stays_on_the_model_after_an_error():
    model = Twice()
    with pytest.raises(ValueError, match="not a number"), outputs_of(model, "inner.layer"):
        model(torch.tensor([torch.nan]))
    assert not module_of(model, "inner.layer")._forward_hooks


def test_a_layer_that_there_is_not_is_named_by_its_argument_with_some_that_there_are():
    message = r"^feature_layer 'head' is not a module of Twice; some are \['inner', 'inner.layer'\]"
    with pytest.raises(ValueError, match=message):
        module_of(Twice(), "head", "feature_layer")
    with pytest.raises(ValueError, match="^layer 'head' is not"), outputs_of(Twice(), "head"):
        pass
