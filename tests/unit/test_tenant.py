"""Issuers that are a template: the one placeholder, filled in with a GUID, and nothing else."""

from __future__ import annotations

import pytest
from tests.unit.entra_documents import T1, T2, F, v1, v2

from keyturn._core.tenant import filled_in, is_guid, template_of


@pytest.mark.parametrize(
    ("text", "expected"), [(F, True), (F.upper(), True), (F[:-1], False), (F.replace("-", ""), False), (None, False), (f"{F}\n", False)]
)
def test_guids(text: object, expected: bool) -> None:
    """8-4-4-4-12 hexadecimal digits, and nothing around them."""
    assert expected == is_guid(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (T1, v1(F)),
        (T2, v2(F)),
        ("https://a.test/{tenant}/", "https://a.test/{tenant}/"),
        ("https://a.test/{TenantId}/", "https://a.test/{TenantId}/"),
        ("https://{tenantid}.test/{tenantid}/", "https://{tenantid}.test/{tenantid}/"),
        ("https://a.test", "https://a.test"),
    ],
)
def test_one_placeholder_is_filled_in(name: str, expected: str) -> None:
    """In one spelling, once; a name with two is no template."""
    assert expected == filled_in(name, F)


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (v1(F), T1),
        (v2(F), T2),
        (T2, T2),
        (f"https://a.test/{F}", "https://a.test/{tenantid}"),
        (f"https://a.test/x/{F}", f"https://a.test/x/{F}"),
        ("https://a.test", "https://a.test"),
        ("", ""),
    ],
)
def test_the_template_of_an_issuer(issuer: str, expected: str) -> None:
    """The first segment of the path is the tenant, if it is a GUID."""
    assert expected == template_of(issuer)
