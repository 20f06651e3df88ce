"""Write doctor.md from the words of the doctor's checks.  Run it: `python docs/write_doctor.py`."""

import pathlib

from tinygrad_edu.diagnosis.command import document

PAGE = pathlib.Path(__file__).parent / "doctor.md"

if __name__ == "__main__":
    PAGE.write_text(document())
