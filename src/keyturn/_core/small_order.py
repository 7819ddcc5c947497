"""Points of small order on the Edwards curves, under which a signature can be made without any private key.

RFC 8032 leaves them valid and so does the crypto library; an issuer never has one by accident. There are eight points of
small order on Ed25519 (order 8 and its divisors) and four on Ed448; they are told by their y coordinate, the sign apart.
"""

from __future__ import annotations

_P25519 = 2**255 - 19
_P448 = 2**448 - 2**224 - 1

# The y coordinate of the points of order 8 on Ed25519: a root of d*y^4 + 2*y^2 - 1, by which doubling gives y = 0.
_Y_OF_ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")

_SMALL = {
    "Ed25519": (_P25519, frozenset({0, 1, _P25519 - 1, _Y_OF_ORDER_8, _P25519 - _Y_OF_ORDER_8})),
    "Ed448": (_P448, frozenset({0, 1, _P448 - 1})),
}


def has_small_order(curve: str, point: bytes) -> bool:
    """Return whether the encoded *point* of *curve* has small order, in whatever encoding (RFC 8032, sections 5.1.2 and 5.2.2)."""
    prime, small = _SMALL[curve]
    y = int.from_bytes(point, "little") & ~(1 << (len(point) * 8 - 1))
    return y % prime in small
