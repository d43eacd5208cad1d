"""The preparation of one sample: decode and check its files, and write them in the canonical form."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import Problem, SourceFile, SourceSample
from tinyunet.data.pictures.decode import Picture, encode_png, has_colour, read_picture, to_channels
from tinyunet.data.pictures.mask_kinds import MaskKind
from tinyunet.data.pictures.masks import read_mask
from tinyunet.data.pictures.pixels import GENERATED, check_mask, read_grey

UNSPLIT = "unsplit"  # folder of the samples whose split is not chosen yet


@dataclass(frozen=True)
class PreparedSample:
    """One sample after its files have been read, checked and written.

    Attributes:
        sample: The sample as the layout lists it.
        image: Path of the written image, relative to the folder; empty after a fault.
        mask: Path of the written mask; None without a defect.
        shape: (height, width) in pixels; None if the image cannot be decoded.
        bits: Bits per channel of the written image.
        colour: Whether the written image has three channels.
        levels: Smallest and largest value of the image.
        image_sha256: SHA-256 of the written image file.
        mask_sha256: SHA-256 of the written mask file; None without a mask.
        pixels_sha256: SHA-256 of the pixels, by which copies are found.
        type_areas: Number of pixels of every defect type, by its value in the mask.
        synthetic: Whether the image file is marked as generated.
        kind: The kind of the image file, in words.
        pixel_notes: What was done to the pixels, in words.
        problems: Faults of the two files.
    """

    sample: SourceSample
    image: str = ""
    mask: str | None = None
    shape: tuple[int, int] | None = None
    bits: int = 8
    colour: bool = False
    levels: tuple[int, int] = (0, 0)
    image_sha256: str = ""
    mask_sha256: str | None = None
    pixels_sha256: str = ""
    type_areas: Mapping[int, int] = field(default_factory=dict)
    synthetic: bool = False
    kind: str = ""
    pixel_notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def defective(self) -> bool:
        """Return whether the image shows a defect: by the layout or, if that does not say it, by the mask."""
        given = self.sample.defective
        return self.mask_pixels > 0 if given is None else given

    @property
    def mask_pixels(self) -> int:
        """Return the number of defective pixels."""
        return sum(self.type_areas.values())

    @property
    def main_type(self) -> int:
        """Return the value of the defect type with the largest area; 0 without a defect."""
        return max(self.type_areas, key=lambda value: (self.type_areas[value], -value), default=0)


@dataclass(frozen=True)
class Preparation:
    """How the samples of a data set are prepared.

    Attributes:
        folder: Folder to write.
        kind: Kind of the masks; None for DAGM2007, whose files must be 8-bit grey PNG, and whose masks must
            hold 0 and 255 only.
    """

    folder: Path
    kind: MaskKind | None

    def prepare(self, sample: SourceSample) -> PreparedSample:
        """Read, check and write one sample; a fault is reported in the result.

        Only an error of the output's file system is raised.
        """
        try:
            data, picture = self._read_image(sample.image)
        except _FaultError as fault:
            return PreparedSample(sample, problems=(fault.problem,))
        prepared = self._write_image(sample, data, picture)
        if sample.mask is None:
            return prepared
        try:
            data, types = self._read_types(sample.mask, picture)
        except _FaultError as fault:
            (self.folder / prepared.image).unlink()
            return replace(prepared, problems=(fault.problem,))
        return self._write_mask(prepared, data, types) if types.any() else prepared

    def _read_image(self, file: SourceFile) -> tuple[bytes, Picture]:
        with _faults_of(file):
            data = file.read()
            if self.kind is None:
                return data, Picture(read_grey(data), "8-bit grey", 1, ())
            return data, read_picture(data)

    def _read_types(self, file: SourceFile, picture: Picture) -> tuple[bytes, NDArray[np.uint8]]:
        """Return the file and the defect types of all pixels, uint8 [H, W] with 0 where is no defect."""
        height, width = picture.pixels.shape[:2]
        with _faults_of(file):
            data = file.read()
            if self.kind is not None:
                orientation = 1 if file.upright else picture.orientation
                return data, read_mask(data, self.kind, (height, width), orientation)
            mask = read_grey(data)
            check_mask(mask, picture.pixels)
            return data, (mask > 0).astype(np.uint8)

    def _write_image(self, sample: SourceSample, data: bytes, picture: Picture) -> PreparedSample:
        pixels, colour = picture.pixels, picture.pixels.ndim == 3 and has_colour(picture.pixels)
        if pixels.ndim == 3 and not colour:
            pixels = to_channels(pixels, 1)
        written = data if self.kind is None else encode_png(pixels)
        return PreparedSample(
            sample,
            image=self._write("images", sample, written),
            shape=(pixels.shape[0], pixels.shape[1]),
            bits=8 * pixels.dtype.itemsize,
            colour=colour,
            levels=(int(pixels.min()), int(pixels.max())),
            image_sha256=hashlib.sha256(written).hexdigest(),
            pixels_sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
            synthetic="\0".join(GENERATED).encode() in data,
            kind=picture.kind,
            pixel_notes=picture.notes,
        )

    def _write_mask(self, prepared: PreparedSample, data: bytes, types: NDArray[np.uint8]) -> PreparedSample:
        written = data if self.kind is None else encode_png(np.where(types > 0, np.uint8(255), np.uint8(0)))
        values, counts = np.unique(types[types > 0], return_counts=True)
        return replace(
            prepared,
            mask=self._write("masks", prepared.sample, written),
            mask_sha256=hashlib.sha256(written).hexdigest(),
            type_areas={int(value): int(count) for value, count in zip(values, counts, strict=True)},
        )

    def _write(self, kind: str, sample: SourceSample, data: bytes) -> str:
        path = Path(kind) / (sample.split or UNSPLIT) / f"{sample.name}.png"
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(data)
        return path.as_posix()


class _FaultError(Exception):
    """A fault of one file of a sample."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@contextmanager
def _faults_of(file: SourceFile) -> Iterator[None]:
    """Turn the errors of reading a file into a fault of that file."""
    try:
        yield
    except UserError as error:
        raise _FaultError(Problem(file.name, str(error))) from error
    except OSError as error:
        reason = error.strerror or str(error)[:100]
        raise _FaultError(Problem(file.name, f"cannot be read ({reason})")) from error
