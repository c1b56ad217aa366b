"""trajnb: does keeping the tool-use trajectory teach a model, or only give it more to read?"""

import logging
import warnings

__version__ = "0.1.0"

# Notes of other packages on optional extras, which would stand in every executed notebook.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="IProgress not found")
# And of transformers on what 6 calls otherwise: 5.0 does not know the new name, and peft asks by the old.
warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
