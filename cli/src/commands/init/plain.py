"""A first job: says where it runs and leaves a result. Replace it with your own program."""

import os
from pathlib import Path

print("job", os.environ["DOPQ_JOB_ID"], "attempt", os.environ["DOPQ_ATTEMPT"])
print("GPUs:", os.environ.get("NVIDIA_VISIBLE_DEVICES", "none"))

# What lies in /outdir at the end comes back with: dopq fetch last
Path("/outdir/result.txt").write_text("done\n")
