"""The fake issuer as a service: documents, CORS, who may use page and control API. No socket is opened."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest

from keyturn import TokenValidator
from keyturn.serving.application import Application
from keyturn.serving.control import Control
from keyturn.serving.exchange import Request
from keyturn.serving.issuer import Settings
from keyturn.testing.faults import Answer

URL = "http://127.0.0.1:9000"
HOST = {"host": "127.0.0.1:9000"}
JSON = {**HOST, "content-type": "application/json"}


def application(issuer: str = URL, **settings: Any) -> Application:
    """Return an application whose issuer has this name."""
    return Application(Control(Settings(issuer)), **settings)


@pytest.fixture
def app() -> Application:
    """One with the default settings."""
    return application()


def ask(app: Application, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
    """Return the answer to a request that is not dropped."""
    path, _, query = path.partition("?")
    answer = app.respond(Request(method, path, query, HOST if headers is None else headers, body))
    assert answer is not None
    return answer


def error(answer: Answer) -> tuple[int, str]:
    """Return status and reason of a refusal."""
    return answer.status, json.loads(answer.body)["error"]


@pytest.mark.parametrize("issuer", [URL, "https://login.example.com/tenant", "https://login.example.com/"])
def test_a_token_of_the_service_is_good_by_its_documents(issuer: str) -> None:
    """Whatever it is called, the key set below its name has the key that its tokens were signed with."""
    app = application(issuer)
    validator = TokenValidator(issuer, audience="api://test", fetcher=app.control.issuer.fetcher())
    assert "alice" == validator.validate(app.control.mint({})["token"]).subject


@pytest.mark.parametrize(("issuer", "base"), [(URL, ""), ("https://login.example.com/tenant/", "/tenant")])
def test_documents_stand_below_the_issuer_s_path(issuer: str, base: str) -> None:
    """Discovery names the key set and the token endpoint, and all three answer at the paths of those names."""
    app = application(issuer)
    discovery = json.loads(ask(app, "GET", base + "/.well-known/openid-configuration").body)
    assert issuer == discovery["issuer"]
    assert discovery["jwks_uri"].endswith(base + "/jwks.json")
    assert discovery["token_endpoint"].endswith(base + "/token")
    assert ["client_credentials"] == discovery["grant_types_supported"]
    assert ["k1"] == [key["kid"] for key in json.loads(ask(app, "GET", base + "/jwks.json").body)["keys"]]
    assert 405 == ask(app, "GET", base + "/token").status


@pytest.mark.parametrize(
    "path", ["/jwks", "/jwks.json/", "/.well-known/", "//", "/control", "/../control/state", "/%63ontrol/state", "http://a/jwks.json"]
)
def test_any_other_path_is_not_found(app: Application, path: str) -> None:
    """There is one spelling of each location."""
    assert (404, "not_found") == error(ask(app, "GET", path))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_documents_are_only_read(app: Application, method: str) -> None:
    """Another method is refused with those that are allowed (RFC 9110, section 15.5.6)."""
    answer = ask(app, method, "/jwks.json")
    assert (405, "GET, HEAD") == (answer.status, answer.headers["allow"])


def test_pages_of_every_origin_may_read_documents(app: Application) -> None:
    """A front end reads them from its own origin, refusals and failures included (Fetch standard, CORS)."""
    for path in ("/jwks.json", "/.well-known/openid-configuration", "/nothing", "/token"):
        assert "*" == ask(app, "GET", path, {**HOST, "origin": "https://front.example"}).headers["access-control-allow-origin"]
    app.control.act("fault", {"kind": "down"})
    failing = ask(app, "GET", "/jwks.json")
    assert (503, "*") == (failing.status, failing.headers["access-control-allow-origin"])


def test_a_browser_s_question_before_a_token_request_is_answered(app: Application) -> None:
    """A client that authenticates by its Authorization field asks first (CORS preflight)."""
    answer = ask(app, "OPTIONS", "/token", {**HOST, "origin": "https://front.example", "access-control-request-method": "POST"})
    assert (204, "*") == (answer.status, answer.headers["access-control-allow-origin"])
    assert {"GET", "POST"} == set(answer.headers["access-control-allow-methods"].split(", "))
    assert {"Authorization", "Content-Type"} == set(answer.headers["access-control-allow-headers"].split(", "))


@pytest.mark.parametrize("path", ["/", "/control/state", "/control/rotate", "/control/fault", "/control/nothing"])
def test_no_other_page_is_told_anything_by_the_control_api(app: Application, path: str) -> None:
    """Neither its answers nor its refusals are for pages of other origins, and the question beforehand is refused."""
    for method in ("GET", "POST", "OPTIONS"):
        answer = ask(app, method, path, {**JSON, "origin": "https://evil.example", "access-control-request-method": "POST"})
        assert [] == [name for name in answer.headers if name.startswith("access-control-")]
        assert "same-origin" == answer.headers["cross-origin-resource-policy"]
        assert path == "/" or answer.status == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9000", "localhost.evil.example", "127.0.0.1.evil.example:9000", "", "[", "a@b:c", "a@127.0.0.1", "127.0.0.1/a"],
)
@pytest.mark.parametrize("path", ["/", "/control/state", "/control/rotate"])
def test_a_name_of_somebody_else_is_refused(app: Application, host: str, path: str) -> None:
    """A name that was made to lead here (DNS rebinding) opens neither page nor control API."""
    answer = ask(app, "POST" if path.endswith("rotate") else "GET", path, {**JSON, "host": host, "origin": f"http://{host}"})
    assert (403, "forbidden_host") == error(answer)
    assert "k1" == app.control.issuer.signing_kid


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "LOCALHOST:9000", "[::1]:9000", "192.0.2.7:9000", "fake.internal:9000"])
def test_addresses_and_given_names_are_known(host: str) -> None:
    """An address cannot have been rebound; a name counts if the user gave it."""
    app = application(names={"fake.internal"})
    assert 200 == ask(app, "GET", "/control/state", {"host": host}).status


def test_documents_answer_under_any_name(app: Application) -> None:
    """Inside a network of containers the issuer has names that nobody lists."""
    assert 200 == ask(app, "GET", "/jwks.json", {"host": "issuer-7.compose"}).status


@pytest.mark.parametrize(
    "fields",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:9000"},
        {"origin": "http://localhost:9000"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": URL, "sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize("path", ["/control/rotate", "/control/mint", "/control/state"])
def test_the_page_of_another_site_rotates_no_keys(app: Application, fields: dict[str, str], path: str) -> None:
    """The control API is for its own page and for programs, which send neither field."""
    answer = ask(app, "GET" if path.endswith("state") else "POST", path, {**JSON, **fields})
    assert (403, "forbidden_origin") == error(answer)
    assert ("k1",) == app.control.issuer.known_kids


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"])
def test_what_a_form_can_send_is_refused(app: Application, kind: str) -> None:
    """A form of another site sends its body without asking, but not as JSON."""
    assert (415, "unsupported_media_type") == error(ask(app, "POST", "/control/rotate", {**HOST, "content-type": kind}, b"{}"))
    assert ("k1",) == app.control.issuer.known_kids


@pytest.mark.parametrize("fields", [{}, {"origin": URL, "sec-fetch-site": "same-origin"}, {"content-type": "application/json; charset=utf-8"}])
def test_programs_and_the_own_page_use_the_control_api(app: Application, fields: dict[str, str]) -> None:
    """A request of curl and one of the page are both carried out."""
    answer = ask(app, "POST", "/control/rotate", {**JSON, **fields})
    assert (200, "k2") == (answer.status, json.loads(answer.body)["signing_kid"])


def test_https_is_another_origin_than_http() -> None:
    """The page of a service that speaks https has an https origin."""
    app = application("https://127.0.0.1:9000", scheme="https")
    assert 200 == ask(app, "POST", "/control/rotate", {**JSON, "origin": "https://127.0.0.1:9000"}).status
    assert 403 == ask(app, "POST", "/control/rotate", {**JSON, "origin": URL}).status


@pytest.mark.parametrize(("method", "path"), [("GET", "/control/rotate"), ("POST", "/control/state"), ("POST", "/"), ("DELETE", "/control/fault")])
def test_each_operation_has_its_method(app: Application, method: str, path: str) -> None:
    """Reading changes nothing, so that no link can rotate keys."""
    assert (405, "method_not_allowed") == error(ask(app, method, path, JSON))
    assert "k1" == app.control.issuer.signing_kid


def test_an_unknown_operation_names_those_that_there_are(app: Application) -> None:
    """A misspelt operation is told as one."""
    answer = ask(app, "POST", "/control/rotaet", JSON)
    assert (404, "not_found") == error(answer)
    assert "rotate" in json.loads(answer.body)["error_description"]


def test_a_fault_never_meets_control_api_page_or_tokens(app: Application) -> None:
    """Whoever took the issuer down can always bring it back."""
    app.control.act("fault", {"kind": "drop_connection", "document": "both"})
    assert app.respond(Request("GET", "/jwks.json", headers=HOST)) is None
    assert 200 == ask(app, "GET", "/").status
    assert 200 == ask(app, "GET", "/control/state").status
    assert 200 == ask(app, "POST", "/control/fault", JSON, b'{"kind": null}').status
    assert 200 == ask(app, "GET", "/jwks.json").status


def test_the_page_asks_nothing_of_any_other_place(app: Application) -> None:
    """It is one file: no address of another host, no import, no handler in its markup."""
    text = ask(app, "GET", "/").body.decode()
    assert {"http://www.w3.org/2000/svg"} == set(re.findall(r"https?://[^\s\"'<>]+", text.replace("alice@example.com", "")))
    assert [] == re.findall(r"<(?:iframe|object|embed|base)\b|\bsrc=|@import|url\(|\son\w+=|\beval\b|innerHTML|style=", text)


def test_the_policy_of_the_page_names_what_may_run(app: Application) -> None:
    """Only the script and the style of the page itself, by their digests; it may be shown inside no other page."""
    answer = ask(app, "GET", "/")
    text, policy = answer.body.decode(), answer.headers["content-security-policy"]
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy


def test_a_fault_of_ours_is_not_told_in_letters_that_break_a_line(app: Application) -> None:
    """What a caller sent comes back escaped, in the letters that `error_description` may have (RFC 6749, section 5.2)."""
    description = json.loads(ask(app, "POST", "/control/promote", JSON, '{"kid": "\\u001b[31m\\"é"}'.encode()).body)["error_description"]
    assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", description)
