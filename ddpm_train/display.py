"""What ``ddpm-train`` shows of a run: a bar, plain lines, lines of JSON or nothing."""

import json
from typing import TYPE_CHECKING, Any

from ddpm_train.classifier_run import ClassifierRun
from ddpm_train.config import RunConfig
from ddpm_train.meter import Meter
from ddpm_train.terminal import escape, is_first_process, output, say

if TYPE_CHECKING:
    from ddpm_train.events import Event, Stepped


class Display:
    """Turns the events of a run into a bar, plain lines, lines of JSON or silence."""

    def __init__(self, config: RunConfig | ClassifierRun, *, quiet: bool, json_lines: bool) -> None:
        self.config, self.json_lines = config, json_lines
        self.silent = quiet or json_lines or not is_first_process()
        self.meter = Meter(config.preset, config.optim.steps, quiet=self.silent)

    def __enter__(self) -> None:
        self.meter.__enter__()

    def __exit__(self, *error: object) -> None:
        self.meter.__exit__(*error)

    def __call__(self, event: "Event") -> None:
        """Show one event."""
        name = type(event).__name__.lower()
        if self.json_lines and is_first_process():
            fields = {field: getattr(event, field) for field in event.__slots__}
            say(escape(json.dumps({"event": name, **fields}, default=str)), to=output)
        elif not self.silent:
            text = getattr(self, f"_{name}")(event)
            if text:
                say(text)

    def _stepped(self, event: "Stepped") -> str:
        note = (
            f"loss {event.loss:.4f}  lr {event.lr:.1e}  grad {event.grad_norm:.2f}  "
            f"{event.images_per_second:.1f} images/s"
        )
        self.meter.move(event.step, note)
        return ""

    def _resumed(self, event: Any) -> str:
        self.meter = Meter(self.config.preset, self.config.optim.steps, begin=event.step)
        return f"resuming from step {event.step:,} ({escape(str(event.path))})"

    def _warned(self, event: Any) -> str:
        return f"[yellow]warning:[/] {escape(event.text)}"

    def _saved(self, event: Any) -> str:
        return f"saved {escape(str(event.path))} in {event.seconds:.1f} s"

    def _sampled(self, event: Any) -> str:
        return f"sampled {escape(str(event.path))}"

    def _ended(self, event: Any) -> str:
        if event.complete:
            return f"complete at step {event.step:,}"
        return f"stopped at step {event.step:,}; rerun the same command to go on"
