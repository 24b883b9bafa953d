"""What one rank of a parallel deployment reads of each tensor: the table, and how its entries turn into rows.

The rules follow vLLM's loaders, with SGLang's where they read more (sources in docs/adr on rank rules). They err on one
side only: a tensor, a name, a shape or a config that is not known is read whole, by every rank. Out of scope, so that
such deployments must not select by rank: experts moved or doubled at run time (EPLB), layers divided by hand
(VLLM_PP_LAYER_PARTITION), round-robin placement of experts, attention that is data-parallel inside a `tp` group.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from modelpack.plan.files import Ranges
from modelpack.plan.model_shape import ModelShape
from modelpack.plan.rank import Rank, Slot
from modelpack.tensors.entries import TensorEntry

# --- Names ---

_MODEL = r"(?:(?:model|language_model|transformer)\.)*"  # of the language model; a vision tower has other names
_LAYER = re.compile(_MODEL + r"(?:layers|h|blocks)\.(\d{1,6})\.(.+)", re.ASCII)
_EMBEDDING = re.compile(_MODEL + r"(?:embed_tokens|wte|word_embeddings|tok_embeddings)\.weight")
_OUTPUT = re.compile(_MODEL + r"(?:lm_head|output)\.weight")
_LAST_NORM = re.compile(_MODEL + r"(?:norm|ln_f|final_layernorm)\.(?:weight|bias)")
_EXPERT = re.compile(r"(?:.+\.)?experts\.(\d{1,6})\..+\.?(?:weight|weight_packed|qweight)", re.ASCII)
_ALL_EXPERTS = re.compile(r"(?:.+\.)?experts\.[a-z_0-9]+", re.ASCII)

Division = Literal["heads", "kv_heads", "rows", "qkv", "halves", "vocabulary"]

TENSOR_PARALLEL: tuple[tuple[str, Division], ...] = (
    # name within a layer                                                  its rows are divided by
    (r"self_attn\.(?:q_proj|q_b_proj|kv_b_proj)\.weight", "heads"),
    (r"attention\.wq\.weight", "heads"),
    (r"self_attn\.[kv]_proj\.weight", "kv_heads"),  # a head goes to several ranks where there are fewer heads
    (r"attention\.w[kv]\.weight", "kv_heads"),
    (r"self_attn\.qkv_proj\.weight", "qkv"),  # q, k and v one below the other, each divided as it would be alone
    (r"mlp\.(?:gate_proj|up_proj)\.weight", "rows"),
    (r"feed_forward\.(?:w1|w3)\.weight", "rows"),
    (r"mlp\.gate_up_proj\.weight", "halves"),
    (r"(?:mlp|block_sparse_moe|feed_forward)\.experts\.\d+\.(?:gate_proj|up_proj|w1|w3)\.weight", "rows"),
)
"""Column-parallel tensors. Whole: o_proj, down_proj and w2 (a rank's columns lie apart in every row), norms, biases and
scales (small), shared experts (replicated by some deployments), everything else."""

_TENSOR_PARALLEL = tuple((re.compile(pattern, re.ASCII), division) for pattern, division in TENSOR_PARALLEL)
_VOCABULARY_PADDING = (1, 64, 256)  # rows; vLLM and SGLang pad to 64, with LoRA to 256, others not
_ROW_DTYPES = frozenset({"F64", "F32", "F16", "BF16", "I8", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})


class RankRules:
    """The rules for one rank of one model. `experts`: how many there are, 0 where that is not certain."""

    def __init__(self, rank: Rank, model: ModelShape, *, experts: int = 0, output_layer: bool = False) -> None:
        """`output_layer`: whether the model has a tensor of its own for it."""
        self._tp = rank.tp if model.sliceable else None
        self._pp = rank.pp if model.layers >= (rank.pp.size if rank.pp else 0) and not model.encoder_decoder else None
        self._ep = rank.ep if experts else None
        self._shares_experts = rank.ep is not None
        self._experts = experts
        self._model = model
        self._embedding_is_output = model.tied or model.drafts or not output_layer

    def notes(self, rank: Rank) -> tuple[str, ...]:
        """What of the rank decides nothing, because the model does not say enough."""
        found = []
        if rank.tp and self._tp is None:
            found.append(
                "Tensors are taken whole: there is no config.json, or it quantises so that rows are not outputs."
            )
        elif rank.tp and not self._model.heads:
            found.append("Attention is taken whole: config.json does not say how many heads there are.")
        elif rank.tp and self._model.heads % rank.tp.size:
            found.append(
                f"Attention is taken whole: {rank.tp.size} ranks cannot share {self._model.heads} heads evenly."
            )
        if rank.pp and self._pp is None:
            found.append("Layers of all stages are taken: config.json does not say how many there are to divide.")
        if rank.ep and self._ep is None:
            found.append(
                "All experts, if there are any, are taken: config.json and the tensors do not say how many there are."
            )
        return tuple(found)

    def ranges(self, tensor: TensorEntry) -> Ranges:
        """The bytes of the file that this rank reads of `tensor`, apart and ascending; none where it reads nothing."""
        found = _LAYER.fullmatch(tensor.name)
        if self._elsewhere(tensor.name, int(found[1]) if found else None, found[2] if found else ""):
            return ()
        if found and self._ep and (mine := self._experts_of(tensor, found[2], self._ep)) is not None:
            return mine
        return self._slices(tensor, found[2] if found else "") if self._tp else ((tensor.start, tensor.stop),)

    # --- pipeline parallel ---

    def _elsewhere(self, name: str, layer: int | None, inside: str) -> bool:
        """Whether only other stages of the pipeline load it."""
        if self._pp is None:
            return False
        if layer is not None:
            mine = stage_layers(self._model.layers, self._pp)
            return layer < self._model.layers and layer not in mine and not inside.startswith("shared_transformer.")
        first, last = self._pp.rank == 0, self._pp.rank == self._pp.size - 1
        if _EMBEDDING.fullmatch(name):
            return not (first or (last and self._embedding_is_output))
        return not last and bool(_OUTPUT.fullmatch(name) or _LAST_NORM.fullmatch(name))

    # --- expert parallel ---

    def _experts_of(self, tensor: TensorEntry, inside: str, slot: Slot) -> Ranges | None:
        """None: it is no expert's, or one that every rank reads."""
        mine = rank_experts(self._experts, slot)
        if found := _EXPERT.fullmatch(inside):
            return ((tensor.start, tensor.stop),) if int(found[1]) in mine else ()
        if _ALL_EXPERTS.fullmatch(inside) and len(tensor.shape) > 1 and tensor.shape[0] == self._experts:
            return _rows(tensor, [(mine.start, mine.stop)])
        return None

    # --- tensor parallel ---

    def _slices(self, tensor: TensorEntry, inside: str) -> Ranges:
        assert self._tp is not None
        whole: Ranges = ((tensor.start, tensor.stop),)
        division = self._division(tensor.name, inside)
        if division is None or len(tensor.shape) != 2 or tensor.dtype not in _ROW_DTYPES:
            return whole
        rows = _DIVISIONS[division](tensor.shape[0], self._tp, self._model)
        return whole if rows is None else _rows(tensor, rows)

    def _division(self, name: str, inside: str) -> Division | None:
        if not inside:
            return "vocabulary" if _EMBEDDING.fullmatch(name) or _OUTPUT.fullmatch(name) else None
        if self._shares_experts and ".experts." in f".{inside}":
            return None  # a rank has whole experts then
        return next((division for pattern, division in _TENSOR_PARALLEL if pattern.fullmatch(inside)), None)


# --- How rows are divided: (rows of the tensor, place, model) -> half-open ranges of rows; None: all ---

Rows = list[tuple[int, int]]


def _evenly(rows: int, slot: Slot, _: ModelShape) -> Rows | None:
    if rows % slot.size:
        return None
    each = rows // slot.size
    return [(slot.rank * each, (slot.rank + 1) * each)]


def _by_heads(rows: int, slot: Slot, model: ModelShape) -> Rows | None:
    """Whole heads, whatever rows a head has (a gate beside the query doubles them)."""
    if not model.heads or model.heads % slot.size or rows % model.heads:
        return None
    return _evenly(rows, slot, model)


def _by_kv_heads(rows: int, slot: Slot, model: ModelShape) -> Rows | None:
    """Exactly as many rows as the config says: layers that differ from it in heads would be replicated otherwise."""
    heads = model.kv_heads or model.heads
    if not heads or rows != heads * model.head_dim or (heads % slot.size and slot.size % heads):
        return None
    if heads >= slot.size:
        return _evenly(rows, slot, model)
    each, head = rows // heads, slot.rank // (slot.size // heads)
    return [(head * each, (head + 1) * each)]


def _of_qkv(rows: int, slot: Slot, model: ModelShape) -> Rows | None:
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    if not keys or rows != queries + 2 * keys:
        return None
    parts = (_by_heads(queries, slot, model), _by_kv_heads(keys, slot, model), _by_kv_heads(keys, slot, model))
    found: Rows = []
    for offset, part in zip((0, queries, queries + keys), parts, strict=True):
        if part is None:
            return None
        found += [(offset + start, offset + stop) for start, stop in part]
    return found


def _of_halves(rows: int, slot: Slot, model: ModelShape) -> Rows | None:
    if rows % 2 or (half := _evenly(rows // 2, slot, model)) is None:
        return None
    return [*half, *((rows // 2 + start, rows // 2 + stop) for start, stop in half)]


def _of_vocabulary(rows: int, slot: Slot, _: ModelShape) -> Rows | None:
    """Whatever the rows are padded to before they are divided: what any of the ways gives this rank."""
    starts, stops = [], []
    for padding in _VOCABULARY_PADDING:
        each = -(-rows // padding) * padding / slot.size
        starts.append(int(slot.rank * each))
        stops.append(-int(-(slot.rank + 1) * each // 1))
    start, stop = min(*starts, rows), min(max(stops), rows)
    return [(start, stop)] if start < stop else [(max(rows - 1, 0), rows)]


_DIVISIONS: dict[Division, Callable[[int, Slot, ModelShape], Rows | None]] = {
    "heads": _by_heads,
    "kv_heads": _by_kv_heads,
    "rows": _evenly,
    "qkv": _of_qkv,
    "halves": _of_halves,
    "vocabulary": _of_vocabulary,
}


def _rows(tensor: TensorEntry, rows: Rows) -> Ranges:
    """Rows as bytes of the file; all of it where a row does not begin at a byte."""
    if not tensor.size or tensor.size % tensor.shape[0]:
        return ((tensor.start, tensor.stop),)
    each = tensor.size // tensor.shape[0]
    return tuple((tensor.start + start * each, tensor.start + stop * each) for start, stop in rows if start < stop)


# --- Who has which layers and experts ---


def stage_layers(layers: int, slot: Slot) -> range:
    """The layers of a stage: as many for each, the remainder from the last stage but one backwards, one each
    (vLLM `get_pp_indices`)."""
    each, remainder = divmod(layers, slot.size)
    last = slot.size - 1
    longer = range(last - remainder, last)  # stages with one more
    start = slot.rank * each + max(0, min(slot.rank, last) - longer.start)
    return range(start, start + each + (slot.rank in longer))


def rank_experts(experts: int, slot: Slot) -> range:
    """The experts of a rank, in runs, the first ranks with one more where they do not divide evenly
    (vLLM `determine_expert_map`, linear)."""
    each, remainder = divmod(experts, slot.size)
    start = slot.rank * each + min(slot.rank, remainder)
    return range(start, start + each + (slot.rank < remainder))


# --- What the tensors themselves say ---


def expert_count(tensors: list[TensorEntry], model: ModelShape) -> int:
    """How many experts a layer has, where the config and the tensors' names agree; 0 where they do not."""
    numbers = set()
    for tensor in tensors:
        if (layer := _LAYER.fullmatch(tensor.name)) and (found := _EXPERT.fullmatch(layer[2])):
            numbers.add(int(found[1]))
    if not numbers:
        return model.experts
    return model.experts if len(numbers) == model.experts == max(numbers) + 1 else 0  # a config may say any number


def has_output_layer(tensors: list[TensorEntry]) -> bool:
    return any(_OUTPUT.fullmatch(tensor.name) for tensor in tensors)
