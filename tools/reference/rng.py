"""base/rng.h in NumPy: the same counter-based noise, so that Python and C++ draw identical numbers."""
import numpy as np

INITIAL, SAMPLER, RESAMPLE, KNOWN, SHUFFLE = 1, 2, 3, 4, 5
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox4x32(counter, key):
    """Philox4x32-10. counter: uint64 array [n, 4] holding 32-bit words; key: two 32-bit words."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = [np.uint64(key[0]), np.uint64(key[1])]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> _SHIFT) ^ c[1] ^ k[0], b & _MASK, (a >> _SHIFT) ^ c[3] ^ k[1], a & _MASK]
        k = [(k[0] + np.uint64(0x9E3779B9)) & _MASK, (k[1] + np.uint64(0xBB67AE85)) & _MASK]
    return np.stack(c, axis=1)


def fill_normal(seed, purpose, frame, evaluation, count):
    """`count` standard normal float32 values for the key, as fill_normal() of base/rng.h."""
    blocks = (count + 3) // 4
    counter = np.empty((blocks, 4), dtype=np.uint64)
    counter[:, 0] = np.arange(blocks, dtype=np.uint64)
    counter[:, 1] = frame & 0xFFFFFFFF
    counter[:, 2] = ((frame >> 32) << 8) | purpose
    counter[:, 3] = evaluation
    words = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    unit = (words.astype(np.float64) + 1.0) * 2.0**-32
    radius = np.sqrt(-2.0 * np.log(unit[:, 0::2]))
    angle = 2.0 * np.pi * unit[:, 1::2]
    values = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    return values.reshape(-1)[:count].astype(np.float32)


def random_word(seed, purpose, frame, i):
    """The i-th 32-bit word of the key's stream, as random_word() of base/rng.h."""
    counter = np.array([[i // 4, frame & 0xFFFFFFFF, ((frame >> 32) << 8) | purpose, 0]], dtype=np.uint64)
    return int(philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))[0, i % 4])


def frames_normal(seed, purpose, frames, evaluation, shape):
    """[len(frames), *shape]: every frame's own draw, in [C, h, w] order."""
    count = int(np.prod(shape))
    return np.stack([fill_normal(seed, purpose, f, evaluation, count).reshape(shape) for f in frames])
