"""Writes the Bicep files of a folder, parsed, as one JSON object: {path: tree}.

The parser keeps no difference between a text and a name: 'Deny' and Deny are both "Deny".
"""

import json
import sys
from pathlib import Path

from pycep import BicepParser

parser = BicepParser()
trees = {}
for path in sorted(Path(sys.argv[1]).rglob("*.bicep")):
    try:
        trees[path.as_posix()] = parser.parse(text=path.read_text())
    except Exception as error:
        sys.exit(f"{path}: {error}")
json.dump(trees, sys.stdout)
