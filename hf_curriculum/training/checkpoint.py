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

    Args:
        model: Gets them.
        checkpoint: Its folder.

    Raises:
        TypeError: If the class of the model takes more than the config: ``from_pretrained`` cannot make another one.
        RuntimeError: If the weights have other shapes.
    """
    try:
        saved = type(model).from_pretrained(checkpoint)
    except TypeError as error:
        raise TypeError(
            f"Some weights in {checkpoint} have other names than in the model. To read them, {type(model).__name__} "
            f"is made from its config alone, which fails: {error}. Give the constructor's other arguments defaults."
        ) from error
    model.load_state_dict(saved.state_dict())
