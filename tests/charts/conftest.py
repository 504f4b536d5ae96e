"""The chart is tested by ``make test-charts``, which has helm and the schemas."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "HEADRACE_CHART_TOOLS" in os.environ else ["test_*.py"]
