"""The doctor: names the bugs of training programs that raise no error (see doctor.py).

doctor.py      the block, and what is printed
findings.py    what a check and a finding are
source.py      what the user's lines say
seams.py       how it looks on: what happens becomes events
history.py     what it remembers
flow.py        what it knows of tensors
checks_*.py    the checks, each beside its words
command.py     the options of `python -m tinygrad_edu`, and `%%doctor`
"""

from tinygrad_edu.diagnosis.command import load_ipython_extension
from tinygrad_edu.diagnosis.doctor import Diagnosis, doctor
from tinygrad_edu.diagnosis.findings import CHECKS, Finding, explain

__all__ = ["CHECKS", "Diagnosis", "Finding", "doctor", "explain", "load_ipython_extension"]
