"""The weights of a checkpoint, under whatever names they were saved."""

from transformers import PreTrainedModel


def renames_weights(model: object) -> bool:
    """Whether ``save_pretrained`` saves weights of this model under other names than it has: those of the Hub."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:  # transformers 4
        return False
    with_adapters = getattr(model, "_hf_peft_config_loaded", False)  # these alone are saved
    if with_adapters or not isinstance(model, PreTrainedModel):
        return False
    return bool(get_model_conversion_mapping(model, add_legacy=False))


def load_weights(model: PreTrainedModel, checkpoint: str) -> None:
    """Give ``model`` all weights of a checkpoint; ``from_pretrained`` knows their names.

    Raises:
        RuntimeError: If the weights have other shapes.
    """
    model.load_state_dict(type(model).from_pretrained(checkpoint).state_dict())
