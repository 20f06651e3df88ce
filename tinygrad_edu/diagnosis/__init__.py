"""The doctor: names the bugs of training programs that raise no error (see doctor.py).

doctor.py      the block, and what is printed
findings.py    what a check and a finding are
source.py      what the user's lines say
seams.py       how it looks on: what happens becomes events
history.py     what it remembers
flow.py        what it knows of tensors
checks_*.py    the checks, each beside its words
command.py     the options of `python -m tinygrad_edu`
notebook.py    `%%doctor`
"""

from __future__ import annotations

from tinygrad_edu.diagnosis.doctor import Diagnosis, doctor
from tinygrad_edu.diagnosis.findings import CHECKS, Finding, explain
from tinygrad_edu.diagnosis.notebook import load_ipython_extension

__all__ = ["CHECKS", "Diagnosis", "Finding", "doctor", "explain", "load_ipython_extension"]
