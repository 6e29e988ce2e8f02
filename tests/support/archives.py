# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Archives in memory."""

import io
import tarfile


def tar_of(name, data, kind=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
