"""The extractors: their numbers, their weights, and what is refused."""

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from ddpm_eval.features import digits_cnn, inception, open_extractor, resizing, train_digits_cnn
from ddpm_eval.features.extractor import exactly
from ddpm_train.errors import FixableError
from tests.eval import inception_weights
from tests.eval.inception_weights import Blank

CPU = torch.device("cpu")


def images(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planes = torch.from_numpy(images(2, 16, 16, 3)).permute(0, 3, 1, 2)
    return inception_weights.write(tmp_path_factory.mktemp("weights") / "w.pth", planes)


@pytest.fixture(scope="module")
def digest(weights: Path) -> str:
    return hashlib.sha256(weights.read_bytes()).hexdigest()


PUBLISHED = inception.WEIGHTS.published


def publish(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let other Inception weights be the published ones."""
    published = replace(inception.WEIGHTS.published, **changes)
    monkeypatch.setattr(inception, "WEIGHTS", replace(inception.WEIGHTS, published=published))
    described = replace(inception.DESCRIPTION, published=published.sha256)
    monkeypatch.setattr(inception, "DESCRIPTION", described)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights in any of the usual places."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DDPM_INCEPTION", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


# ------------------------------------------------------------------------------------- Inception


def test_spatial_features_lie_pixel_by_pixel_as_in_adm_s_files() -> None:
    """TensorFlow has the channels last: [17, 17, 7], row, column, channel."""
    block = torch.arange(9 * 17 * 17).reshape(1, 9, 17, 17)
    flat = inception.spatial_features(block)
    wanted = [block[0, c, y, x] for y in range(17) for x in range(17) for c in range(7)]
    assert flat.tolist() == [wanted]


def test_inception_gives_torch_fidelity_s_features(weights: Path, digest: str) -> None:
    ours = open_extractor("inception", path=weights, device=CPU, accept=digest[:12])
    theirs = Blank()
    theirs.load_state_dict(torch.load(weights, weights_only=True))
    theirs.eval()
    branch: list[torch.Tensor] = []
    theirs.Mixed_6d.branch1x1.bn.register_forward_hook(lambda *call: branch.append(call[2].clone()))
    pixels = images(2, 20, 28, 3)
    with torch.no_grad():
        pool, logits = theirs(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    result = ours(pixels)
    np.testing.assert_allclose(result.pool, pool, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(result.logits, logits, rtol=1e-3, atol=1e-3)
    spatial = branch[0].relu().numpy().transpose(0, 2, 3, 1)[..., :7].reshape(2, -1)
    assert spatial.shape == (2, 2023) == (2, ours.sizes[2])
    assert result.spatial is not None
    np.testing.assert_allclose(result.spatial, spatial, rtol=1e-3, atol=1e-3)
    grey = ours(pixels[..., :1])
    np.testing.assert_array_equal(grey.pool, ours(np.repeat(pixels[..., :1], 3, 3)).pool)
    assert not np.allclose(grey.pool, result.pool, atol=1e-2)


@pytest.mark.parametrize("shape", [(8, 8), (32, 20), (299, 299), (300, 7)])
def test_the_resize_is_torch_fidelity_s_to_the_bit(shape: tuple[int, int]) -> None:
    x = torch.from_numpy(images(2, *shape, 3)).permute(0, 3, 1, 2).float()
    theirs = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
    assert torch.equal(resizing.tf1(x, 299), theirs)


def test_only_the_published_weights_measure_fid(
    weights: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = open_extractor("inception", path=weights, device=CPU, accept=digest)
    assert others.suffix == f"(inception-{digest[:8]})"
    assert others.digest == digest
    publish(monkeypatch, sha256=digest)
    assert open_extractor("inception-v3", path=weights, device=CPU).suffix == ""
    clean = open_extractor("inception-v3", path=weights, device=CPU, resize="clean")
    assert clean.suffix == "[clean]"


@pytest.mark.parametrize("accept", ["", "0123456789", "short"])
def test_other_weights_are_refused_with_both_digests(
    weights: Path, digest: str, accept: str
) -> None:
    accept = digest[:7] if accept == "short" else accept
    with pytest.raises(FixableError) as caught:
        open_extractor("inception", path=weights, device=CPU, accept=accept)
    assert digest in caught.value.problem
    assert (accept or PUBLISHED.sha256) in caught.value.problem
    assert f"accept_weights={digest[:8]}" in caught.value.fix


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_malicious_file_of_weights_never_runs(tmp_path: Path) -> None:
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    torch.save({"fc.weight": Evil(mark)}, file)
    accept = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(FixableError, match="Python objects, which are never executed"):
        open_extractor("inception", path=file, device=CPU, accept=accept)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fc.weight"), "fc.weight is missing"),
        (lambda w: w.update(other=torch.zeros(1)), "other is not part of it"),
        (lambda w: w.update({"fc.bias": torch.zeros(3)}), r"fc.bias is torch.float32 \[3\]"),
        (lambda w: w.update({"fc.bias": torch.zeros(1008).half()}), "fc.bias is torch.float16"),
        (lambda w: w["fc.bias"].fill_(torch.nan), "fc.bias holds NaN"),
    ],
)
def test_every_name_and_shape_is_checked(
    weights: Path, tmp_path: Path, change: object, message: str
) -> None:
    result = torch.load(weights, weights_only=True)
    change(result)  # type: ignore[operator]
    file = tmp_path / "w.pth"
    torch.save(result, file)
    accept = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(FixableError, match=message):
        open_extractor("inception", path=file, device=CPU, accept=accept)


def test_missing_weights_are_explained_in_four_lines(nowhere: Path) -> None:
    with pytest.raises(FixableError) as caught:
        open_extractor("inception", path=None, device=CPU)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "Inception-v3 weights not found" in lines[0]
    assert str(nowhere) in lines[1]
    assert "ddpm-eval fetch inception" in lines[2]
    assert "extractor_weights=PATH" in lines[2]
    assert "digits-cnn" in lines[3]


def test_weights_are_found_where_they_usually_are(
    nowhere: Path, weights: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, sha256=digest)
    nowhere.mkdir(parents=True)
    (nowhere / inception.WEIGHTS.names[1]).symlink_to(weights)
    assert open_extractor("inception", path=None, device=CPU).digest == digest
    monkeypatch.setenv("DDPM_INCEPTION", str(nowhere / "w.pth"))
    (nowhere / inception.WEIGHTS.names[1]).unlink()
    (nowhere / "w.pth").symlink_to(weights)
    assert open_extractor("inception", path=None, device=CPU).digest == digest


# ----------------------------------------------------------------------------------------- fetch


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[bytes]:
    """A server with the published file, which is short here."""
    content = os.urandom(100_000)
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "file").write_bytes(content)
    monkeypatch.setenv("no_proxy", "*")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    publish(
        monkeypatch,
        urls=(f"{base}/nothing", f"{base}/file"),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    yield content
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_writes_the_checked_file_where_torch_fidelity_looks(
    nowhere: Path, served: bytes
) -> None:
    assert inception.WEIGHTS.download() == nowhere / inception.WEIGHTS.names[0]
    assert (nowhere / inception.WEIGHTS.names[0]).read_bytes() == served
    assert inception.WEIGHTS.download() == nowhere / inception.WEIGHTS.names[0]  # nothing to do
    (nowhere / inception.WEIGHTS.names[0]).write_bytes(b"other")
    with pytest.raises(FixableError, match="not the published"):
        inception.WEIGHTS.download()


def test_fetch_keeps_nothing_that_fails_the_digest(
    nowhere: Path, served: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, sha256="0" * 64)
    with pytest.raises(FixableError, match=f"sent SHA-256 .*, expected {'0' * 64}"):
        inception.WEIGHTS.download()
    assert list(nowhere.iterdir()) == []


# ---------------------------------------------------------------------------------------- digits


def test_the_digits_classifier_knows_digits_that_it_never_saw() -> None:
    extractor = open_extractor("digits-cnn", path=None, device=CPU)
    pixels, labels = train_digits_cnn.labelled("test")
    levels = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    result = extractor(levels)
    assert (result.logits.argmax(1) == labels.numpy()).mean() >= 0.98
    assert result.pool.shape == (297, extractor.sizes[0])
    assert result.spatial is None
    assert extractor.suffix == "(digits-cnn)"


def test_its_weights_come_from_the_committed_script() -> None:
    """A short run twice gives the same network, and another seed another one."""
    once, again, other = (train_digits_cnn.train(steps=5, seed=seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, once.parameters(), again.parameters()))
    assert not torch.equal(once.conv_1.weight, other.conv_1.weight)
    assert sum(weight.numel() for weight in once.parameters()) == 86_170
    assert digits_cnn.FILE.stat().st_size < 350_000


@pytest.mark.parametrize("shape", [(8, 8, 3), (32, 32, 1), (8, 9, 1)])
def test_the_digits_classifier_looks_at_digits_only(shape: tuple[int, ...]) -> None:
    extractor = open_extractor("digits-cnn", path=None, device=CPU)
    with pytest.raises(FixableError, match="looks at 8x8x1; these"):
        extractor.check(shape)


def test_other_weights_of_the_digits_classifier_are_no_digits_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit, and its distances would be others under the same name."""
    content = bytearray(digits_cnn.FILE.read_bytes())
    content[-100] ^= 1
    (tmp_path / "w.safetensors").write_bytes(content)
    monkeypatch.setattr(digits_cnn, "FILE", tmp_path / "w.safetensors")
    with pytest.raises(FixableError, match="not the weights that FD"):
        open_extractor("digits-cnn", device=CPU)


def test_unknown_extractors_are_refused() -> None:
    with pytest.raises(FixableError, match="extractor=clip: not an extractor"):
        open_extractor("clip", path=None, device=CPU)
    with pytest.raises(FixableError, match="weights in the package"):
        open_extractor("digits-cnn", path=Path("w.pth"), device=CPU)


@pytest.fixture
def products() -> Iterator[Any]:
    """The setting of products on GPUs, put back afterwards."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield matmul
    matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_features_are_float32_however_samples_are_drawn(products: Any) -> None:
    products.allow_tf32 = True  # as --precision tf32 leaves it
    with exactly(torch.device("cpu")):
        assert products.allow_tf32
    with pytest.raises(KeyError), exactly(torch.device("cuda")):
        assert not products.allow_tf32 and not torch.backends.cudnn.allow_tf32
        raise KeyError
    assert products.allow_tf32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("tf32", [False, True])
def test_a_gpu_gives_a_cpu_s_features(products: Any, *, tf32: bool) -> None:
    products.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    on_cpu, on_gpu = (
        open_extractor("digits-cnn", path=None, device=torch.device(name))(pixels)
        for name in ("cpu", "cuda")
    )
    for one, two in ((on_cpu.pool, on_gpu.pool), (on_cpu.logits, on_gpu.logits)):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bit", [0, 8 * 4000 + 3, -1])
def test_other_weights_are_not_digits_cnn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bit: int
) -> None:
    data = bytearray(digits_cnn.FILE.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    (tmp_path / "w.safetensors").write_bytes(data)
    monkeypatch.setattr(digits_cnn, "FILE", tmp_path / "w.safetensors")
    with pytest.raises(FixableError, match="not the weights that FD"):
        open_extractor("digits-cnn", path=None, device=CPU)
