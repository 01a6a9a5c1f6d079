"""``report``: tables, figures and a page of what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpm_eval import present
from ddpm_eval.paths import expanded
from ddpm_eval.record import disk
from ddpm_eval.record.record import Measurement, Record
from ddpm_train.errors import FixableError


def report(
    results: Measurement | str | Path | Sequence[Measurement | str | Path],
    folder: str | Path,
    *,
    compare: bool = False,
) -> Path:
    """Write tables, figures and a page, and give the page's path.

    Args:
        results: Measurements, which are added to the record in the folder; or the folders of
            records, whose runs then stand side by side.
        folder: Where the files go.
        compare: Of two records: say what differs, and whether chance explains it.

    Raises:
        FixableError: There is nothing to write about, or the folder holds a record of another
            model.

    >>> import ddpm_eval as de, tempfile, torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> model = de.wrap(Nothing(), schedule=[0.02, 0.2, 0.7], image_shape=(1, 8, 8))
    >>> result = de.bits_per_dim(model, de.images("digits", split="test"), n=20)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     de.report([result], folder).name
    'report.html'
    """
    several = isinstance(results, Sequence) and not isinstance(results, str)
    items: Any = results if several else [results]
    target = expanded(folder, "folder")
    fresh = [item for item in items if isinstance(item, Measurement)]
    places = [expanded(item, "results") for item in items if not isinstance(item, Measurement)]
    if not items or (fresh and places):
        raise FixableError(
            f"results: {len(fresh)} measurements and {len(places)} records",
            "give measurements, or the folders of records",
        )
    for measurement in fresh:
        disk.add(target, without_models(measurement), models_of(measurement))
    records = [_named(place) for place in places or [target]]
    if compare and len(records) != 2:
        raise FixableError(f"compare=True: {len(records)} records", "give the folders of two")
    return present.render(records, target, compare=compare)[0]


def models_of(measurement: Measurement) -> dict[str, Mapping[str, Any]]:
    """Give what is known of the model that was measured, by its digest."""
    digest = measurement.protocol.model
    models: Any = measurement.provenance.get("models", {})
    return {digest: models.get(digest, {})}


def without_models(measurement: Measurement) -> Measurement:
    """Leave out of a measurement's origin what the record keeps of models in one place."""
    origin = {key: value for key, value in measurement.provenance.items() if key != "models"}
    return replace(measurement, provenance=origin)


def _named(folder: Path) -> Record:
    return replace(disk.load(folder), name=folder.resolve().name)
