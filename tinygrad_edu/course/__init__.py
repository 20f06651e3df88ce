"""The exercises of the course in `docs/course/`.

    python -m tinygrad_edu.course list
    python -m tinygrad_edu.course start 3     writes course_3.py, which has something to mend
    python -m tinygrad_edu.course check 3     says whether it is mended

`tasks/` holds what `start` writes; `checks.py` what `check` asks.  Reading that first spoils it.
"""
