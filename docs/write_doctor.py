"""Write doctor.md from the words of the doctor's checks.  Run it: `python docs/write_doctor.py`."""

import pathlib

from tinygrad_edu.diagnosis.findings import CHECKS, blank

PAGE = pathlib.Path(__file__).parent / "doctor.md"
HEAD = """# What the doctor knows

Written by `python docs/write_doctor.py` from the words of the checks. What stands in `<>` is filled
in with what was seen. `python -m tinygrad_edu --doctor-explain ID` prints one page.
"""


def page(id: str) -> str:
    """What one finding says, why, and the cure."""
    lines = [f"## {id}", ""]
    for made in CHECKS[id]:
        lines += [f"*{made.level}*: {blank(made.says)}", "", f"Why: {blank(made.why)}", ""]
        lines += [f"Cure: `{blank(made.cure)}`", ""]
    return "\n".join(lines)


def document() -> str:
    """All pages."""
    return "\n".join([HEAD, *[page(id) for id in CHECKS]])


if __name__ == "__main__":
    import tinygrad_edu.diagnosis  # noqa: F401  (declares the checks)

    PAGE.write_text(document())
