import os

print(open("/opt/kernels/lib/kernels.txt").read(), end="")
print("gpus", os.environ["NVIDIA_VISIBLE_DEVICES"])
