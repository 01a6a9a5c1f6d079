"""``report``: tables, figures and a page of what was measured."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpm_eval import present
from ddpm_eval.paths import expanded
from ddpm_eval.record import disk
from ddpm_eval.record.identity import related
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
        results: Measurements, which are added to the record in the folder; those of several models
            or images to a record for each inside it. Or the folders of records. Several records
            stand side by side.
        folder: Where the files go.
        compare: Of two records: say what differs, and whether chance explains it.

    Raises:
        FixableError: There is nothing to write about, the folder holds a record of another model,
            or one where several are to stand inside.

    >>> import ddpm_eval as de, tempfile
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
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
    records = [_named(place) for place in places or _recorded(fresh, target)]
    if compare and len(records) != 2:
        raise FixableError(f"compare=True: {len(records)} records", "give the folders of two")
    return present.render(records, target, compare=compare)[0]


def _recorded(measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    """Add measurements to records: one in the folder, or one inside it for each subject."""
    groups: list[tuple[dict[str, Any], list[Measurement]]] = []
    for measurement in measurements:
        subjects = models_of(measurement)
        group = next((group for group in groups if related(group[0], subjects)), None)
        if group is None:
            groups.append(group := ({}, []))
        group[0].update(subjects)
        group[1].append(measurement)
    if len(groups) > 1 and disk.exists(folder):
        raise FixableError(f"{folder}: a record lies there", "name another folder")
    places = []
    for subjects, members in groups:
        place = folder
        if len(groups) > 1:
            place = folder / disk.place(folder, _plain_name(subjects), subjects)
        for measurement in members:
            disk.add(place, without_models(measurement), models_of(measurement))
        places.append(place)
    return places


def _plain_name(subjects: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of a record of these models or images, as a folder may be called."""
    facts = next((facts for facts in subjects.values() if facts), {})
    name = (facts.get("run") or {}).get("preset") or Path(str(facts.get("file", ""))).stem
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "model"


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
