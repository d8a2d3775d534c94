"""Inputs with other bytes, as bad sectors, broken copies and cut downloads leave them."""

from __future__ import annotations

import shutil


def copied(base, mutant):
    (shutil.copytree if base.path.is_dir() else shutil.copy)(base.path, mutant)


def change(random, base, mutant):
    copied(base, mutant)
    files = sorted(file for file in mutant.rglob("*") if file.is_file()) if mutant.is_dir() else [mutant]
    # What holds the matrix is what most of a file is in practice.
    of_matrix = [file for file in files if "/X/" in str(file)]
    file = random.choice(of_matrix if of_matrix and random.random() < 0.5 else files)
    data = bytearray(file.read_bytes())
    said = damage(random, data)
    file.write_bytes(data)
    return f"{file.name}: {said}"


def damage(random, data):
    size = len(data)
    if size == 0:
        data.extend(b"\0")
        return "a byte where none was"
    at = random.randrange(size)
    how = random.choice(["bit", "bit", "bit", "byte", "run of ff", "run of 0", "cut", "block twice", "block moved", "longer", "gone"])
    length = min(random.choice([4, 16, 64, 512, 4096]), size - at)
    if how == "bit":
        data[at] ^= 1 << random.randrange(8)
    elif how == "byte":
        data[at] = random.randrange(256)
    elif how == "run of ff":
        data[at:at + length] = b"\xff" * length
    elif how == "run of 0":
        data[at:at + length] = bytes(length)
    elif how == "cut":
        del data[at:]
    elif how == "block twice":
        data[at:at] = data[at:at + length]
    elif how == "block moved":
        other = random.randrange(size)
        data[at:at + length] = data[other:other + length].ljust(length, b"\0")
    elif how == "longer":
        data.extend(random.choice([b"\0", b"\xff"]) * length)
    else:
        del data[at:at + length]
    return f"{how} at byte {at}" + (f", {length} bytes" if how not in ("bit", "byte", "cut") else "")
