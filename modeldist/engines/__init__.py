"""Plugins of inference engines: a model's reference where the engine takes a name.

May import streaming and agent and what those may; imports the engine inside functions, so that the room can be looked
at without it.

    vllm_plugin.py       what vLLM calls in each of its processes: `--load-format modeldist`
    vllm_interface.py    what is used of vLLM, looked at first
    vllm_loader.py       the loader of that format, over one of vLLM's own
    options.py           what --model-loader-extra-config may say, and what is handed on to workers in it
    sglang_plugin.py     what SGLang calls in each of its processes: `--model-path modeldist://REF`
    sglang_weights.py    weights for those of them that load
    early.py             a model whose engine starts before its weights are here
    arriving_weights.py  and those weights, in the engine's order
    versions.py          a reference of an engine's two words, model and revision: pure
"""
