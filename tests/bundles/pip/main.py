import idna
import six

print("six", six.__version__, "idna", idna.__version__)
