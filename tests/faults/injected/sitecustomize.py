"""Runs at the start of every stage process of the fault suite, before the product.

The suite puts this directory on their PYTHONPATH; the product knows nothing of it.
"""

from __future__ import annotations

import os
import sys

if "HEADRACE_READ_ONLY_BUT" in os.environ:
    import read_only

    read_only.install(os.environ["HEADRACE_READ_ONLY_BUT"])
if "HEADRACE_CLOCK_SKEW" in os.environ:
    import skew

    skew.install(os.environ["HEADRACE_CLOCK_SKEW"])
if "HEADRACE_METADATA_AGE_S" in os.environ:
    # First: the others import what makes clients.
    import metadata

    metadata.install(float(os.environ["HEADRACE_METADATA_AGE_S"]))
if "HEADRACE_FAILPOINT_FILE" in os.environ:
    import failpoints

    failpoints.install(os.environ["HEADRACE_FAILPOINT_FILE"])
if "HEADRACE_MUTATION" in os.environ:
    import mutations

    mutations.install(os.environ["HEADRACE_MUTATION"])
if "HEADRACE_DEADLY" in os.environ:
    import deadly

    deadly.install(os.environ["HEADRACE_DEADLY"])
if "HEADRACE_TIMES_SCALE" in os.environ:
    import times

    scale = float(os.environ["HEADRACE_TIMES_SCALE"])
    if "headrace_embedder" in sys.orig_argv:
        times.install_in_embedder(scale)
    if "headrace_gateway" in sys.orig_argv:
        times.install_in_gateway(scale)
