"""Write the size and SHA-256 of the bundled networks into the manifest: ``python -m restorer.weights.pin``.

For whoever puts a newly trained network into the ``weights/`` folder of a checkout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from restorer.errors import RestorerError
from restorer.weights.folders import bundled_folder
from restorer.weights.hashes import sha256_of
from restorer.weights.table import MANIFEST


def pin(folder: Path) -> list[str]:
    """Bring the manifest of a folder in line with the bundled files beside it.

    Args:
        folder: Holds ``manifest.json`` and the bundled files.

    Returns:
        One sentence per bundled row; a file that is absent leaves its row without size and hash.
    """
    manifest = folder / MANIFEST
    document = json.loads(manifest.read_text(encoding="utf-8"))
    sentences = []
    for row in document["weights"]:
        if row["bundled"]:
            path = folder / row["file"]
            present = path.is_file()
            row["size"] = path.stat().st_size if present else None
            row["sha256"] = sha256_of(path) if present else None
            sentences.append(
                f"{row['file']}: {row['size']} bytes, SHA-256 {row['sha256']}" if present else f"{row['file']}: absent"
            )
    manifest.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sentences


def main() -> None:
    """Pin the bundled files of this checkout and say what was written."""
    try:
        sentences = pin(bundled_folder())
    except (OSError, ValueError, RestorerError) as error:
        sys.exit(f"pin: error: {error}")
    sys.stdout.write("\n".join(sentences) + "\n")


if __name__ == "__main__":
    main()
