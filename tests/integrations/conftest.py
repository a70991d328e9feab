"""Trainers without a network, and torch.compile without processes of its own."""

import os

# Read by huggingface_hub when it is imported.
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TRANSFORMERS_VERBOSITY="error")
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
