"""The one error that the features room raises on what a user gave it."""


class DictionaryError(ValueError):
    """A sparse autoencoder, crosscoder or corpus that cannot be used.

    The message is one sentence a user can act on: what was wrong, what was expected, what to do.
    """
