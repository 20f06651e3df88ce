"""How long a GPU takes for what it is asked."""

import statistics
import time


def seconds_of(torch, run, device, seconds):
    """The seconds of each run, the GPU being waited for, for as long as that."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(5):
        run()
    wait()
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(found) < 5:
        start = time.perf_counter()
        run()
        wait()
        found.append(time.perf_counter() - start)
    return found


def milliseconds(torch, run, device, seconds):
    return statistics.median(seconds_of(torch, run, device, seconds)) * 1e3
