"""Training under the profiler: a schedule, named blocks, a table, a trace."""

import argparse
import json
import os
import tempfile

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function, schedule


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.LayerNorm(32), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    x = torch.randn(256, 10)
    y = (x[:, :1] * x[:, 1:2]).sin()
    ready = []

    def on_trace_ready(prof):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            prof.export_chrome_trace(path)
            with open(path) as file:
                names = {event.get("name") for event in json.load(file)["traceEvents"]}
        ready.append(sorted(names & {"aten::linear", "aten::tanh", "forward", "AddmmBackward0"}))

    with profile(
        activities=[ProfilerActivity.CPU],
        schedule=schedule(wait=1, warmup=1, active=2, repeat=2),
        on_trace_ready=on_trace_ready,
        record_shapes=True,
        profile_memory=True,
    ) as prof:
        for step in range(args.steps):
            batch = torch.randint(0, 256, (32,))
            with record_function("forward"):
                loss = nn.functional.mse_loss(model(x[batch]), y[batch])
            optimizer.zero_grad()
            with record_function("backward"):
                loss.backward()
            optimizer.step()
            prof.step()
            if step % 5 == 0:
                print(f"step {step:3d} loss {loss.item():.5f}")
    averages = prof.key_averages()
    counts = {event.key: event.count for event in averages}
    for key in ("forward", "backward", "aten::linear", "aten::tanh", "AddmmBackward0",
                "Optimizer.step#SGD.step", "ProfilerStep*"):  # fmt: skip
        print(key, counts[key])
    table = averages.table(sort_by="self_cpu_time_total", row_limit=5)
    print(len(table.splitlines()), "Self CPU time total" in table, averages[0].cpu_time_total > 0)
    print(ready)


if __name__ == "__main__":
    main()
