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
DEVICES = ("cuda:x", "cuda:-1", "cuda:99", "tpu", "", "meta", "cpu:x", "mps:7", "cuda:1:2")


def lines() -> Iterator[tuple[tuple[str, ...], bool]]:
    """Every wrong line, and whether it must be refused (some paths are meant to work)."""
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
        yield ("ddpm-eval", "sample", "r", "-n", number, "--out", "s"), False
        yield ("ddpm-eval", "sample", "r", "-n", "2", "--steps", number, "--out", "s"), False
    for setting in SETTINGS:
        yield ("ddpm-train", "digits", "--out", "o", "--set", setting), True
    for device in DEVICES:
        yield ("ddpm-train", "digits", "--out", "o", "--device", device), True
        yield ("ddpm-eval", "nll", *RUN, "--device", device), True
    for words in (
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
    ):  # fmt: skip
        yield ("ddpm-eval", *words), True
    for words in (
        (),
        ("--x",),
        ("cifar11",),
        ("digits", "extra"),
        ("presets", "none"),
        ("resume",),
    ):
        yield ("ddpm-train", *words), True


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
        for name in ("r", "images.npz", "store", "pictures", "pictures.zip"):
            (folder / name).symlink_to(material / name)
        result = server.run(words, folder, limit=60)
        if result.has_traceback or result.status not in ((2,) if must_fail else (0, 2)):
            return str(result)
        if "\x1b[2J" in result.text:
            return f"an escape reaches the terminal: {result}"
        return "" if len(result.text) < 20_000 else f"{len(result.text):,} characters: {result}"

    return attack
