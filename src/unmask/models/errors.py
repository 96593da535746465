"""The one error that the models room raises on what a user gave it."""


class ModelError(ValueError):
    """A model, adapter, tokenizer or text that cannot be used.

    The message is one sentence a user can act on: what was wrong, what was expected, what to do.
    """


class NotFinite(ModelError):
    """A model whose activations or log-probabilities are not finite, by its weights or by an edit."""
