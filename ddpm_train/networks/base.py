"""What every network of images has in common."""

import torch
from torch import Tensor, nn

from ddpm_train.errors import FixableError


class ImageNetwork(nn.Module):
    """A pure function (x, t, condition=None, keep=None) -> output, as ``UNet.forward`` has it.

    Attributes:
        classes: The number of classes; 0: it takes no labels.
        dropout_elements: The length of a row of ``keep``; 0: it has no dropout.
    """

    classes: int = 0
    dropout_elements: int = 0


def check_condition(condition: Tensor | None, classes: int) -> None:
    """Refuse labels that a network would ignore or has not, and missing ones.

    Labels on an accelerator are not looked at: that would synchronise with it.

    Raises:
        FixableError: They do not fit.
    """
    if condition is None:
        if classes:
            raise FixableError(
                "condition=None: this network was trained with classes",
                f"give each image a label from 0 to {classes - 1}",
            )
    elif not classes:
        raise FixableError("condition: this network has no classes", "give no labels")
    elif condition.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(condition.min()), int(condition.max())
        if not 0 <= low <= high < classes:
            raise FixableError(
                f"condition: labels {low}..{high} for {classes} classes",
                f"give labels from 0 to {classes - 1}",
            )
