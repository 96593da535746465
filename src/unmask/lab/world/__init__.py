"""A small made-up world: its language, the documents of its people, and transformers that grow up on them."""
