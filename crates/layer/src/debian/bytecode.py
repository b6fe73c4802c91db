"""Writes a tar archive of the bytecode of every Python source below the tree argv[1], in its own
directories argv[2:]. Sources are compiled, never executed. The bytecode does not look at its source
again: in a layer neither changes."""

import importlib.machinery
import importlib.util
import io
import os
import stat
import sys
import tarfile
from importlib._bootstrap_external import _code_to_hash_pyc

tree, directories = sys.argv[1], sys.argv[2:]
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.GNU_FORMAT)
for directory in directories:
    for place, inner, names in os.walk(os.path.join(tree, directory)):
        inner.sort()
        for name in sorted(names):
            path = os.path.join(place, name)
            if not name.endswith(".py") or not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as file:
                source = file.read()
            inside = os.path.relpath(path, tree)
            loader = importlib.machinery.SourceFileLoader("<layer>", path)
            try:
                code = loader.source_to_code(source, "/" + inside)
            except (SyntaxError, ValueError):
                continue
            content = _code_to_hash_pyc(code, importlib.util.source_hash(source), False)
            entry = tarfile.TarInfo(importlib.util.cache_from_source(inside))
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(bytes(content)))
out.close()
