"""Which pictures of a folder or a zip belong to which split, and what is left out of them.

Nothing is passed over in silence: what is not read is counted and named, and a layout that could
be meant in two ways is refused with what was seen.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ddpm_train.data.images import Split
from ddpm_train.errors import FixableError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
UNREAD = (
    *(".avif", ".bmp", ".dib", ".exr", ".gif", ".hdr", ".heic", ".heif", ".j2k", ".jfif", ".jp2"),
    *(".jpe", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".raw", ".tga", ".tif", ".tiff"),
)
"""Suffixes of pictures that other programs read; beside ours they would be missing."""

_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "heldout"), "val"),
}
_EXAMPLES = 4  # names in a message


@dataclass(frozen=True, slots=True)
class Layout:
    """The pictures of a split, sorted by their POSIX paths, and what is worth a note."""

    names: list[str]
    notes: tuple[str, ...] = ()
    depth: int = 0  # folders above those that stand for classes

    def groups(self) -> list[str]:
        """The folder of each picture below that of the split; empty: it lies in none."""
        return [_top(name, self.depth) for name in self.names]


def lay_out(files: Iterable[str], split: Split, root: Path) -> Layout:
    """Choose the pictures of a split among the files below ``root``.

    If training and test pictures lie in folders of their own (``train/`` and ``test/``, also
    ``Train/``, ``val/``, ``train2017/``, and inside one wrapping folder), those are the splits;
    without such folders all pictures are for training.

    Args:
        files: POSIX paths; parts that begin with a dot are left out, and pictures so named noted.
        split: Which part.
        root: The folder or zip, for messages.

    Raises:
        FixableError: There are no pictures, some of a kind that is not read, or no such split, or
            it is not clear which folder is which split.

    >>> layout = lay_out(["d/Train/2.png", "d/Train/1.png", "d/val/3.png"], "train", Path("x"))
    >>> layout.names
    ['d/Train/1.png', 'd/Train/2.png']
    >>> layout.notes[0]
    'x: taken: Train/ as the training split, val/ as the test split'
    """
    every = list(files)
    visible = [name for name in every if not is_hidden(name)]
    pictures = sorted(name for name in visible if _suffix(name) in SUFFIXES)
    notes = _left_out(visible, pictures, root) + _hidden(every, root)
    depth = _wrapped(pictures)
    tops = _tops(pictures, depth)
    roles = _roles(tops)
    if roles is None:
        _refuse_deep_splits(pictures, depth, root)
        if split == "test":
            raise FixableError(
                f"{root}: has no test split",
                "put the pictures into its subfolders train/ and test/, or use the train split",
            )
        return Layout(pictures, notes, depth)
    folders = _splits(roles, tops, root)
    notes += _meaning(folders, root)
    if folders["val"]:
        notes += (
            f"{root}: {_count(tops[folders['val']], 'picture')} in {folders['val']}/ left out",
        )
    if not folders[split]:
        only = folders["train"] or folders["test"]
        raise FixableError(
            f"{root}: holds only {only}/, no {split} split",
            f"give a folder with both, or the path of {only}/ itself",
        )
    chosen = [name for name in pictures if _top(name, depth) == folders[split]]
    return Layout(chosen, notes, depth + 1)


def is_hidden(name: str) -> bool:
    """Whether a part of a path begins with a dot (``..`` may).

    >>> is_hidden("a/.git/b.png"), is_hidden("../b.png"), is_hidden("__MACOSX/._b.jpg")
    (True, False, True)
    """
    return any(part.startswith(".") and part != ".." for part in PurePosixPath(name).parts)


def _left_out(visible: Sequence[str], pictures: Sequence[str], root: Path) -> tuple[str, ...]:
    """Note files of other kinds; refuse pictures of kinds that are not read."""
    others = Counter(_suffix(name) for name in visible if _suffix(name) not in SUFFIXES)
    unread = Counter({suffix: n for suffix, n in others.items() if suffix in UNREAD})
    if not pictures:
        seen = f" ({_list(others)})" if others else ""
        raise FixableError(
            f"{root}: no pictures ending in {', '.join(SUFFIXES)} in it or below{seen}",
            "give the path of a folder or .zip that holds some",
        )
    if unread:
        raise FixableError(
            f"{root}: {_list(unread)} would be left out beside {_count(len(pictures), 'picture')} "
            f"in {', '.join(SUFFIXES)}",
            "convert them to PNG, or put them elsewhere",
        )
    return (f"{root}: left out, no pictures by their names: {_list(others)}",) if others else ()


def _hidden(files: Iterable[str], root: Path) -> tuple[str, ...]:
    """Note pictures whose names begin with a dot, but for the ``._x.png`` that macOS writes."""
    names = [name for name in files if is_hidden(name) and _suffix(name) in SUFFIXES]
    n = sum(not PurePosixPath(name).name.startswith("._") for name in names)
    return (f"{root}: {_count(n, 'hidden picture')} left out",) if n else ()


def _wrapped(pictures: Sequence[str]) -> int:
    """How many folders wrap all pictures; a folder named like a split is none."""
    first = PurePosixPath(pictures[0]).parts[:-1]
    depth = 0
    for part in first:
        if _role(part) or any(_top(name, depth) != part for name in pictures):
            break
        depth += 1
    return depth


def _top(name: str, depth: int) -> str:
    """The folder that a picture lies in below the wrapping ones; empty if in none."""
    parts = PurePosixPath(name).parts
    return parts[depth] if len(parts) > depth + 1 else ""


def _tops(pictures: Sequence[str], depth: int) -> Counter[str]:
    return Counter(_top(name, depth) for name in pictures)


def _role(folder: str, *, exactly: bool = False) -> str:
    """Which split a folder's name speaks of; empty if of none, or of several.

    >>> [_role(name) for name in ("Train", "train2017", "x_val_lmdb", "train_test", "trains")]
    ['train', 'train', 'val', '', '']
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", folder)]
    roles = {_ROLES[word] for word in words if word in _ROLES}
    plain = not exactly or len(words) == 1
    return roles.pop() if len(roles) == 1 and plain else ""


def _roles(tops: Mapping[str, int]) -> dict[str, list[str]] | None:
    """The folders that speak of each split; None if there are no splits."""
    roles: dict[str, list[str]] = {"train": [], "test": [], "val": []}
    for folder in tops:
        if role := _role(folder):
            roles[role].append(folder)
    paired = roles["train"] and (roles["test"] or roles["val"])
    exact = any(_role(folder, exactly=True) for folder in tops)
    return roles if paired or exact else None  # else a class may be named "train station"


def _splits(
    roles: Mapping[str, Sequence[str]], tops: Mapping[str, int], root: Path
) -> dict[str, str]:
    """The folder of each split; validation is the test split where there is no other."""
    others = [folder for folder in tops if not _role(folder)]
    if others or any(len(folders) > 1 for folders in roles.values()):
        seen = ", ".join(
            f"{_count(n, 'picture')} in {folder + '/' if folder else 'no subfolder'}"
            for folder, n in sorted(tops.items())[: 2 * _EXAMPLES]
        )
        raise FixableError(
            f"{root}: it is not clear which pictures are of which split: {seen}",
            "leave two folders there, train/ and test/, or give the path of one folder alone",
        )
    chosen = {role: folders[0] if folders else "" for role, folders in roles.items()}
    if not chosen["test"]:
        chosen["test"], chosen["val"] = chosen["val"], ""
    return chosen


def _meaning(folders: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """Note what the folders are taken for, where they are not named train and test."""
    if folders["train"] in ("", "train") and folders["test"] in ("", "test"):
        return ()
    split_names = {"train": "training", "test": "test"}
    texts = [f"{folders[role]}/ as the {split_names[role]} split" for role in split_names]
    return (f"{root}: taken: {', '.join(text for text in texts if text[0] != '/')}",)


def _refuse_deep_splits(pictures: Sequence[str], depth: int, root: Path) -> None:
    """Refuse splits inside other folders, such as bottle/train/ and bottle/test/."""
    deep = {
        part
        for name in pictures
        for part in PurePosixPath(name).parts[depth + 1 : -1]
        if _role(part, exactly=True)
    }
    if len({_role(part) for part in deep}) > 1:
        raise FixableError(
            f"{root}: {' and '.join(f'{part}/' for part in sorted(deep))} lie inside other folders",
            "put them on top: train/ and test/, or give the path of one folder alone",
        )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _list(suffixes: Mapping[str, int]) -> str:
    ordered = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"{n:,} {suffix or 'without a suffix'}" for suffix, n in ordered[:_EXAMPLES]]
    more = sum(n for _, n in ordered[_EXAMPLES:])
    return ", ".join([*texts, *([f"{more:,} others"] if more else [])])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
