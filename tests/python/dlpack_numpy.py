"""Reads a minibatch with numpy, without a copy, by way of the library that examples/dlpack.rs makes.

dlpack_numpy.py LIBRARY STORE: prints, as JSON, what numpy sees with and without versions.
"""

import ctypes
import gc
import json
import sys

import numpy as np

NAMES = {True: b"dltensor_versioned", False: b"dltensor"}

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Tensor:
    """What numpy.from_dlpack asks for. (One that nobody consumes would be leaked: the capsule has no destructor.)"""

    def __init__(self, library, minibatch, part, versioned):
        self.pointer = library.cellring_tensor(minibatch, part, versioned)
        self.versioned = versioned

    def __dlpack_device__(self):
        return (1, 0)  # kDLCPU

    def __dlpack__(self, **_):
        return new_capsule(self.pointer, NAMES[self.versioned], None)


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.cellring_first.restype = ctypes.c_void_p
    library.cellring_first.argtypes = [ctypes.c_char_p]
    library.cellring_tensor.restype = ctypes.c_void_p
    library.cellring_tensor.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_bool]
    library.cellring_drop.argtypes = [ctypes.c_void_p]
    seen = {}
    for versioned in (True, False):
        minibatch = library.cellring_first(sys.argv[2].encode())
        arrays = [np.from_dlpack(Tensor(library, minibatch, part, versioned)) for part in range(3)]
        again = np.from_dlpack(Tensor(library, minibatch, 2, versioned))
        library.cellring_drop(minibatch)
        seen["versioned" if versioned else "old"] = {
            "dtypes": [str(array.dtype) for array in arrays],
            "arrays": [array.tolist() for array in arrays],
            "shared": bool(again.ctypes.data == arrays[2].ctypes.data),
            "writeable": bool(again.flags.writeable),
        }
        del arrays, again
        gc.collect()
    print(json.dumps(seen))


main()
