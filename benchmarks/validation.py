"""A full strict validation with a held key, beside a bare verify of the same signature and beside other libraries.

keyturn runs in two forms in one process: with the standard library alone, and with the decoders of `keyturn[speed]` where they are
installed. Its token cache is timed beside both, with the same token again and again.
"""

from __future__ import annotations

import base64
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from benchmarks import peers
from benchmarks.measuring import Contestant, Race
from keyturn import TokenValidator
from keyturn._core import speed
from keyturn.errors import InvalidTokenError
from keyturn.testing import FakeIssuer

AUDIENCE = "api://bench"
FORMS = ("keyturn", "keyturn[speed]", "keyturn, cached", "keyturn[speed], cached")

_BOTH = {
    "keyturn": {"RS256": 1.7, "PS256": 1.65, "ES256": 1.3, "RS256-4096": 1.3, "EdDSA": 1.15},
    "keyturn[speed]": {"RS256": 1.45, "PS256": 1.4, "ES256": 1.2, "RS256-4096": 1.2, "EdDSA": 1.1},
}
_RS256 = {"keyturn, cached": 0.35, "keyturn[speed], cached": 0.16}
USUAL = 1_300
SIZES = (500, USUAL, 8_000)
LONGEST = 11_800
"""Characters of a token with two hundred groups."""


@dataclass(frozen=True)
class Kind:
    """What is signed: an algorithm, the bits of an RSA key, and the length of the token in characters."""

    name: str
    size: int

    @property
    def algorithm(self) -> str:
        """The name that the header has."""
        return self.name.partition("-")[0]

    @property
    def rsa_bits(self) -> int:
        """Bits of the key, if it is an RSA key."""
        return int(self.name.partition("-")[2] or 2_048)

    @property
    def goals(self) -> Mapping[str, float]:
        """Upper bounds of the ratios to a bare verify."""
        if self.size == USUAL:
            return {form: found[self.name] for form, found in _BOTH.items()} | (_RS256 if self.name == "RS256" else {})
        return {"keyturn[speed]": 2.0} if self.size == LONGEST else {}


KINDS = (*(Kind(name, size) for name in ("RS256", "PS256", "ES256", "EdDSA", "RS256-4096") for size in SIZES), Kind("RS256", LONGEST))


@dataclass(frozen=True)
class Row:
    """The figures of one kind of token.

    Attributes:
        name: Algorithm, with the bits of the key where they are not the usual ones.
        token_bytes: Length of the token.
        bare_microseconds: One bare verify, median of the rounds that count.
        bare_microseconds_of_all: The same of all rounds: far above the other, it tells of a machine that was not quiet.
        ratios: Each contestant's ratio to it.
        ratios_of_all: The median of the ratios within each round, of all rounds.
        goals: Upper bounds of some.
        left_out: Contestants that do not know the algorithm or are not installed, with what they raised.
    """

    name: str
    token_bytes: int
    bare_microseconds: float
    bare_microseconds_of_all: float
    ratios: Mapping[str, float]
    ratios_of_all: Mapping[str, float]
    goals: Mapping[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> tuple[str, ...]:
        """The goals that were missed, in words."""
        return tuple(
            f"{self.name}, {self.token_bytes} bytes: {form} {self.ratios[form]:.2f}, goal {goal}"
            for form, goal in self.goals.items()
            if form in self.ratios and self.ratios[form] > goal
        )


def measure(rounds: int, kinds: Sequence[Kind] = KINDS, tell: Callable[[int], object] = lambda _: None) -> list[Row]:
    """Measure tokens of several kinds in so many rounds, of which each contestant's own quickest fifth counts.

    Every round takes all kinds, so that no kind has the machine's bad minutes to itself. *tell* is called with the number of each round.
    """
    entries = [_Entry.of(kind) for kind in kinds]
    # What lives by now lives to the end. Left out of them, collections are short, and leave the caches of the processor as they are.
    gc.freeze()
    try:
        for number in range(rounds):
            tell(number + 1)
            for entry in entries:
                entry.race.run()
    finally:
        gc.unfreeze()
        _as_installed()
    return [entry.row() for entry in entries]


@dataclass(frozen=True)
class _Entry:
    """One kind of token, and everybody who validates it."""

    kind: Kind
    token_bytes: int
    race: Race
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, kind: Kind) -> _Entry:
        """Let everybody in who accepts the token once, and refuses a forged one; the issuer's server is gone before anything is timed."""
        issuer = FakeIssuer("https://issuer.test", algorithm=kind.algorithm, rsa_bits=kind.rsa_bits, audience=AUDIENCE)
        token, forged = token_of(issuer, kind.size), issuer.forge()
        with issuer.serve() as server:
            terms = peers.Terms.of(issuer, server)
            judges, left_out = peers.entered(terms, token, forged)
        bare = bare_verify(kind.algorithm, jwt.PyJWK(dict(terms.jwk), algorithm=kind.algorithm).key, token)
        contestants = {"bare": Contestant(bare), **ours(issuer, token, forged)}
        contestants |= {name: Contestant(partial(judge, token)) for name, judge in judges.items()}
        return cls(kind, len(token), Race(contestants), left_out)

    def row(self) -> Row:
        """Return the figures."""
        series = self.race.results()
        bare = series.pop("bare")
        return Row(
            self.kind.name,
            self.token_bytes,
            bare.quick * 1e6,
            bare.median * 1e6,
            {name: found.ratio_to(bare) for name, found in series.items()},
            {name: found.median_ratio_to(bare) for name, found in series.items()},
            self.kind.goals,
            self.left_out,
        )


def ours(issuer: FakeIssuer, token: str, forged: str) -> dict[str, Contestant]:
    """Return keyturn in every form that can run here."""
    plain, caching = (TokenValidator(issuer.issuer, audience=AUDIENCE, fetcher=issuer.fetcher(), token_cache_size=size) for size in (0, 100))
    found = {}
    for form in FORMS:
        prepare = _as_installed if "[speed]" in form else _without_extra
        if "[speed]" in form and not has_extra():
            continue
        validator = caching if "cached" in form else plain
        prepare()
        validator.validate(token)
        _refused(validator, forged)
        found[form] = Contestant(partial(validator.validate, token), prepare)
    return found


def _refused(validator: TokenValidator, forged: str) -> None:
    try:
        validator.validate(forged)
    except InvalidTokenError:
        return
    raise RuntimeError(f"{validator!r} accepted a forged token")


_INSTALLED = (speed.compiled_json, speed.decode_base64)


def has_extra() -> bool:
    """Return whether both decoders of the extra are installed."""
    return None not in _INSTALLED and speed.standard_base64 not in _INSTALLED


def _as_installed() -> None:
    speed.compiled_json, speed.decode_base64 = _INSTALLED


def _without_extra() -> None:
    speed.compiled_json, speed.decode_base64 = None, speed.standard_base64


def token_of(issuer: FakeIssuer, size: int) -> str:
    """Return a token of about *size* characters, with the claims of an access token and as many groups as fit."""
    claims: dict[str, Any] = {"scopes": ["orders:read", "orders:write"], "name": "Alice Example"}
    room = max(0, size - len(issuer.token(**claims, groups=[]))) * 3 // 4
    groups = [f"{number:08d}-4a6c-4c1f-9d7e-2f6b1c0a9e51" for number in range(room // 39)]
    note = "n" * max(0, room - 39 * len(groups) - 10)
    return issuer.token(**claims, groups=groups, **({"note": note} if note else {}))


def bare_verify(algorithm: str, key: Any, token: str) -> Callable[[], object]:
    """Return the one call that no validator can do without: the crypto library's verify, with everything made ready for it."""
    signing_input, _, segment = token.rpartition(".")
    data = signing_input.encode()
    signature = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    verify = key.verify
    digest = hashes.SHA256()
    if algorithm == "ES256":
        der, ecdsa = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:])), ec.ECDSA(digest)
        return lambda: verify(der, data, ecdsa)
    if algorithm == "EdDSA":
        return lambda: verify(signature, data)
    scheme = padding.PKCS1v15() if algorithm == "RS256" else padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
    return lambda: verify(signature, data, scheme, digest)
