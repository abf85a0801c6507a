"""`python -m gateway.settings config` writes the schema and the reference into that folder."""

import sys
from pathlib import Path

from gateway.settings.reference import reference, schema

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "config")
    (folder / "gateway.schema.json").write_text(schema(), encoding="utf-8")
    (folder / "REFERENCE.md").write_text(reference(), encoding="utf-8")
