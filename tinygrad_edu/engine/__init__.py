"""The engine: what is recorded when an operation is called, and the walk back through it.

Read, in this order, four files:

    graph.py      what the tape is made of
    primitive.py  how an operation and its derivatives are declared
    record.py     what a call does
    walk.py       the backward pass: one loop

All others may be skipped on a first reading:

    mode.py       a thread's mode: whether calls are recorded, and who listens
    fast.py       record.py's calls written out for one and two arguments
    views.py, inplace.py, versions.py  views, writes, and what becomes of the history
    second.py     derivatives of derivatives
    levels.py     what a function under `torch.func` may write in place
    runs.py       one run of such a function: what it was given and has made
    gradients.py  `backward` and `grad`: the checks of their arguments
    hooks.py      functions of gradients
    nodes.py      nodes as torch shows them
    boundary.py   errors, in torch's words; shape_hints.py adds what would fit
    arrays.py     an array where a user should have given a tensor
    places.py     the user's lines; source.py what they say
    composed.py   functions that listeners hear of as one call
    switches.py   `no_grad` and its kin
    half.py       16-bit floats
    binding.py, types.py  arguments by name; what type checkers are told
"""
