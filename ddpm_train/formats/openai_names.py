"""Names of improved-diffusion and guided-diffusion to ours.

Blocks are numbered straight through, ``input_blocks.n.m`` down and ``output_blocks.n.m`` up. Each
level has as many numbers as blocks, and one more: down for what halves the size, which has no
weights if it is a mean; up for the block that takes the level's first output.
"""

import re
from collections.abc import Iterable

from ddpm_train.errors import FixableError
from ddpm_train.formats.canonical import Rules, rename
from ddpm_train.weights import Tensors

RULES: Rules = [
    (r"^time_embed\.0\.", "time_dense_0."),
    (r"^time_embed\.2\.", "time_dense_1."),
    (r"^label_emb\.", "labels."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^middle_block\.0\.", "middle.block_0."),
    (r"^middle_block\.1\.", "middle.attention."),
    (r"^middle_block\.2\.", "middle.block_1."),
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".temb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".shortcut."),
    (r"\.proj_out\.", ".proj."),
]
OUT: Rules = [(r"^out\.0\.", "norm_out."), (r"^out\.2\.", "conv_out.")]
"""Of a U-Net; a classifier has other layers there."""


def canonical(theirs: Tensors, out: Rules = OUT) -> Tensors:
    """Rename the weights of a U-Net or a classifier.

    Raises:
        FixableError: The blocks are not those of such a network.
    """
    period = numbers_per_level(theirs)
    inputs = numbers(theirs, r"^input_blocks\.(\d+)\.")
    top = max(inputs, default=0) // period

    def below(match: re.Match[str]) -> str:
        level, i = divmod(int(match[1]), period)
        if not i:
            return f"down.{level - 1}.downsample."
        kind = "blocks" if match[2].startswith("0") else "attentions"
        return f"down.{level}.{kind}.{i - 1}."

    def above(match: re.Match[str]) -> str:
        level, i = divmod(int(match[1]), period)
        if match[2] == "conv.":
            return f"up.{top - level}.upsample."
        return f"up.{top - level}.{'blocks' if match[2] == '0.' else 'attentions'}.{i}."

    def enlarging(match: re.Match[str]) -> str:
        return f"up.{top - int(match[1]) // period}.upsample."

    flat: Rules = [
        (r"^input_blocks\.([1-9]\d*)\.(0\.op\.|\d\.)", below),
        (r"^output_blocks\.(\d+)\.[12]\.(?=(?:in|emb|out)_layers\.)", enlarging),
        (r"^output_blocks\.(\d+)\.(?:\d\.(?=conv\.))?(conv\.|\d\.)", above),
    ]
    return rename(theirs, [*flat, *RULES, *out])


def numbers(names: Iterable[str], pattern: str) -> set[int]:
    """The running numbers of the names that a pattern finds."""
    matches = (re.search(pattern, name) for name in names)
    return {int(match[1]) for match in matches if match}


def numbers_per_level(names: Iterable[str]) -> int:
    """How many running numbers a level has: its blocks, and one more.

    >>> numbers_per_level(["input_blocks.1.0.x", "input_blocks.2.0.op.weight"])
    2
    >>> numbers_per_level(["input_blocks.1.0.x", "input_blocks.3.0.x"])
    2

    Raises:
        FixableError: The names do not tell.
    """
    names = list(names)
    inputs = numbers(names, r"^input_blocks\.(\d+)\.") | {0}
    outputs = numbers(names, r"^output_blocks\.(\d+)\.")
    halving = numbers(names, r"^input_blocks\.(\d+)\.0\.op\.")
    if halving:
        return max(1, min(halving))
    gaps = set(range(max(inputs))) - inputs
    if gaps:
        return min(gaps)
    ends = numbers(names, r"^output_blocks\.(\d+)\.[12]\.in_layers\.")
    if ends:
        return min(ends) + 1
    if outputs:
        return len(outputs)
    return _period_of_encoder(names, len(inputs))


def _period_of_encoder(names: list[str], count: int) -> int:
    """Find the period at which blocks have no attention and change no channels.

    Raises:
        FixableError: None fits, or several do.
    """
    attends = numbers(names, r"^input_blocks\.(\d+)\.1\.")
    widens = numbers(names, r"^input_blocks\.(\d+)\.0\.skip_connection\.")

    def fits(period: int) -> bool:
        levels = [range(first + 1, first + period) for first in range(0, count, period)]
        between = set(range(period, count, period))
        firsts = {level[0] for level in levels}
        whole = all(len(attends & set(level)) in (0, len(level)) for level in levels)
        return whole and not between & attends and widens <= firsts

    fitting = [period for period in range(2, count + 1) if count % period == 0 and fits(period)]
    if len(fitting) != 1:
        raise FixableError(
            f"{count} input blocks, and it is not clear which of them end a level",
            "use the file as guided-diffusion wrote it",
        )
    return fitting[0]
