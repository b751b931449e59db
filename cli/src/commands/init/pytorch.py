"""A first job: trains a line, and goes on from its checkpoint if it was interrupted. Replace it with your own program."""

import os
from pathlib import Path

import torch

# Try values with: dopq submit . --sweep LR=0.1,0.01
rate = float(os.environ.get("LR", "0.1"))
device = "cuda" if torch.cuda.is_available() else "cpu"
print("job", os.environ["DOPQ_JOB_ID"], "on", torch.cuda.get_device_name() if device == "cuda" else "the CPU")

model = torch.nn.Linear(1, 1).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=rate)
step = 0

# /checkpoint is kept for the job's next attempt.
checkpoint = Path("/checkpoint/state.pt")
if checkpoint.exists():
    state = torch.load(checkpoint, map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
    print("going on at step", step)

while step < 500:
    x = torch.rand(64, 1, device=device)
    loss = torch.nn.functional.mse_loss(model(x), 3 * x + 1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.6f}")
        # The rename leaves a whole file, whenever the job is stopped.
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, "/checkpoint/state.tmp")
        os.replace("/checkpoint/state.tmp", checkpoint)

# What lies in /outdir at the end comes back with: dopq fetch last
torch.save(model.state_dict(), "/outdir/model.pt")
