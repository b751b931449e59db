import os
import sys

import numpy

print("numpy", numpy.__version__, "in", os.path.basename(sys.prefix))
print(open("built").read(), end="")
