"""Federation metadata: the keys of an issuer as SAML and WS-Federation publish them (SAML V2.0 Metadata; WS-Federation 1.2, section 3).

Rules of this file:

1. Exactly one entity of the document is the issuer, by its entityID, code point by code point; entities are never merged. The one
   template is Entra's, which stands for a tenant's GUID (SAML Metadata, section 2.3.2).
2. Only roles that issue tokens have keys: an IDPSSODescriptor, or a RoleDescriptor whose `xsi:type` is SecurityTokenServiceType, by
   namespace and not by prefix. Certificates anywhere else are told of, and never used (WS-Federation, section 3.1).
3. A key counts if its `use` is `signing` or absent, which means every use (SAML Metadata, section 2.4.1.1).
4. Every certificate counts, wherever it stands; the order of the document means nothing (R1, R2). A bad one is skipped with its reason.
5. `validUntil` in the past refuses the document, or the role that says so; `cacheDuration` is a hint (SAML Metadata, section 2.3.2).
6. Trust is TLS to the configured location and the entityID. A signature is evaluated only for a pinned signer (`metadata_signature.py`),
   because the certificate inside it proves that somebody signed, and not who.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from keyturn._core.certificate import certified_key, sha1_thumbprint
from keyturn._core.jwk import SigningKey, UnusableKeyError
from keyturn._core.key_set import MOST_KEYS, KeySet, SkippedKey, no_usable_key
from keyturn._core.metadata_time import duration, instant, shown
from keyturn._core.revocation import normal_thumbprint
from keyturn._core.strict_xml import Element, NotStrictXMLError, parse_document
from keyturn.errors import ConfigurationError, InvalidKeySetError, quoted

MOST_KEY_DESCRIPTORS = 200
"""KeyDescriptors of one entity: real ones have fewer than 20 (R16)."""

_MD = "{urn:oasis:names:tc:SAML:2.0:metadata}"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_TOKEN_SERVICE = "{http://docs.oasis-open.org/wsfed/federation/200706}SecurityTokenServiceType"  # noqa: S105 - the name of a role
_NO_ROLES = frozenset({f"{_MD}EntitiesDescriptor", f"{_MD}EntityDescriptor", f"{_MD}AffiliationDescriptor"})
_SHOWN = 5
_SHA256_CHARACTERS = 43

_TEMPLATE = re.compile(r"\{tenant(?:id)?\}")
_TENANT = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_HTML = {"text/html", "application/xhtml+xml"}


@dataclass(frozen=True, slots=True)
class MetadataRole:
    """One kind of role that an entity has.

    Attributes:
        name: `IDPSSODescriptor`, or another local name; of a RoleDescriptor that of its type, such as `SecurityTokenServiceType`.
        issues_tokens: Whether tokens may be signed with its keys.
        keys: Its signing keys, and what cannot serve with the reason; without a key where it issues no tokens.
    """

    name: str
    issues_tokens: bool
    keys: KeySet


@dataclass(frozen=True, slots=True)
class FederationMetadataDocument:
    """What an issuer says about itself in a SAML or WS-Federation document.

    Attributes:
        entity_id: The issuer, equal to the configured one; Entra's template is expanded.
        keys: The keys of every role that issues tokens, and what was skipped with the reason.
        roles: What the entity is, by name.
        valid_until: Seconds since the epoch until which the document says that it holds, or None.
        cache_duration: Seconds for which it asks to be kept, or None.
        signed: Whether it carries a signature, which proves nothing unless a signer is pinned.
        signer: SHA-256 thumbprint of the pinned certificate that verified the signature, or None where none is pinned.
    """

    entity_id: str
    keys: KeySet
    roles: tuple[MetadataRole, ...]
    valid_until: float | None = None
    cache_duration: float | None = None
    signed: bool = False
    signer: str | None = None

    @classmethod
    def parse(
        cls,
        document: bytes,
        *,
        entity_ids: str | Collection[str],
        now: float,
        content_type: str = "",
        max_keys: int = MOST_KEYS,
        signers: Collection[str] = (),
    ) -> FederationMetadataDocument:
        """Read a document of a known issuer.

        Args:
            document: The document as sent.
            entity_ids: The configured issuer, or several names of it; exactly one entity must have one of them.
            now: Seconds since the epoch, for `validUntil`.
            content_type: Content-Type that came with it; an HTML page is refused.
            max_keys: Certificates of issuing roles above which the whole document is refused.
            signers: SHA-256 thumbprints of certificates; one of them must have signed what is read. Needs `keyturn[saml]`.

        Raises:
            ConfigurationError: *signers* cannot be used.
            InvalidKeySetError: Not such a document, of another issuer, not valid any more, not signed as asked, or without a usable key.
        """
        names = (entity_ids,) if isinstance(entity_ids, str) else tuple(entity_ids)
        found = _read(document, names, now=now, content_type=content_type, max_keys=max_keys, signers=signers)
        if not any(role.issues_tokens for role in found.roles):
            roles = ", ".join(quoted(role.name) for role in found.roles[:_SHOWN]) or "none"
            raise InvalidKeySetError(
                f"{quoted(found.entity_id)} has no role that issues tokens: expected IDPSSODescriptor or SecurityTokenServiceType, got {roles}",
                hint="This is the metadata of a service that receives tokens: `metadata_url` needs that of the issuer.",
            )
        if not found.keys.keys:
            raise InvalidKeySetError(no_usable_key(found.keys.skipped, "federation metadata"), hint="The keys that are held stay.")
        return found

    @classmethod
    def read(cls, document: bytes, *, now: float, content_type: str = "", max_keys: int = MOST_KEYS) -> FederationMetadataDocument:
        """Read a document of one entity, whoever it is, for whoever looks at it: one without a usable key is an answer here.

        The arguments are those of `parse()`.

        Raises:
            InvalidKeySetError: Not such a document, of several entities, or not valid any more.
        """
        return _read(document, None, now=now, content_type=content_type, max_keys=max_keys, signers=())


def pinned_signers(signers: object) -> frozenset[str]:
    """Return thumbprints of signers in base64url, once what verifies their signatures is loaded.

    Raises:
        ConfigurationError: One is no SHA-256 thumbprint, or `keyturn[saml]` is not installed.
    """
    listed = (signers,) if isinstance(signers, str) else signers
    if not isinstance(listed, Iterable) or isinstance(listed, (bytes, Mapping)):
        raise ConfigurationError(f"metadata_signer is {quoted(signers)}, expected a thumbprint or a list of them (setting: metadata_signer)")
    pinned = frozenset(normal_thumbprint(thumbprint, "metadata_signer") for thumbprint in listed)
    for thumbprint in pinned:
        if len(thumbprint) != _SHA256_CHARACTERS:
            raise ConfigurationError(
                f"metadata_signer is the SHA-1 thumbprint {quoted(thumbprint)}, expected SHA-256 (setting: metadata_signer)",
                hint="A SHA-1 thumbprint names a certificate and is too weak to pin one: use the 32 bytes of SHA-256.",
            )
    if pinned:
        try:
            import keyturn._core.metadata_signature  # noqa: F401, PLC0415 - loads what only the extra brings
        except ImportError as error:
            raise ConfigurationError(
                f"signatures of metadata are verified by signxml and lxml, of which {quoted(error.name)} is not installed (setting: metadata_signer)",
                hint='They come with an extra: pip install "keyturn[saml]".',
            ) from error
    return pinned


def _read(
    document: bytes, names: tuple[str, ...] | None, *, now: float, content_type: str, max_keys: int, signers: Collection[str]
) -> FederationMetadataDocument:
    root, signer = _root(document, content_type), None
    pinned = pinned_signers(signers)
    if pinned:
        from keyturn._core.metadata_signature import signed_part  # noqa: PLC0415 - loads what only the extra brings

        document, signer = signed_part(document, pinned, wanted=lambda entity_id: _name(entity_id, names) is not None)
        root = _root(document, content_type)
    path, entity_id = _entity(root, names)
    valid_until = _least(instant(text) for text in _stated(path, "validUntil"))
    if valid_until is not None and valid_until <= now:
        raise InvalidKeySetError(f"the federation metadata of {quoted(entity_id)} was valid until {shown(valid_until)}")
    roles = _roles(path[-1], now, max_keys)
    keys = KeySet([key for role in roles for key in role.keys.keys])
    used = {key.kid for key in keys.keys}
    # The same certificate in a further place is no news where it is used already.
    skipped = {entry for role in roles for entry in role.keys.skipped if not entry.kid or entry.kid not in used}
    return FederationMetadataDocument(
        entity_id=entity_id,
        keys=KeySet(keys.keys, skipped),
        roles=roles,
        valid_until=valid_until,
        cache_duration=_least(seconds for text in _stated(path, "cacheDuration") if (seconds := duration(text)) is not None),
        signed=any(element.all(f"{_DS}Signature") for element in path),
        signer=signer,
    )


def _root(document: bytes, content_type: str) -> Element:
    if document.lstrip()[:1] == b"{":
        raise InvalidKeySetError("expected federation metadata, got JSON", hint="Set `jwks_url` or `discovery_url` instead of `metadata_url`.")
    if content_type.partition(";")[0].strip().lower() in _HTML:
        raise InvalidKeySetError("expected federation metadata, got an HTML page", hint=_WRONG_PLACE)
    try:
        return parse_document(document)
    except NotStrictXMLError as error:
        raise InvalidKeySetError(f"expected federation metadata, got {error}", hint=_WRONG_PLACE) from None


_WRONG_PLACE = "Check `metadata_url`: it is where the SAML or WS-Federation document of the issuer stands."


# The entity.


def _entity(root: Element, names: tuple[str, ...] | None) -> tuple[tuple[Element, ...], str]:
    """Return the one entity that is meant, with the elements around it before it, and its name."""
    paths = list(_entities((root,)))
    if not paths:
        raise InvalidKeySetError(f"expected federation metadata, got XML with the root {quoted(root.tag)}", hint=_WRONG_PLACE)
    stated = [path[-1].attributes.get("entityID", "") for path in paths]
    found = [(path, name) for path, entity_id in zip(paths, stated, strict=True) if (name := _name(entity_id, names)) is not None]
    if len(found) != 1:
        _refuse(stated, names, len(found))
    return found[0]


def _entities(path: tuple[Element, ...]) -> Iterator[tuple[Element, ...]]:
    if path[-1].tag == f"{_MD}EntityDescriptor":
        yield path
    elif path[-1].tag == f"{_MD}EntitiesDescriptor":
        for child in path[-1].children:
            yield from _entities((*path, child))


def _name(entity_id: str, names: tuple[str, ...] | None) -> str | None:
    """Return which of *names* an entityID is; without names it is its own."""
    if names is None or entity_id in names:
        return entity_id
    return next((name for name in names if _expands(entity_id, name)), None)


def _expands(entity_id: str, name: str) -> bool:
    """Return whether *entity_id* is Entra's template of *name*: equal, but for a placeholder where *name* has a tenant's GUID."""
    before, *after = _TEMPLATE.split(entity_id)
    return len(after) == 1 and re.fullmatch(f"{re.escape(before)}{_TENANT}{re.escape(after[0])}", name) is not None


def _refuse(stated: list[str], names: tuple[str, ...] | None, count: int) -> NoReturn:
    shown_ids = ", ".join(quoted(entity_id) for entity_id in sorted(set(stated))[:_SHOWN])
    more = f" and {len(stated) - _SHOWN} more" if len(set(stated)) > _SHOWN else ""
    if names is None:
        raise InvalidKeySetError(f"the federation metadata is of {len(stated)} entities, expected one: {shown_ids}{more}")
    expected = " or ".join(quoted(name) for name in names)
    if count:
        raise InvalidKeySetError(f"the federation metadata names {expected} {count} times, expected once (setting: issuer)")
    near = {_bare(name) for name in names} & {_bare(entity_id) for entity_id in stated}
    raise InvalidKeySetError(
        f"the federation metadata is of {shown_ids}{more}, expected {expected} (setting: issuer)",
        hint="The two differ by a scheme or a final slash alone. They are compared character by character: set `issuer` to what the document says."
        if near
        else "If this is the right document, set `issuer` to the entityID that stands in it.",
    )


def _bare(name: str) -> str:
    return name.rpartition("://")[2].rstrip("/")


def _stated(path: tuple[Element, ...], attribute: str) -> Iterator[str]:
    return (element.attributes[attribute] for element in path if attribute in element.attributes)


def _least(values: Iterable[float]) -> float | None:
    return min(values, default=None)


# Roles and keys.


def _roles(entity: Element, now: float, max_keys: int) -> tuple[MetadataRole, ...]:
    elements = [child for child in entity.children if child.tag.startswith(_MD) and child.tag.endswith("Descriptor") and child.tag not in _NO_ROLES]
    descriptors = sum(len(role.all(f"{_MD}KeyDescriptor")) for role in elements)
    if descriptors > MOST_KEY_DESCRIPTORS:
        raise InvalidKeySetError(
            f"the federation metadata has {descriptors} KeyDescriptors of one entity; at most {MOST_KEY_DESCRIPTORS} are allowed"
        )
    entries = [entry for role in elements for entry in _entries(role, now)]
    published = {entry.der for entry in entries if entry.issues_tokens}
    if len(published) > max_keys:
        raise InvalidKeySetError(f"the federation metadata has {len(published)} certificates; at most {max_keys} are allowed (setting: max_keys)")
    # Sorted into roles in one pass: a document may have as many names of roles as it has elements.
    by_role: dict[tuple[str, bool], list[_Entry]] = {(_role_name(role), _issues_tokens(role)): [] for role in elements}
    for entry in entries:
        by_role[entry.role, entry.issues_tokens].append(entry)
    return tuple(MetadataRole(name, issues, _keys(by_role[name, issues])) for name, issues in sorted(by_role))


def _issues_tokens(role: Element) -> bool:
    return role.tag == f"{_MD}IDPSSODescriptor" or (role.tag == f"{_MD}RoleDescriptor" and role.kind == _TOKEN_SERVICE)


def _role_name(role: Element) -> str:
    name = role.kind if role.tag == f"{_MD}RoleDescriptor" and role.kind is not None else role.tag
    return name.rpartition("}")[2]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One certificate of a role, or a KeyDescriptor without one.

    Attributes:
        role: Name of the role.
        issues_tokens: Whether the role may have keys.
        der: The certificate, or no bytes where it cannot be read.
        use: `sig`, or None where the document does not say.
        refusal: Why it is not used, whatever it holds; empty where it may be.
    """

    role: str
    issues_tokens: bool
    der: bytes
    use: str | None
    refusal: str


def _entries(role: Element, now: float) -> Iterator[_Entry]:
    name, issues = _role_name(role), _issues_tokens(role)
    valid_until = _least(instant(text) for text in _stated((role,) if issues else (), "validUntil"))
    for descriptor in role.all(f"{_MD}KeyDescriptor"):
        stated = descriptor.attributes.get("use", "signing")
        refusal = ""
        if not issues:
            refusal = f"stands in the role {quoted(name)}, which issues no tokens"
        elif valid_until is not None and valid_until <= now:
            refusal = f"stands in the role {quoted(name)}, which was valid until {shown(valid_until)}"
        elif stated != "signing":
            refusal = f'has use {quoted(stated)}; only "signing" verifies'
        use = "sig" if "use" in descriptor.attributes else None
        certificates = [
            certificate
            for info in descriptor.all(f"{_DS}KeyInfo")
            for data in info.all(f"{_DS}X509Data")
            for certificate in data.all(f"{_DS}X509Certificate")
        ]
        if not certificates:
            yield _Entry(name, issues, b"", use, refusal or "has no certificate")
        for certificate in certificates:
            der = _der(certificate)
            yield _Entry(name, issues, der, use, refusal or ("" if der else "has a certificate that is not base64"))


def _der(certificate: Element) -> bytes:
    """Return the bytes of a certificate, or none where its text is not base64.

    Raises:
        InvalidKeySetError: Something stands in its text.
    """
    if certificate.has_comment or certificate.children:
        # Readers differ in what they take such a text for: whoever writes one wants two of them to see two keys.
        raise InvalidKeySetError("the federation metadata has a certificate that is divided by a comment or an element")
    try:
        return b64decode(re.sub(r"[ \t\r\n]+", "", certificate.text), validate=True)
    except ValueError:
        return b""


def _keys(entries: Iterable[_Entry]) -> KeySet:
    keys: dict[bytes, SigningKey] = {}
    skipped: set[SkippedKey] = set()
    # One certificate under two uses is one key, and the wider use is what the document says of it.
    distinct = {(entry.der, entry.refusal): entry for entry in sorted(entries, key=lambda entry: entry.use is None)}
    for entry in distinct.values():
        reason = entry.refusal
        if not reason:
            try:
                keys[entry.der] = certified_key(entry.der, use=entry.use)
            except UnusableKeyError as error:
                reason = str(error)
        if reason:
            skipped.add(SkippedKey(sha1_thumbprint(entry.der) if entry.der else "", reason))
    used = {key.kid for key in keys.values()}
    return KeySet(keys.values(), (entry for entry in skipped if entry.kid not in used))
