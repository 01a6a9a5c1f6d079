"""What a report is made of: sections of texts, tables and pictures. How it looks is not decided."""

from collections.abc import Iterator
from dataclasses import dataclass

from ddpm_eval.present.canvas import Picture
from ddpm_eval.present.frames import Frames
from ddpm_eval.present.tables import Table

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it, in this order."""

    title: str
    texts: tuple[str, ...] = ()
    frames: tuple[Frames, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    facts: tuple[tuple[str, Facts], ...] = ()
    numbered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    about: str
    verdicts: tuple[str, ...]
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        """Every table that has files of its own."""
        return (table for section in self.sections for table in section.tables)

    def pictures(self) -> Iterator[Picture]:
        """Every picture."""
        return (picture for section in self.sections for picture in section.pictures)
