"""Models whose truth is known because they were built so."""

import logging

# Training imports bitsandbytes where it is installed, which then tells what it could do with more packages.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
