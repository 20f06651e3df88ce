"""A script in which something happens to rank 1, while the others wait for it.

It says when, so that the test can tell how long the job went on.
"""

import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

what = sys.argv[1]
rank = int(os.environ["RANK"])


def now():
    print("at", time.time(), flush=True)


if what == "ends before init" and rank == 1:
    now()
    sys.exit(0)
dist.init_process_group("gloo", timeout=timedelta(seconds=2 if what == "is late" else 60))
dist.barrier()
if rank == 1:
    now()
    if what == "raises":
        raise ValueError("boom")
    if what == "exits":
        sys.exit(3)
    if what == "exits with a word":
        sys.exit("no data")
    if what == "ends early":
        sys.exit(0)
    if what == "is killed":
        os.kill(os.getpid(), 9)
    if what == "crashes":
        os.kill(os.getpid(), 11)
    if what == "leaves without a word":
        os._exit(7)
    if what == "is late":
        time.sleep(30)
    if what == "calls another":
        dist.barrier()
    if what == "has another shape":
        dist.all_reduce(torch.ones(4))
if what == "all is well":
    now()
    print("ranks", dist.get_world_size(), flush=True)
x = torch.ones(3)
if what == "waits to receive" and rank == 0:
    dist.recv(x, 1)
elif what != "waits to receive":
    dist.all_reduce(x)
dist.destroy_process_group()
