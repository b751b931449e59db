import os

import tinygrad
import tqdm

print("tinygrad", tinygrad.__version__, "tqdm", tqdm.__version__, "uid", os.getuid())
