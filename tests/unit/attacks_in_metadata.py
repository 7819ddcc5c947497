"""Hostile federation metadata, continued: times, texts, certificates, floods, encodings and what is no metadata (AX9 to AX16)."""

from __future__ import annotations

from tests.unit.metadata import (
    CERT,
    DS,
    ISSUER,
    LATER,
    LONG_AGO,
    MD,
    OTHER,
    Cases,
    der_of,
    descriptor,
    entities,
    entity,
    issuing,
    key_info,
    refused_case,
    role,
    rsa_certificate,
    text_of,
    typed_role,
    used_case,
)


def times() -> Cases:
    """AX9: `validUntil` and `cacheDuration`."""
    good = role(descriptor(CERT))
    for text in (
        LONG_AGO,
        "2020-01-01T00:00:00.9999999Z",
        "2020-01-01T00:00:00",
        "2020-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00Z",
        f"\n{LONG_AGO} ",
    ):
        yield refused_case(f"past {text!r}", entity(good, attributes=f'validUntil="{text}"'), "valid until")
    for text in (
        "",
        "soon",
        "2099-13-01T00:00:00Z",
        "2099-01-01",
        "4102444800",
        "2099-02-30T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2099-01-01T25:00:00Z",
    ):
        yield refused_case(f"malformed {text!r}", entity(good, attributes=f'validUntil="{text}"'), "validUntil")
    yield refused_case("malformed digits", entity(good, attributes='validUntil="\uff12\uff10\uff19\uff19-01-01T00:00:00Z"'), "validUntil")
    yield refused_case("malformed zone", entity(good, attributes='validUntil="2099-01-01T00:00:00+99:99"'), "validUntil")
    for text in (LATER, "2099-01-01T00:00:00.123Z", "2099-01-01T00:00:00", "2099-01-01T00:00:00-12:00", "9999-12-31T23:59:59.9999999Z"):
        yield used_case(f"far {text!r}", entity(good, attributes=f'validUntil="{text}"'))
    past = f'validUntil="{LONG_AGO}"'
    yield refused_case("past, of the aggregate", entities(entity(good, attributes=f'validUntil="{LATER}"'), attributes=past), "valid until")
    yield used_case("past, of another entity", entities(entity(good, entity_id="urn:other", attributes=past), entity(good)))
    yield used_case("past, of another role", entity(role(descriptor(OTHER), attributes=past), typed_role(descriptor(CERT))), says="valid until")
    yield used_case("past, of a role that issues nothing", entity(role(descriptor(OTHER), name="SPSSODescriptor", attributes='validUntil="x"'), good))
    yield refused_case("past, of the only role", entity(role(descriptor(CERT), attributes=past)), "valid until")
    for text in ("PT1613149788S", "-PT1H", "P999999999999Y", "PT0S", "soon", "", "P", "PT", "P1H", "PT1.5S", "P1Y2M3DT4H5M6S"):
        yield used_case(f"cacheDuration {text!r}", entity(good, attributes=f'cacheDuration="{text}"'))


def split_text() -> Cases:
    """AX10: a certificate's text that readers would take for different things."""
    half = len(CERT) // 2
    first, second = CERT[:half], CERT[half:]
    for label, inside in (
        ("a comment", f"{first}<!-- a -->{second}"),
        ("a comment before it", f"<!-- {OTHER} -->{CERT}"),
        ("a comment behind it", f"{CERT}<!---->"),
        ("an element", f"{first}<a/>{second}"),
        ("an element behind it", f"{CERT}<ds:X509Certificate>{OTHER}</ds:X509Certificate>"),
        ("a processing instruction", f"{first}<?a?>{second}"),
        ("an entity", f"{first}&a;{second}"),
        ("a comment between two certificates", f"{CERT}<!-- -->{OTHER}"),
    ):
        yield refused_case(label, entity(role(descriptor(inside), descriptor(OTHER))))
        yield refused_case(f"{label}, in another role", entity(role(descriptor(inside), name="SPSSODescriptor"), role(descriptor(OTHER))))
    yield refused_case("an entity in the name", issuing().replace(ISSUER, ISSUER + "&a;"), "not XML")
    yield refused_case("a comment in the name", issuing().replace(ISSUER, f"<!-- -->{ISSUER}"), "not XML")
    blanks = "\n\t".join(CERT[place : place + 64] for place in range(0, len(CERT), 64))
    for label, inside in (
        ("blanks", f"\r\n  {blanks}  "),
        ("CDATA", f"<![CDATA[{CERT}]]>"),
        ("CDATA inside", f"{first}<![CDATA[{second}]]>"),
        ("a character reference", f"&#{ord(CERT[0])};{CERT[1:]}"),
        ("a reference to a blank", f"{first}&#10;{second}"),
    ):
        yield used_case(label, entity(role(descriptor(inside))))
    for name, space in (("a no-break space", "\xa0"), ("a zero-width space", "\u200b"), ("a line separator", "\u2028")):
        yield used_case(name, entity(role(descriptor(f"{first}{space}{second}"), descriptor(OTHER))), OTHER, says="not base64")


def broken_certificates() -> Cases:
    """AX11: certificates that hold no key that may verify, beside a good one, and ones that only look odd."""
    good = descriptor(CERT)
    der = der_of("ES256", 0)
    for label, text, says in (
        ("bad base64", "!!!!", "not base64"),
        ("base64url", CERT.replace("+", "-").replace("/", "_").rstrip("=") + "_", "not base64"),
        ("empty", "", "not base64"),
        ("padding alone", "====", ""),
        ("PEM", f"-----BEGIN CERTIFICATE-----{CERT}-----END CERTIFICATE-----", "not base64"),
        ("no certificate", text_of(b"certificate"), "cannot be read"),
        ("a cut certificate", text_of(der[:-9]), "cannot be read"),
        ("a tail behind it", text_of(der + b"tail"), "cannot be read"),
        ("a key of 1024 bits", text_of(rsa_certificate(1024)), "1024 bits"),
        ("a certificate of 40 KB", text_of(bytes(40_000)), "40000 bytes"),
    ):
        yield used_case(label, entity(role(descriptor(text), good)), says=says)
        yield refused_case(f"{label}, alone", entity(role(descriptor(text))), "no usable key")
    expired = text_of(der_of("ES256", 1, expired=True))
    yield used_case("expired", entity(role(descriptor(expired))), expired)
    yield used_case("expired first", entity(role(descriptor(expired), good)), expired, CERT)
    yield used_case("two in one element", entity(role(descriptor(CERT + OTHER), good)), says="has a certificate")
    yield used_case("two in one X509Data", entity(role(descriptor(CERT, OTHER))), CERT, OTHER)
    value = "<KeyDescriptor><ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue/></ds:KeyValue></ds:KeyInfo></KeyDescriptor>"
    yield used_case("a key without a certificate", entity(role(value, good)), says="has no certificate")
    yield used_case("several KeyInfo", entity(role(f"<KeyDescriptor>{key_info(CERT)}{key_info(OTHER)}</KeyDescriptor>")), CERT, OTHER)


def uses() -> Cases:
    """AX12: only `signing`, or no `use` at all, counts."""
    for use in ("encryption", "", "Signing", "SIGNING", " signing", "sig", "both", "signing encryption"):
        yield used_case(f"use {use!r}", entity(role(descriptor(OTHER, use=use), descriptor(CERT))), says="has use")
        yield refused_case(f"use {use!r} alone", entity(role(descriptor(CERT, use=use))), "no usable key")
    yield used_case("no use", entity(role(descriptor(CERT, use=None))))
    yield used_case("a use of another namespace", entity(role(descriptor(CERT).replace(" use", f' xmlns:md="{MD}" md:use'))))
    yield used_case("an empty KeyDescriptor", entity(role("<KeyDescriptor/>", descriptor(CERT))), says="has no certificate")
    yield refused_case("an empty KeyDescriptor alone", entity(role('<KeyDescriptor use="signing"/>')), "no usable key")
    yield refused_case("no KeyDescriptor", entity(role()), "no usable key")


def floods() -> Cases:
    """AX13: more of anything than a document may have."""
    good = role(descriptor(CERT))
    yield used_case("depth 64", entity("<a>" * 63 + "</a>" * 63, good))
    yield refused_case("depth 65", entity("<a>" * 64 + "</a>" * 64, good), "64 levels")
    yield refused_case("depth without end", "<a>" * 100_000, "64 levels")
    yield used_case("200 KeyDescriptors", entity(role(descriptor(CERT) * 200)))
    yield refused_case("201 KeyDescriptors", entity(role(descriptor(CERT) * 201)), "201 KeyDescriptors")
    spread = [role(descriptor(CERT) * 67), typed_role(descriptor(CERT) * 67), role(descriptor(OTHER) * 67, name="SPSSODescriptor")]
    yield refused_case("201 KeyDescriptors of several roles", entity(*spread), "201 KeyDescriptors")
    yield used_case("201 KeyDescriptors of another entity", entities(entity(role(descriptor(OTHER) * 201), entity_id="urn:other"), entity(good)))
    made = [text_of(number.to_bytes(2)) for number in range(6)]
    yield refused_case("more certificates than max_keys", entity(role(descriptor(*made), descriptor(CERT))), "max_keys", max_keys=6)
    yield used_case("as many as max_keys", entity(role(descriptor(*made), descriptor(CERT))), max_keys=7)
    for count, used in ((90, True), (101, False), (50_000, False)):
        attributes = " ".join(f'a{number}="x"' for number in range(count))
        namespaces = " ".join(f'xmlns:a{number}="urn:{number}"' for number in range(count))
        for label, text in (("attributes", attributes), ("namespaces", namespaces)):
            case = used_case if used else refused_case
            yield case(f"{count} {label}", entity(good, attributes=text), *(() if used else (label,)))
    yield refused_case("elements", entity("<a/>" * 50_001, good), "50000 elements")
    padding = 2_000_000 - len(issuing()) - len("<!---->")
    yield used_case("2 MB", f"<!--{' ' * padding}-->" + issuing())
    yield refused_case("2 MB + 1", f"<!--{' ' * (padding + 1)}-->" + issuing(), "2000001 bytes")


def encodings() -> Cases:
    """AX14: a byte order mark works, UTF-8 alone is read, and contradictions refuse."""
    good = issuing()
    plain = good.encode()
    yield used_case("UTF-8", plain)
    yield used_case("a byte order mark", b"\xef\xbb\xbf" + plain)
    for name in ("utf-8", "UTF-8", "Utf-8"):
        yield used_case(f"declared as {name}", f'<?xml version="1.0" encoding="{name}"?>' + good)
    yield used_case("a byte order mark and a declaration", b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8" standalone="yes"?>\r\n' + plain)
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        yield refused_case(name, good.encode(name), "UTF-8")
        yield refused_case(f"{name}, declared", f'<?xml version="1.0" encoding="{name}"?>{good}'.encode(name), "UTF-8")
    for name in ("UTF-16", "ISO-8859-1", "windows-1252", "us-ascii", "UTF-7", "evil", "utf-8-sig"):
        yield refused_case(f"declared as {name}", f'<?xml version="1.0" encoding="{name}"?>' + good, "encoding")
    yield refused_case("Latin-1", entity(role(descriptor(CERT)), attributes='a="\u00e9"').encode("latin-1"), "UTF-8")
    yield refused_case("an overlong sequence", plain + b"<!-- \xc0\xaf -->", "UTF-8")
    yield refused_case("half of a surrogate pair", plain + b"<!-- \xed\xa0\x80 -->", "UTF-8")
    yield refused_case("a NUL", plain + b"<!-- \0 -->", "UTF-8")
    yield refused_case("two byte order marks", b"\xef\xbb\xbf" * 2 + plain, "not XML")
    yield refused_case("a blank before the declaration", ' <?xml version="1.0"?>' + good, "not XML")


def duplicates() -> Cases:
    """AX15: one certificate is one key, wherever it stands."""
    both = entity(role(descriptor(CERT, use=None)), typed_role(descriptor(CERT)))
    yield used_case("twice", entity(role(descriptor(CERT), descriptor(CERT))))
    yield used_case("twice in one element", entity(role(descriptor(CERT, CERT))))
    yield used_case("under two uses", entity(role(descriptor(CERT), descriptor(CERT, use=None))))
    yield used_case("under encryption, too", entity(role(descriptor(CERT, use="encryption"), descriptor(CERT))))
    yield used_case("in two roles", both)
    yield used_case("in a role that issues nothing, too", entity(role(descriptor(CERT)), role(descriptor(CERT), name="SPSSODescriptor")))
    yield used_case("divided otherwise", entity(role(descriptor(CERT), descriptor(f" {CERT[:9]}\n{CERT[9:]}"))))


def no_metadata() -> Cases:
    """AX16: something else with status 200."""
    for label, body, says in (
        ("a page", b"<html><body>login</body></html>", "html"),
        ("a page of HTML", b"<!doctype html><html><head><meta></head></html>", "not XML"),
        ("a page with the document in it", f"<html>{issuing()}</html>".encode(), "html"),
        ("a fault", b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>', "Envelope"),
        ("nothing", b"", "empty body"),
        ("blanks", b" \r\n", "empty body"),
        ("a byte order mark", b"\xef\xbb\xbf", "not XML"),
        ("a key set", b'{"keys":[]}', "JSON"),
        ("text", b"Service Unavailable", "not XML"),
        ("a role", f'<IDPSSODescriptor xmlns="{MD}" xmlns:ds="{DS}">{descriptor(CERT)}</IDPSSODescriptor>'.encode(), "root"),
        ("an entity without its namespace", issuing().replace(MD, "").encode(), "root"),
        ("an entity of a wrong namespace", issuing().replace(MD, MD.upper()).encode(), "root"),
        ("SAML 1.1", issuing().replace(MD, "urn:oasis:names:tc:SAML:1.0:metadata").encode(), "root"),
        ("two documents", issuing().encode() * 2, "not XML"),
        ("text behind it", issuing().encode() + b"x", "not XML"),
        ("a cut document", issuing().encode()[:-9], "not XML"),
    ):
        yield refused_case(label, body, says)
    yield refused_case("a page by its type", issuing(), "HTML", content_type="text/html; charset=utf-8")
    for content_type in ("application/xml", "text/xml", "application/samlmetadata+xml", "text/plain", "application/json", ""):
        yield used_case(f"type {content_type!r}", issuing(), content_type=content_type)
