"""Names of the tensors of an EfficientNet: from those of L. Melas-Kyriazi's code, which many files have, to timm's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_BLOCK = re.compile(r"^_blocks\.(\d+)\.(_\w+)\.(.+)$")
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Of a block that widens its input first, and of one that does not (the first of a network).
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}


def to_timm(state: Mapping[str, Tensor], own: Iterable[str]) -> Mapping[str, Tensor]:
    """The tensors by timm's names; ``own`` are the names of the network, which say how many blocks a stage has.

    A block here has a number in the whole network, in timm one in its stage. Names that are not known stay, and so does
    a state in which none is.
    """
    if not any(name.startswith("_blocks.") for name in state):
        return state
    places = sorted(
        {(int(m[1]), int(m[2])) for name in own if (m := re.search(r"blocks\.(\d+)\.(\d+)\.", name))}
    )
    widening = {int(m[1]) for name in state if (m := _BLOCK.match(name)) and m[2] == "_expand_conv"}

    def renamed(name: str) -> str:
        block = _BLOCK.match(name)
        if block is None:
            first, _, rest = name.partition(".")
            return f"{_OUTSIDE.get(first, first)}.{rest}"
        number, layer, rest = int(block[1]), block[2], block[3]
        table = _SQUEEZE | (_INVERTED if number in widening else _SEPARABLE)
        if number >= len(places) or layer not in table:
            return name
        stage, index = places[number]
        return f"blocks.{stage}.{index}.{table[layer]}.{rest}"

    return {renamed(name): tensor for name, tensor in state.items()}
