"""What a program does with transformers, of whichever release: `python with_transformers.py REPO`. Prints JSON.

The model is a real one. `AutoModel` needs torch; without it the weights are read from the same file by safetensors.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer
from transformers.utils import cached_file

TEXT = "Each byte leaves the hub once."

repo = sys.argv[1]
config = AutoConfig.from_pretrained(repo)
tokens = AutoTokenizer.from_pretrained(repo)(TEXT)["input_ids"]
said = {"model_type": config.model_type, "hidden_size": config.hidden_size, "tokens": tokens}
if find_spec("torch"):
    import torch
    from transformers import AutoModel

    with torch.no_grad():
        hidden = AutoModel.from_pretrained(repo)(input_ids=torch.tensor([tokens])).last_hidden_state
    said["hidden"] = list(hidden.shape)
weights = Path(cached_file(repo, "model.safetensors"))
said["weights"] = hashlib.sha256(weights.read_bytes()).hexdigest()
print(json.dumps(said))
