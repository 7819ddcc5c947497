"""Published examples, read and verified as they were published.

The values are those of RFC 7515, appendix A (JWS), RFC 8037, appendix A (Edwards curves) and RFC 7638, section 3.1 (thumbprints).
Where the library must refuse an example (HMAC, none, a general serialisation), the test says why.
"""

from __future__ import annotations

import json

import pytest

from keyturn import DEFAULT_ALGORITHMS, DisallowedAlgorithmError, MalformedTokenError, TokenValidator
from keyturn._core import base64url
from keyturn._core.jwk import UnusableKeyError, signing_key
from keyturn._core.strict_json import parse_token_part
from keyturn._core.token import read_token
from keyturn.sources import StaticKeySet
from keyturn.testing import FakeClock

# RFC 7515, appendices A.1, A.2 and A.3: all three sign this payload, whose line breaks are part of it.
PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
CLAIMS = {"iss": "joe", "exp": 1_300_819_380, "http://example.com/is_root": True}

HS256_TOKEN = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

RS256_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdV"
    "MTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RS256_TOKEN = (
    f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZ"
    "cAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e"
    "OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)

ES256_KEY = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
ES256_TOKEN = f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

# RFC 7515, appendix A.4: the payload is the word "Payload".
ES512_KEY = {
    "kty": "EC",
    "crv": "P-521",
    "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
    "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
}
ES512_TOKEN = (
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA."
    "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3"
    "xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
)

# RFC 7515, appendix A.5.
NONE_TOKEN = f"eyJhbGciOiJub25lIn0.{PAYLOAD}."

# RFC 8037, appendices A.2 to A.4: the payload is the text "Example of Ed25519 signing".
ED25519_KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ED25519_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

# RFC 7638, section 3.1.
THUMBPRINT_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMst"
    "n64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n9"
    "1CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def verifies(key: dict[str, str], token: str, algorithm: str) -> bool:
    """Return whether *token* verifies under *key*, without judging its claims."""
    signing_input, _, signature = token.rpartition(".")
    return signing_key(key).verifies(algorithm, base64url.decode(signature.encode()), signing_input.encode())


@pytest.mark.parametrize(
    ("key", "token", "algorithm"),
    [
        (RS256_KEY, RS256_TOKEN, "RS256"),
        (ES256_KEY, ES256_TOKEN, "ES256"),
        (ES512_KEY, ES512_TOKEN, "ES512"),
        (ED25519_KEY, ED25519_TOKEN, "EdDSA"),
        (ED25519_KEY, ED25519_TOKEN, "Ed25519"),
    ],
)
def test_published_signatures_verify(key: dict[str, str], token: str, algorithm: str) -> None:
    """RFC 7515, A.2 to A.4, and RFC 8037, A.4 and A.5; no other algorithm and no changed octet verifies."""
    assert verifies(key, token, algorithm)
    assert not any(verifies(key, token, other) for other in set(DEFAULT_ALGORITHMS) - {algorithm, "EdDSA", "Ed25519"})
    head, _, signature = token.rpartition(".")
    assert not verifies(key, f"{head}x.{signature}", algorithm)
    assert not verifies(key, f"{head}.{signature[:40]}{'A' if signature[40] != 'A' else 'B'}{signature[41:]}", algorithm)


@pytest.mark.parametrize(("key", "token"), [(RS256_KEY, RS256_TOKEN), (ES256_KEY, ES256_TOKEN)])
def test_published_tokens_are_read(key: dict[str, str], token: str) -> None:
    """RFC 7515, A.2 and A.3: header, claims and signing input are those of the text, line breaks and all."""
    unverified = read_token(token, algorithms=DEFAULT_ALGORITHMS, max_bytes=16_384)
    assert unverified.unverified_claims == CLAIMS
    assert token.rpartition(".")[0].encode() == unverified.signing_input
    assert signing_key(key).verifies(unverified.unverified_header["alg"], unverified.signature, unverified.signing_input)


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (HS256_TOKEN, DisallowedAlgorithmError),
        (NONE_TOKEN, DisallowedAlgorithmError),
        (ES512_TOKEN, MalformedTokenError),
        (ED25519_TOKEN, MalformedTokenError),
    ],
)
def test_published_tokens_that_are_not_for_us(token: str, error: type[Exception]) -> None:
    """RFC 7515, A.1 (HMAC) and A.5 (none) have no allowed algorithm; A.4 and RFC 8037, A.4, sign text that is no claims set."""
    validator = TokenValidator(StaticKeySet.from_jwks({"keys": [ES512_KEY, ED25519_KEY]}), issuer="joe", audience="x", clock=FakeClock())
    with pytest.raises(error):
        validator.validate(token)


def test_published_serialisations_that_are_not_compact() -> None:
    """RFC 7515, A.6 and A.7: the general and the flattened form of the same signature are refused (RFC 7519, section 1)."""
    header, payload, signature = ES256_TOKEN.split(".")
    flattened = {"payload": payload, "protected": header, "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"}, "signature": signature}
    for document in (flattened, {"payload": payload, "signatures": [flattened]}):
        with pytest.raises(MalformedTokenError):
            read_token(json.dumps(document), algorithms=DEFAULT_ALGORITHMS, max_bytes=16_384)


def test_the_published_base64url_example() -> None:
    """RFC 7515, appendix C: five octets, with both characters that differ from base64."""
    octets = bytes([3, 236, 255, 224, 193])
    assert "A-z_4ME" == base64url.encode(octets)
    assert octets == base64url.decode(b"A-z_4ME")
    assert parse_token_part(base64url.decode(PAYLOAD.encode())) == CLAIMS


@pytest.mark.parametrize(
    ("key", "thumbprint"),
    [(THUMBPRINT_KEY, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), (ED25519_KEY, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")],
)
def test_published_thumbprints(key: dict[str, str], thumbprint: str) -> None:
    """RFC 7638, section 3.1, and RFC 8037, appendix A.3; a kid and an algorithm do not change them."""
    assert thumbprint == signing_key(key).thumbprint
    assert thumbprint == signing_key({**key, "kid": "other"}).thumbprint


def test_the_published_key_agreement_key_does_not_sign() -> None:
    """RFC 8037, appendix A.6: X25519 agrees on keys."""
    with pytest.raises(UnusableKeyError, match="does not sign"):
        signing_key({"kty": "OKP", "crv": "X25519", "kid": "Bob", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"})


def test_the_published_private_key_is_refused() -> None:
    """RFC 8037, appendix A.1: with its private part it is no entry of a key set."""
    with pytest.raises(UnusableKeyError, match='member "d"'):
        signing_key({**ED25519_KEY, "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"})
