"""Wrong command lines: status 2, one error with a fix, before any work."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import server
from tests.faults.matrix import Case

CNN, CHECKPOINT = "digits-cnn", "r/checkpoints/step-00000006.pt"
RUN = ("r", "-n", "2", "--quiet")
PATHS = ("", ".", "..", "none.pt", "none/none", "images.npz", "/dev/null", "/dev/zero", "pictures",
         "pictures.zip", "\x1b[2J.pt", "a[bold]b", ":warning:", "x" * 300, "r/config.json",
         "r/checkpoints", "~no-such-user/x", "-", "é.pt", "a\nb")  # fmt: skip
NUMBERS = (
    *("-1", "0.5", "nan", "inf", "1e400", "", "x", "18446744073709551616", "1" * 400, "٣", "1_0"),
    *("0x10", "--", "-0", "10**9"),
)
SETTINGS = (
    *("optim.lr=-1", "optim.lr=nan", "optim.lr=", "optim.lr", "=1", "optim.lrr=1", "optim=1"),
    *("log.keep=-1", "log.every=0", "log.checkpoint_every=0", "log.samples=0", "seed=-1"),
    *("seed=18446744073709551616", "optim.grad_clip=-1", "optim.warmup_steps=-5"),
    *("optim.ema_decay=1.5", "optim.batch_size=0", "optim.batch_size=10000000000000"),
    *("compute.microbatch=-1", "compute.threads=-1", "compute.precision=float8", "schedule.T=1"),
    *("schedule.T=0", "schedule.T=99999999999", "schedule.kind=cubic", "schedule.beta_end=2"),
    *("schedule.beta_start=-1", "unet.heads=0", "unet.heads=3", "unet.channels=2"),
    *("unet.channels=5", "unet.base_channels=31", "unet.base_channels=0", "unet.norm_eps=-1"),
    *("unet.channel_mult=", "unet.channel_mult=0", "unet.channel_mult=1,x", "unet.dropout=1"),
    *("unet.attn_resolutions=5", "unet.image_size=9", "unet.image_size=0", "objective.loss=x"),
    *(
        "unet.time_freq_shift=16",
        "objective.prediction=noise",
        "data.source=web",
        "data.flip=maybe",
    ),
    *("data.resize=fast", "optim.steps=0", "optim.steps=1e3x", "__class__.x=1", "log.keep=1e99"),
)
TWO = ("-n", "2", "--batch", "2")
GUIDED = ("sample", "r", *TWO, "--out", "s", "--classifier", "guide.pt")
BY_MODEL = ("--model", "c")
ADM, SDE, EDM = "adm/ema_0.9999_000100.pt", "score_sde/checkpoint_8.pth", "edm/edm.pt"
NCSN = "ncsn/checkpoint.pth"
COMMANDS: tuple[tuple[str, ...], ...] = (
    (), ("--nothing",), ("trian",), ("inspect", "r", "extra"), ("nll", "r", "--split", "val"),
    ("nll", "r", "--dataset", "mnist"), ("nll", "r", "--data", "none"),
    ("sample", "r", "--sampler", "euler"), ("sample", "r", "--eta", "2", "--sampler", "ddim"),
    ("sample", "r", "--eta", "1"), ("fid", "store"), ("fid", "store", "--reference", "web"),
    ("fid", "store", "--reference", "images.npz", "--extractor", "vgg"),
    ("fid", "store", "--reference", "images.npz", "--extractor", CNN, "--metrics", "X"),
    ("export", "r", "o", "--format", "onnx"), ("import", "r"), ("store", "export", "store"),
    ("nll", "r", "--name", "../x"), ("nll", "r", "--name", "a/b"), ("fetch", "weights"),
    ("nll", "r", "--weights", "best"), ("inspect", "r", "--set", "no.such=1"),
    ("inspect", "r", "--set", "unet.heads=x"), ("interpolate", "r", "--t", "99"),
    ("reconstruct", "r", "-n", "-3"), ("neighbours", "none"), ("watch", "none", "--once"),
    ("sample", "r", "-n", "2", "--classes", "1"), ("compress", "none"), ("archive", "none"),
    ("archive", "pictures", "--out", "images.npz", "--model", "r"), ("decompress", "none"),
    ("decompress", "images.npz", "--model", "none"), ("calibrate", "none"),
    ("rate-distortion", "none", "--files"), ("sample", "none", "--classes", "x"),
    ("training", "images.npz"), ("store", "verify", "r"), ("report", "--compare", "r"),
)  # fmt: skip
NEW: tuple[tuple[str, ...], ...] = (
    ("sample", "r", "--classifier", "none.pt"), ("sample", "r", "--classifier", "images.npz"),
    ("sample", "r", "--scale", "2"), (*GUIDED, "--scale", "-1"), (*GUIDED, "--scale", "nan"),
    (*GUIDED, "--classes", "10"), (*GUIDED, "--set", "encoder.base_channels=64"),
    (*GUIDED, "--set", "encoder.heads=x"), ("sample", "r", "--set", "encoder.heads=2"),
    ("sample", "r", "--classifier", "r/config.json"), ("sample", "n", "--sampler", "ancestral"),
    ("sample", "r", "--sampler", "langevin"), ("sample", "r", "--classes", "1"), ("nll", "n"),
    ("guidance", "r"), ("guidance", "r", "--classifier", "guide.pt", "--scales", "x"),
    ("guidance", "r", "--classifier", "guide.pt", "--scales", "1", "--extractor", CNN),
    ("guidance", "r", "--classifier", "guide.pt", "--extractor", "vgg"),
    ("compress", "field.png", "--model", "n"), ("compress", "field.png", "--model", "none"),
    ("compress", "images.npz", *BY_MODEL, "--bits", "-1"), ("compress", "r", *BY_MODEL),
    ("compress", "field.png", *BY_MODEL, "--bits", "nan"),
    ("compress", "field.png", *BY_MODEL, "--rmse", "inf"),
    ("compress", "field.png", *BY_MODEL, "--effort", "20"),
    ("compress", "field.png", *BY_MODEL, "--lossless", "--bits", "1"),
    ("decompress", "field.ddpm", *BY_MODEL, "--profile", "none"),
    ("decompress", "field.ddpm", *BY_MODEL, "--profile", "r/config.json"),
    ("decompress", "field.ddpm", "--model", "r"), ("decompress", "field.ddpm"),
    ("decompress", "field.ddpm", *BY_MODEL, "--first", "-1"), ("decompress", "some"),
    ("calibrate", "c", "-n", "-1"), ("calibrate", "c", "--set", "calibration.rows=0"),
    ("calibrate", "c", "--profile", "images.npz"), ("calibrate", "n"),
    ("archive", "some", "--out", "field.png", *BY_MODEL), ("archive", "some"),
    ("rate-distortion", "r", "--files", "--profile", "none"),
    ("inspect", ADM), ("inspect", SDE), ("inspect", EDM), ("nll", EDM), ("inspect", "guide.pt"),
    ("inspect", SDE, "--set", "sde=ve"), ("inspect", SDE, "--set", "sde="),
    ("inspect", SDE, "--set", "sde=vp", "--set", "ncsnpp.channels=0"),
    ("inspect", SDE, "--set", "sde=vp", "--set", "ncsnpp.image_size=33"),
    ("inspect", EDM, "--set", "preconditioning=iddpm"), ("inspect", EDM, "--set", "released=x"),
    ("inspect", ADM, "--set", "released=none"), ("inspect", NCSN, "--set", "refinenet.levels=1"),
    ("inspect", NCSN, "--set", "refinenet.sigma_begin=0.001"),
    ("inspect", NCSN, "--set", "refinenet.depth=deepest"),
    ("inspect", NCSN, "--set", "schedule.T=7"), ("inspect", "n", "--set", "sde=vp"),
)  # fmt: skip
TRAINING: tuple[tuple[str, ...], ...] = (
    ("classifier", "--out", "guide.pt"), ("classifier", "--out", "k.pt", "--data", "none"),
    *(("classifier", "--out", "k.pt", "--set", setting) for setting in (
        "classifier.classes=1", "classifier.pool=x", "optim.lr=-1", "classifier.encoder.heads=3",
        "classifier.encoder.classes=3", "optim.steps=0", "schedule.T=1", "data.labels=false")),
    (), ("--x",), ("cifar11",), ("digits", "extra"), ("presets", "none"), ("resume",),
    *(("ncsn-digits", "--out", "o", "--set", setting) for setting in (
        "refinenet.sigma_begin=0.001", "refinenet.levels=1", "refinenet.image_size=9",
        "refinenet.channels=2", "refinenet.base_channels=0", "refinenet.depth=x")),
)  # fmt: skip
DEVICES = ("cuda:x", "cuda:-1", "cuda:99", "tpu", "", "meta", "cpu:x", "mps:7", "cuda:1:2")


def lines() -> Iterator[tuple[tuple[str, ...], bool]]:
    """Every wrong line, and whether it must be refused (some paths are meant to work)."""
    yield from _generated()
    yield from ((("ddpm-eval", *words), True) for words in (*COMMANDS, *NEW))
    yield from ((("ddpm-train", *words), True) for words in TRAINING)


def _generated() -> Iterator[tuple[tuple[str, ...], bool]]:
    """Odd paths, numbers, settings and devices, where each may stand."""
    for path in PATHS:
        yield ("ddpm-eval", "inspect", path), True
        yield ("ddpm-eval", "nll", path, "-n", "2", "--quiet"), True
        yield ("ddpm-train", "resume", path), True
        yield ("ddpm-train", "folder", "--data", path, "--out", "o"), True
        yield ("ddpm-train", "export", CHECKPOINT, path), False
        yield ("ddpm-eval", "import", path, "o.pt"), True
        yield (
            ("ddpm-eval", "fid", path, "--reference", "images.npz", "--extractor", "digits-cnn"),
            False,
        )
        yield ("ddpm-eval", "report", path), True
    for number in NUMBERS:
        yield ("ddpm-eval", "nll", "r", "-n", number, "--quiet"), number not in ("-0", "1_0", "٣")
        yield ("ddpm-eval", "sample", "r", "-n", number, "--batch", "2", "--out", "s"), False
        yield ("ddpm-eval", "sample", "r", *TWO, "--steps", number, "--out", "s"), False
    for setting in SETTINGS:
        yield ("ddpm-train", "digits", "--out", "o", "--set", setting), True
    for device in DEVICES:
        yield ("ddpm-train", "digits", "--out", "o", "--device", device), True
        yield ("ddpm-eval", "nll", *RUN, "--device", device), True


def wrong_lines(material: Path, share: float) -> Iterator[Case]:
    """All wrong command lines."""
    chosen = list(lines())[:: max(1, round(0.5 / share))]
    for words, must_fail in chosen:
        yield Case(
            "wrong command lines",
            ascii(" ".join(words))[:90],
            _attack(words, material, must_fail=must_fail),
        )


def _attack(words: tuple[str, ...], material: Path, *, must_fail: bool) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        for place in material.iterdir():
            if place.name != "reports":  # records are written
                (folder / place.name).symlink_to(place)
        result = server.run(words, folder, limit=60)
        if result.has_traceback or result.status not in ((2,) if must_fail else (0, 2)):
            return str(result)
        if "\x1b[2J" in result.text:
            return f"an escape reaches the terminal: {result}"
        return "" if len(result.text) < 20_000 else f"{len(result.text):,} characters: {result}"

    return attack
