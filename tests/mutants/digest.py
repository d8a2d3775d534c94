"""The digest of `cellring epoch --digest`, for minibatches of CSR as `f32`: XXH3 of 128 bits, seed 0, of more than 240 bytes."""

import struct

import numpy as np

MASK = (1 << 64) - 1
P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
ACCUMULATORS = (P32[2], P64[0], P64[1], P64[2], P64[3], P32[1], P64[4], P32[0])
STRIPE = 64
STRIPES = (len(SECRET) - STRIPE) // 8


def _words(data, at):
    return np.frombuffer(data, "<u8", 8, at)


def _add(acc, data, at, secret_at):
    words = _words(data, at)
    keyed = words ^ _words(SECRET, secret_at)
    acc += words.reshape(4, 2)[:, ::-1].reshape(8)
    acc += (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))


def _merge(acc, secret_at, start):
    result = start
    for k in range(0, 8, 2):
        a, b = struct.unpack_from("<QQ", SECRET, secret_at + 8 * k)
        product = (int(acc[k]) ^ a) * (int(acc[k + 1]) ^ b)
        result += (product & MASK) ^ (product >> 64)
    result &= MASK
    result ^= result >> 37
    result = result * 0x165667919E3779F9 & MASK
    return result ^ result >> 32


def xxh3(data):
    if len(data) <= 240:
        raise ValueError("short inputs are hashed in another way")
    acc = np.array(ACCUMULATORS, np.uint64)
    last = len(data) - 1
    for stripe in range(last // STRIPE):
        in_block = stripe % STRIPES
        _add(acc, data, stripe * STRIPE, 8 * in_block)
        if in_block == STRIPES - 1:
            acc ^= acc >> np.uint64(47)
            acc ^= _words(SECRET, len(SECRET) - STRIPE)
            acc *= np.uint64(P32[0])
    _add(acc, data, len(data) - STRIPE, len(SECRET) - STRIPE - 7)
    low = _merge(acc, 11, len(data) * P64[0] & MASK)
    high = _merge(acc, len(SECRET) - STRIPE - 11, ~(len(data) * P64[1]) & MASK)
    return f"{high << 64 | low:032x}"


def of_rows(rows, obs, batch_size):
    """`rows`: of each of these obs its columns and values, in the order in which they are delivered."""
    parts = []
    for first in range(0, len(obs), batch_size):
        numbers = obs[first:first + batch_size]
        batch = rows[first:first + batch_size]
        lengths = [len(columns) for columns, _ in batch]
        parts.append(struct.pack("<QQ", len(batch), sum(lengths)))
        parts.append(np.asarray(numbers, "<u8").tobytes())
        parts.append(np.concatenate([[0], np.cumsum(lengths)]).astype("<i4").tobytes())
        parts += [np.asarray(columns).astype("<i4").tobytes() for columns, _ in batch]
        with np.errstate(over="ignore", invalid="ignore"):
            parts += [np.asarray(values).astype("<f4").tobytes() for _, values in batch]
    data = b"".join(parts)
    return xxh3(data) if len(data) > 240 else None
