"""The files that a reference stands for: finding, checking, hashing, converting and caching them."""
