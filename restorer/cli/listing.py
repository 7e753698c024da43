"""What ``--dry-run`` shows: a table of the faces found, and on request a picture of them."""

from __future__ import annotations

from pathlib import Path

from restorer.cli.boundary import one_line, plain
from restorer.outputs import Job, check_names
from restorer.report import PhotoReport


def faces_table(report: PhotoReport) -> str:
    """Return a photograph's faces as text: a line for the photograph, a numbered line a face."""
    if report.size_in is None:
        return plain(one_line(f"{report.input}: unreadable"))
    width, height = report.size_in
    count = len(report.faces)
    lines = [one_line(f"{report.input}: {width}×{height}, {count} face{'' if count == 1 else 's'}")]
    for number, face in enumerate(report.faces):
        x0, y0, x1, y1 = face.box
        place = f"at {x0:.0f},{y0:.0f}, {x1 - x0:.0f}×{y1 - y0:.0f} pixels"
        kept = f", left alone: {face.reason}" if face.reason else ""
        lines.append(f"{number:4}  {place}, score {face.score:.2f}{kept}")
    return plain("\n".join(lines))


def check_overview(job: Job, path: Path) -> None:
    """Refuse an overview that cannot be written, or that would overwrite the photograph."""
    from restorer.photo import format_of

    format_of(path)
    check_names([job], others=[path])


def draw_overview(job: Job, report: PhotoReport, path: Path) -> None:
    """Write the photograph with its faces framed and numbered."""
    from restorer.outputs import make_folder
    from restorer.photo import format_of, read_photo, write_photo
    from restorer.pipeline.overview import overview

    make_folder(path.parent)
    write_photo(
        overview(read_photo(job.input.source, name=job.input.shown), report.faces), path, format=format_of(path)
    )
