"""A second X-Wing encapsulation and HPKE base mode, in plain Python: for tests and vectors only.

The library draws its own randomness and takes none, so with it no box is ever made twice. Here
the 64 bytes come from the caller, and everything else follows FIPS 203, draft-connolly-cfrg-
xwing-kem and RFC 9180: slow, obvious, and not hardened against anything.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Q = 3329
N = 256
K = 3
ETA = 2
DU, DV = 10, 4
MLKEM_KEY_BYTES = 1184
COINS_BYTES = 64
SUITE_ID = b"HPKE" + bytes.fromhex("647a 0001 0002")

Polynomial = list[int]


def _bit_reversed(value: int) -> int:
    return int(f"{value:07b}"[::-1], 2)


_ZETAS = [pow(17, _bit_reversed(i), Q) for i in range(128)]
_GAMMAS = [pow(17, 2 * _bit_reversed(i) + 1, Q) for i in range(128)]


def _ntt(values: Polynomial) -> Polynomial:
    f, i, length = list(values), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, i = _ZETAS[i], i + 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def _inverse_ntt(values: Polynomial) -> Polynomial:
    f, i, length = list(values), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta, i = _ZETAS[i], i - 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def _products(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = []
    for i, gamma in enumerate(_GAMMAS):
        a0, a1, b0, b1 = a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def _sum(*terms: Polynomial) -> Polynomial:
    return [sum(column) % Q for column in zip(*terms, strict=True)]


def _uniform(rho: bytes, j: int, i: int) -> Polynomial:
    stream = hashlib.shake_128(rho + bytes((j, i))).digest(3 * 1024)
    out: Polynomial = []
    for at in range(0, len(stream), 3):
        low, middle, high = stream[at : at + 3]
        out += [x for x in (low | (middle & 15) << 8, middle >> 4 | high << 4) if x < Q]
    return out[:N]


def _small(seed: bytes, number: int) -> Polynomial:
    bits = int.from_bytes(hashlib.shake_256(seed + bytes((number,))).digest(64 * ETA), "little")
    out: Polynomial = []
    for i in range(N):
        nibble = bits >> 4 * i & 15
        out.append(((nibble & 1) + (nibble >> 1 & 1) - (nibble >> 2 & 1) - (nibble >> 3)) % Q)
    return out


def _encode(values: Polynomial, width: int) -> bytes:
    packed = sum(value << width * i for i, value in enumerate(values))
    return packed.to_bytes(N * width // 8, "little")


def _decode(data: bytes, width: int) -> Polynomial:
    packed = int.from_bytes(data, "little")
    return [packed >> width * i & ((1 << width) - 1) for i in range(N)]


def _compress(values: Polynomial, width: int) -> Polynomial:
    return [((x << width) + Q // 2) // Q % (1 << width) for x in values]


def mlkem_encapsulate(key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """Return (shared secret, ciphertext) of ML-KEM.Encaps_internal (FIPS 203 algorithm 17)."""
    shared, seed = _halves(hashlib.sha3_512(message + hashlib.sha3_256(key).digest()).digest())
    t = [_decode(key[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    rho = key[384 * K :]
    y = [_ntt(_small(seed, i)) for i in range(K)]
    u = []
    for i in range(K):
        column = [_products(_uniform(rho, i, j), y[j]) for j in range(K)]
        u.append(_sum(_inverse_ntt(_sum(*column)), _small(seed, K + i)))
    mu = [bit * ((Q + 1) // 2) for bit in _decode(message, 1)]
    product = _sum(*(_products(t[j], y[j]) for j in range(K)))
    v = _sum(_inverse_ntt(product), _small(seed, 2 * K), mu)
    ciphertext = b"".join(_encode(_compress(each, DU), DU) for each in u)
    return shared, ciphertext + _encode(_compress(v, DV), DV)


def _halves(data: bytes) -> tuple[bytes, bytes]:
    return data[:32], data[32:]


def encapsulate(public_key: bytes, coins: bytes) -> tuple[bytes, bytes]:
    """Return (shared secret, ciphertext) of X-Wing's EncapsulateDerand: 32 and 1,120 bytes."""
    key_m, key_x = public_key[:MLKEM_KEY_BYTES], public_key[MLKEM_KEY_BYTES:]
    secret_m, sent_m = mlkem_encapsulate(key_m, coins[:32])
    ephemeral = X25519PrivateKey.from_private_bytes(coins[32:])
    sent_x = ephemeral.public_key().public_bytes_raw()
    secret_x = ephemeral.exchange(X25519PublicKey.from_public_bytes(key_x))
    combined = secret_m + secret_x + sent_x + key_x + b"\\.//^\\"
    return hashlib.sha3_256(combined).digest(), sent_m + sent_x


def _extract(salt: bytes, label: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE_ID + label + key, "sha256")


def _expand(secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    message = length.to_bytes(2, "big") + b"HPKE-v1" + SUITE_ID + label + info
    return hmac.digest(secret, message + b"\x01", "sha256")[:length]


def seal(public_key: bytes, plaintext: bytes, info: bytes, coins: bytes) -> bytes:
    """Return `enc || ciphertext` of HPKE base mode, single shot, no additional data."""
    shared, enc = encapsulate(public_key, coins)
    context = b"\x00" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key = _expand(secret, b"key", context, 32)
    nonce = _expand(secret, b"base_nonce", context, 12)
    return enc + AESGCM(key).encrypt(nonce, plaintext, b"")
