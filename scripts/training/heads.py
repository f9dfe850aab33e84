"""The MTP heads as the engine runs them, for all places of a row at once.

When the engine drafts (`common/speculative.cpp`), the first head sees the trunk's states. The
next one sees the token just drafted with the first head's state, the third its predecessor's too;
for everything before the drafts every head has keys and values of the trunk's states. A head
trained on anything else meets other keys in the engine than it learned to use.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.model import Bank, LanguageModel, Rows, visible


def chain(model: LanguageModel, rows: Rows, states: Tensor) -> list[Tensor]:
    """Run the heads over rows whose trunk states [b, n, h] are known.

    Returns a list of [b, n, h]: of head k at place t, its state when token t is the k-th that was
    drafted (all of them rightly). It expects token t + 1.
    """
    embedded, reading = model.embed(rows), model.read(rows)
    seen, near = visible(rows, model.geometry.window)
    distance = rows.positions[:, :, None] - rows.positions[:, None, :]
    # The place before each token; where a branch begins, it is the end of what branches share.
    previous = (seen & (distance == 1)).to(states.dtype)
    levels, outs = [previous @ states], list[Tensor]()
    for head in range(model.geometry.mtp_layers):
        # Level 0 is the trunk's state, level i + 1 that of head i.
        inputs = [model.head_input(head, embedded, level) for level in levels]
        masks = [near & (distance >= head)]
        masks += [near & (distance == head - level) for level in range(1, head + 1)]
        bank = Bank(torch.cat(inputs, 1), torch.cat(masks, -1)[:, None])
        outs.append(model.head_block(head, inputs[-1], reading, bank))
        levels.append(previous @ outs[-1])
    return outs
