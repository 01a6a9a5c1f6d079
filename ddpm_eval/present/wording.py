"""What settings, images and values are called in a report."""

from collections.abc import Mapping, Sequence

from ddpm_eval.metrics.registry import definition
from ddpm_eval.record.protocol import ImagesFacts, Json, Protocol, changes
from ddpm_eval.record.record import Record

_NAMES: Mapping[str, str] = {  # settings of a protocol that have a better name than their own
    **{"version": "version of the measure", "other_model": "other model", "clip": "clipping of x̂₀"},
    **{"images.digest": "images", "images.n": "number of images", "images.choice": "choice"},
    **{"images.dataset": "data set", "images.split": "split", "images.seed": "seed of the choice"},
    **{"sampling.n": "number of samples", "sampling.seed": "seed of the samples"},
    **{"sampling.sampler": "sampler", "sampling.steps": "steps", "sampling.T": "T"},
    **{"sampling.clip": "clipping of x̂₀ in samples", "sampling.digest": "samples"},
    **{"sampling.batch": "batch of samples", "sampling.eta": "eta"},
    **{"reference.digest": "reference images", "reference.n": "number of reference images"},
    **{"reference.dataset": "reference", "reference.split": "split of the reference"},
    **{"extractor.name": "feature network", "extractor.digest": "weights of the feature network"},
    "extractor.preprocessing": "resizing before the feature network",
    **{"estimator.budget": "budget", "estimator.target_stderr": "target standard error"},
}
_DIGEST = 8  # letters of a digest that a reader sees


def images(facts: ImagesFacts | None) -> str:
    """Name images: their data set and split.

    >>> images(ImagesFacts(digest="", n=9, dataset="digits", split="train")), images(None)
    ('digits train', 'unnamed images')
    """
    name = "" if facts is None else f"{facts.dataset} {facts.split}".strip()
    return name or "unnamed images"


def preparation(protocol: Protocol) -> str:
    """Say how samples became whole levels, in which batches, and how images reach the network.

    >>> from ddpm_eval.record.protocol import ExtractorFacts, SamplingFacts
    >>> drawn = SamplingFacts(sampler="ddim", steps=5, T=9, seed=0, n=8, batch=64)
    >>> preparation(Protocol(version=1, sampling=drawn))
    'Samples are rounded to whole levels, drawn in batches of 64.'
    >>> network = ExtractorFacts(name="x", digest="", preprocessing="v / 255")
    >>> preparation(Protocol(version=1, extractor=network)), preparation(Protocol(version=1))
    ('Images reach the network so: v / 255.', '')
    """
    texts = []
    if protocol.sampling is not None:
        batch = protocol.sampling.batch
        drawn = "" if batch is None else f", drawn in batches of {batch:,}"
        texts.append(f"Samples are rounded to whole levels{drawn}.")
    if protocol.extractor is not None and protocol.extractor.preprocessing:
        texts.append(f"Images reach the network so: {protocol.extractor.preprocessing}.")
    return " ".join(texts)


def axis(metric: str, label: str = "") -> str:
    """The text beside an axis: a metric's title, or another label, with its unit.

    >>> axis("rmse"), axis("t"), axis("fid", "FD(digits-cnn)")
    ('RMSE (grey levels)', 't', 'FD(digits-cnn)')
    """
    entry = definition(metric)
    name = label or entry.title
    bare = not entry.unit or entry.unit == entry.title.casefold()
    return name if bare else f"{name} ({entry.unit})"


def over(metric: str) -> str:
    """An axis inside a sentence.

    >>> over("training_steps"), over("t")
    ('training steps', 't')
    """
    text = axis(metric)
    return text[:1].lower() + text[1:]


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["FID", "IS", "RMSE"]), listed([])
    ('FID, IS and RMSE', '')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def setting(name: str) -> str:
    """Name a setting of a protocol by its dotted name.

    >>> setting("sampling.steps"), setting("settings.kid_subset"), setting("seed")
    ('steps', 'kid_subset', 'seed')
    """
    return _NAMES.get(name, name.removeprefix("settings."))


def differing(one: Protocol, other: Protocol) -> dict[str, tuple[Json, Json]]:
    """Settings that differ between two protocols, but for the model and what was drawn from it.

    A setting that the protocol names itself, the number of images say, is not named again. Images
    of one digest are the same, whatever people call them.
    """
    pairs = changes(one, other)
    own = {name: pair for name, pair in pairs.items() if not name.startswith("settings.")}
    sides = {
        (leaf(name), i, str(value)) for name, pair in own.items() for i, value in enumerate(pair)
    }
    skipped = {"model", "sampling.digest"}
    for group in ("images", "reference"):
        a, b = getattr(one, group), getattr(other, group)
        if a is not None and b is not None and a.digest == b.digest != "":
            skipped.add(f"{group}.dataset")
    for name in pairs.keys() - own.keys():
        if any((leaf(name), i, str(value)) in sides for i, value in enumerate(pairs[name])):
            skipped.add(name)
    return {name: pair for name, pair in pairs.items() if name not in skipped}


def leaf(name: str) -> str:
    """The last part of a dotted name."""
    return name.rpartition(".")[2]


def text(value: Json) -> str:
    """A value of a setting as text.

    >>> [text(value) for value in (None, True, 800_000, 2e-4, [1, 2], "", "ab" * 32)]
    ['none', 'yes', '800,000', '0.0002', '1, 2', '(empty)', 'abababab…']
    """
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, str):
        is_digest = len(value) == 64 and not value.strip("0123456789abcdef")
        return f"{value[:_DIGEST]}…" if is_digest else value or "(empty)"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(item)}" for name, item in sorted(value.items()))
    if isinstance(value, Sequence):
        return ", ".join(map(text, value))
    return f"{value:,}" if isinstance(value, int) else repr(value)


def model(record: Record, digest: str) -> str:
    """Name a model: by its training step where it is known, else by its digest.

    >>> model(Record(name="r", subjects={"a": {"step": 1000}}), "a")
    'step 1,000'
    """
    step = record.subjects.get(digest, {}).get("step")
    return f"step {step:,}" if isinstance(step, int) else digest[:_DIGEST]


def apart(record: Record, weaker: Protocol, stronger: Protocol) -> str:
    """What sets a measurement apart from a stronger one of the same record.

    >>> few, many = (Protocol(version=1, images=ImagesFacts(digest="d", n=n)) for n in (50, 297))
    >>> apart(Record(name="r"), few, many)
    'number of images 50'
    """
    parts = [f"{setting(name)} {text(a)}" for name, (a, _) in differing(weaker, stronger).items()]
    if weaker.model != stronger.model:
        parts.insert(0, model(record, weaker.model))
    return ", ".join(parts) or "other samples"
