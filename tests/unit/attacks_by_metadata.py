"""Hostile federation metadata: classes AX1 to AX16, one function per class.

A case says which keys must come out, by their certificates, or that the whole document must be refused and with which words. AX7 is
here as long as no signer is pinned; with one it stands in `test_metadata_signature.py`. AX9 to AX16 stand in `attacks_in_metadata.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.unit import attacks_in_metadata
from tests.unit.metadata import (
    CERT,
    FED,
    ISSUER,
    MD,
    OTHER,
    XSI,
    Cases,
    descriptor,
    entities,
    entity,
    issuing,
    key_info,
    refused_case,
    role,
    signed,
    typed_role,
    used_case,
)


def doctypes() -> Cases:
    """AX1: a DOCTYPE of any kind."""
    for doctype in (
        "<!DOCTYPE EntityDescriptor>",
        "<!DOCTYPE EntityDescriptor []>",
        '<!DOCTYPE EntityDescriptor SYSTEM "http://evil.example/a.dtd">',
        '<!DOCTYPE EntityDescriptor PUBLIC "-//A//B" "file:///etc/passwd">',
        "<!DOCTYPE EntityDescriptor [<!ELEMENT EntityDescriptor ANY>]>",
        '<!DOCTYPE EntityDescriptor [<!ATTLIST KeyDescriptor use CDATA "signing">]>',
        '<!DOCTYPE EntityDescriptor [<!NOTATION a SYSTEM "b">]>',
        '<?xml version="1.0"?>\n<!-- a comment -->\n<!DOCTYPE EntityDescriptor>',
        "<!DOCTYPE x [<?evil?>]>",
    ):
        yield refused_case(doctype[:60], doctype + issuing(), "DOCTYPE")


def bombs() -> Cases:
    """AX2: entities that grow."""
    steps = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    yield refused_case("exponential", f'<!DOCTYPE x [<!ENTITY e0 "ha">{steps}]>' + entity("&e9;"), "DOCTYPE")
    yield refused_case("quadratic", f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>' + entity("&a;" * 10_000), "DOCTYPE")
    yield refused_case("parameter entities", '<!DOCTYPE x [<!ENTITY % a "b"><!ENTITY % c "%a;%a;">%c;]>' + issuing(), "DOCTYPE")
    yield refused_case("an entity that nobody declared", entity("&a;"), "not XML")


def external() -> Cases:
    """AX3: everything by which a document would have something opened."""
    yield refused_case("an external entity", '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + entity("&a;"), "DOCTYPE")
    yield refused_case("an external parameter entity", '<!DOCTYPE x [<!ENTITY % a SYSTEM "http://evil.example/">%a;]>' + issuing(), "DOCTYPE")
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    yield used_case("XInclude beside the roles", entity(include, role(descriptor(CERT))))
    yield used_case("XInclude for a key", entity(role(descriptor(CERT), include)))
    locations = f'xmlns:xsi="{XSI}" xsi:schemaLocation="{MD} http://evil.example/a.xsd"'
    yield used_case("a schema's location", entity(role(descriptor(CERT)), attributes=locations))
    yield refused_case("a stylesheet", '<?xml-stylesheet href="http://evil.example/a.xsl" type="text/xsl"?>' + issuing(), "processing instruction")
    yield refused_case("a processing instruction", entity("<?php echo 1 ?>", role(descriptor(CERT))), "processing instruction")


def roles() -> Cases:
    """AX4: keys of roles that issue no tokens."""
    for name in ("SPSSODescriptor", "AttributeAuthorityDescriptor", "AuthnAuthorityDescriptor", "PDPDescriptor", "AffiliationDescriptor"):
        for where in (0, 1):
            parts = [role(descriptor(CERT))]
            parts.insert(where, role(descriptor(OTHER), name=name))
            says = "" if name == "AffiliationDescriptor" else name
            yield used_case(f"{name} at {where}", entity(*parts), says=says)
        yield refused_case(f"{name} alone", entity(role(descriptor(OTHER), name=name)), "no role that issues tokens")
    for kind in (
        "ApplicationServiceType",
        "AttributeServiceType",
        "PseudonymServiceType",
        "SecurityTokenServicetype",
        "SecurityTokenServiceType2",
        "",
    ):
        yield used_case(f"fed:{kind}", entity(typed_role(descriptor(OTHER), kind=f"fed:{kind}"), role(descriptor(CERT))))
    yield used_case(
        "a role without a type", entity(f"<RoleDescriptor>{descriptor(OTHER)}</RoleDescriptor>", role(descriptor(CERT))), says="RoleDescriptor"
    )
    as_idp = f'<SPSSODescriptor xmlns:xsi="{XSI}" xmlns:fed="{FED}" xsi:type="fed:SecurityTokenServiceType">{descriptor(OTHER)}</SPSSODescriptor>'
    yield used_case("a receiver that calls itself a token service", entity(as_idp, role(descriptor(CERT))))
    yield refused_case("MicrosoftOnline's kind of document", entity(role(descriptor(OTHER), name="SPSSODescriptor")), "SPSSODescriptor")
    yield refused_case("no role at all", entity(), "got none")


def wrong_places() -> Cases:
    """AX5: certificates where no key of the issuer stands."""
    good = role(descriptor(CERT))
    inner = issuing(OTHER)
    for label, where in (
        ("in a signature", f"<ds:Signature>{key_info(OTHER)}</ds:Signature>"),
        ("in a signature, as a role", f"<ds:Signature><ds:Object>{role(descriptor(OTHER))}</ds:Object></ds:Signature>"),
        ("in extensions", f"<Extensions>{descriptor(OTHER)}</Extensions>"),
        ("in extensions, as a role", f"<Extensions>{role(descriptor(OTHER))}</Extensions>"),
        ("in extensions, as the entity", f"<Extensions>{inner}</Extensions>"),
        ("in a comment", f"<!-- {role(descriptor(OTHER))} -->"),
        ("in CDATA", f"<![CDATA[{role(descriptor(OTHER))}]]>"),
        ("below the entity", descriptor(OTHER)),
        ("in a foreign element", f'<a:IDPSSODescriptor xmlns:a="urn:evil">{descriptor(OTHER)}</a:IDPSSODescriptor>'),
        ("in an element without a namespace", f'<IDPSSODescriptor xmlns="">{descriptor(OTHER)}</IDPSSODescriptor>'),
        ("in the entity again", inner),
        ("in an organization", f"<Organization>{role(descriptor(OTHER))}</Organization>"),
    ):
        yield used_case(label, entity(where, good))
    for label, where in (
        ("a certificate below the role", key_info(OTHER)),
        ("a descriptor in extensions of the role", f"<Extensions>{descriptor(OTHER)}</Extensions>"),
        ("a foreign KeyDescriptor", f'<a:KeyDescriptor xmlns:a="urn:evil" use="signing">{key_info(OTHER)}</a:KeyDescriptor>'),
        ("a role in the role", role(descriptor(OTHER))),
        ("a foreign KeyInfo", f'<KeyDescriptor use="signing"><KeyInfo xmlns="urn:evil">{key_info(OTHER)}</KeyInfo></KeyDescriptor>'),
        (
            "a certificate beside X509Data",
            f"<KeyDescriptor><ds:KeyInfo><ds:X509Certificate>{OTHER}</ds:X509Certificate></ds:KeyInfo></KeyDescriptor>",
        ),
        ("a certificate of another namespace", descriptor(CERT).replace("ds:X509Certificate", "X509Certificate").replace(CERT, OTHER)),
        ("the text of a descriptor", f"<KeyDescriptor>{OTHER}</KeyDescriptor>"),
    ):
        yield used_case(label, entity(role(where, descriptor(CERT))))


def types_by_prefix() -> Cases:
    """AX6: the namespace of a type decides, and no prefix."""
    key = descriptor(CERT)
    yield used_case("another prefix", entity(typed_role(key, kind="x:SecurityTokenServiceType", namespaces={"x": FED})))
    yield used_case("blanks around it", entity(typed_role(key, kind=" \n fed:SecurityTokenServiceType\t")))
    bound = f'<RoleDescriptor xmlns="{FED}" xmlns:md="{MD}" xmlns:xsi="{XSI}" xsi:type="SecurityTokenServiceType"'
    spelled = f"<md:RoleDescriptor{bound.removeprefix('<RoleDescriptor')}><md:KeyDescriptor>{key_info(CERT)}</md:KeyDescriptor></md:RoleDescriptor>"
    yield used_case("no prefix, but the namespace by default", entity(spelled))
    yield used_case(
        "the prefix bound further out", entity(role(key), typed_role(descriptor(OTHER), namespaces={"fed": FED}).replace(f'xmlns:fed="{FED}"', ""))
    )
    rebound = typed_role(key).replace("<RoleDescriptor", '<RoleDescriptor xmlns:a="urn:a"', 1)
    yield used_case("among other prefixes", entity(rebound, attributes='xmlns:fed="urn:evil"'))
    for label, kind, namespaces in (
        ("the usual prefix for a wrong namespace", "fed:SecurityTokenServiceType", {"fed": "urn:evil"}),
        ("https in the namespace", "fed:SecurityTokenServiceType", {"fed": FED.replace("http:", "https:")}),
        ("a prefix that is not bound", "sts:SecurityTokenServiceType", {"fed": FED}),
        ("the namespace in braces", f"{{{FED}}}SecurityTokenServiceType", {"fed": FED}),
        ("no prefix, and another default", "SecurityTokenServiceType", {"fed": FED}),
        ("two colons", "fed:fed:SecurityTokenServiceType", {"fed": FED}),
    ):
        yield used_case(label, entity(typed_role(descriptor(OTHER), kind=kind, namespaces=namespaces), role(key)))
    foreign = typed_role(descriptor(OTHER)).replace("xsi:type", "type")
    yield used_case("type without its namespace", entity(foreign, role(key)))


def wrapped() -> Cases:
    """AX7: moved, copied, stripped and doubled signatures change nothing where no signer is pinned."""
    good = entity(role(descriptor(CERT)), attributes='ID="_a"')
    whole = signed(good)
    cut = whole.index("<ds:Signature")
    signature = whole[cut : whole.index("</ds:Signature>") + len("</ds:Signature>")]
    yield used_case("signed", whole)
    yield used_case("stripped", good)
    yield used_case("doubled", whole.replace(signature, signature * 2))
    yield used_case("of another document", whole.replace(CERT, OTHER), OTHER)
    evil = entity(f"<Extensions>{whole}</Extensions>", role(descriptor(OTHER)))
    yield used_case("the original wrapped into extensions", evil, OTHER)
    inside = entity(f"<ds:Signature><ds:Object>{issuing(OTHER)}</ds:Object></ds:Signature>", role(descriptor(CERT)))
    yield used_case("a forgery inside the signature", inside)
    yield refused_case("the original and a forgery beside it", entities(whole, issuing(OTHER)), "2 times")


def aggregates() -> Cases:
    """AX8: of many entities exactly one is meant."""
    ours = issuing(CERT)
    others = [entity(role(descriptor(OTHER)), entity_id=f"urn:other:{number}") for number in range(3)]
    yield used_case("first", entities(ours, *others))
    yield used_case("last", entities(*others, ours))
    yield used_case("alone", entities(ours))
    yield used_case("nested", entities(entities(*others), entities(entities(ours))))
    yield refused_case("twice", entities(ours, *others, issuing(OTHER)), "2 times")
    yield refused_case("twice, the same", entities(ours, ours), "2 times")
    yield refused_case("absent", entities(*others), "urn:other:0")
    yield refused_case("an empty aggregate", entities(), "root")
    for name in (ISSUER.upper(), f"{ISSUER}/", f" {ISSUER}", ISSUER.replace("http:", "https:"), ISSUER[:-1], f"{ISSUER}#a", "", "*", "{tenantid}"):
        yield refused_case(f"named {name!r}", entities(*others, entity(role(descriptor(CERT)), entity_id=name)), "expected")
    yield refused_case("without a name", ours.replace(f'entityID="{ISSUER}"', ""), "expected")
    yield refused_case("a name of another namespace", ours.replace("entityID", f'xmlns:a="{MD}" a:entityID'), "expected")
    unnamed = ours.replace("entityID", "ID")
    yield used_case("an unnamed one beside it", entities(unnamed, ours))


METADATA: dict[str, Callable[[], Cases]] = {
    "AX1": doctypes,
    "AX2": bombs,
    "AX3": external,
    "AX4": roles,
    "AX5": wrong_places,
    "AX6": types_by_prefix,
    "AX7": wrapped,
    "AX8": aggregates,
    "AX9": attacks_in_metadata.times,
    "AX10": attacks_in_metadata.split_text,
    "AX11": attacks_in_metadata.broken_certificates,
    "AX12": attacks_in_metadata.uses,
    "AX13": attacks_in_metadata.floods,
    "AX14": attacks_in_metadata.encodings,
    "AX15": attacks_in_metadata.duplicates,
    "AX16": attacks_in_metadata.no_metadata,
}
