"""Right programs raise no alarm either where the doctor looks at some steps only."""

from __future__ import annotations

import pytest
from test_doctor import CLEAN, watched


@pytest.mark.parametrize("every", (3, 10))
@pytest.mark.parametrize("name", CLEAN)
def test_clean(name: str, every: int) -> None:
    alarms = [str(f) for f in watched(CLEAN[name], (), every=every).findings if f.level != "note"]
    assert not alarms, "\n".join(alarms)
