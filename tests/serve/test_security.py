# SPDX-License-Identifier: Apache-2.0
import pytest
from starlette.datastructures import Headers

from codegemma.errors import ConfigError, InputError
from codegemma.serve.security import check_bind, client_of, is_loopback, read_token


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST.", "app.localhost"]
)
def test_loopback_addresses_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.5", "evil.com", "localhost.evil.com", "127.0.0.1.nip.io", ""],
)
def test_other_addresses_are_not_loopback(host):
    assert not is_loopback(host)


def test_listening_beyond_this_machine_needs_a_token():
    with pytest.raises(ConfigError, match="CODEGEMMA_TOKEN or --token-file"):
        check_bind("0.0.0.0", None)
    check_bind("0.0.0.0", "secret")
    check_bind("127.0.0.1", None)


def test_the_token_file_comes_before_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_token({"CODEGEMMA_TOKEN": "from-env"}, file) == "from-file"
    assert read_token({"CODEGEMMA_TOKEN": " from-env "}, None) == "from-env"
    assert read_token({"CODEGEMMA_TOKEN": ""}, None) is None
    assert read_token({}, None) is None


def test_a_token_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the token file"):
        read_token({}, tmp_path / "missing")
    empty = tmp_path / "empty"
    empty.write_text(" \n")
    with pytest.raises(InputError, match="is empty"):
        read_token({}, empty)
    with pytest.raises(InputError, match="one word of visible ASCII"):
        read_token({"CODEGEMMA_TOKEN": "two words"}, None)
    with pytest.raises(InputError, match="one word of visible ASCII"):
        read_token({"CODEGEMMA_TOKEN": "schlüssel"}, None)


REQUEST = {"prompt": "def f(", "suffix": ""}


@pytest.mark.parametrize(
    "host", ["evil.com", "evil.com:8012", "localhost.evil.com", "10.0.0.1", ""]
)
def test_a_rebound_host_is_refused(live, scripted, host):
    for method, path in (("GET", "/"), ("GET", "/v1/models"), ("POST", "/v1/completions")):
        answer = live.http.request(method, path, headers={"host": host})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden_host"
    assert scripted.prompts == []


@pytest.mark.parametrize("host", ["localhost", "LocalHost:99", "127.0.0.1:8012", "[::1]:8012"])
def test_this_machines_names_are_accepted(live, host):
    assert live.http.get("/v1/models", headers={"host": host}).status_code == 200


def test_a_page_of_another_origin_may_not_ask(live, scripted):
    for origin in ("https://evil.com", "null", f"http://localhost:{live.port + 1}"):
        answer = live.http.post("/v1/completions", json=REQUEST, headers={"origin": origin})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "forbidden_origin"
        assert "access-control-allow-origin" not in answer.headers
    assert scripted.prompts == []
    own = f"http://127.0.0.1:{live.port}"
    answer = live.http.post("/v1/completions", json=REQUEST, headers={"origin": own})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_that_a_foreign_form_could_send_is_refused(live, scripted, kind):
    headers = {"content-type": kind}
    answer = live.http.post("/v1/completions", content=b'{"prompt":"x"}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"
    assert scripted.prompts == []


def test_json_with_a_charset_is_json(live):
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = live.http.post("/v1/completions", content=b'{"prompt":"x"}', headers=headers)
    assert answer.status_code == 200


def test_with_a_token_every_path_but_health_and_the_page_asks_for_it(serving, scripted):
    with serving(scripted, token="s3cret") as live:
        for path in ("/health", "/"):
            assert live.http.get(path).status_code in (200, 404)
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", "/v1/completions"),
            ("GET", "/v1/anything"),
            ("GET", "/assetsx"),
        ):
            answer = live.http.request(method, path, json=REQUEST)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["code"] == "invalid_token"
        for shown in ("Bearer wrong", "Bearer", "s3cret", "Basic s3cret", "Bearer s3cret2"):
            answer = live.http.get("/v1/models", headers={"authorization": shown})
            assert answer.status_code == 401
        for shown in ("Bearer s3cret", "bearer s3cret"):
            answer = live.http.get("/v1/models", headers={"authorization": shown})
            assert answer.status_code == 200
    assert scripted.prompts == []


def test_a_client_is_named_by_its_token_and_the_name_does_not_tell_it():
    def name(value):
        return client_of(Headers({"authorization": value}))

    assert name("Bearer s3cret") == name("bearer  s3cret ") != name("Bearer other")
    assert "s3cret" not in name("Bearer s3cret")
    assert (client_of(Headers()), name("Bearer "), name("Basic s3cret")) == (None, None, None)


def test_without_a_token_an_empty_bearer_is_no_reason_to_refuse(live):
    answer = live.raw(
        "GET /v1/models HTTP/1.1\nHost: localhost\nAuthorization: Bearer \nConnection: close\n\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_every_answer_carries_the_content_policy(live):
    for path in ("/v1/models", "/nothing-here", "/health"):
        headers = live.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"


def test_a_body_over_the_limit_is_refused_before_it_is_read(serving, scripted):
    with serving(scripted, max_body_bytes=1000) as live:
        answer = live.raw(
            "POST /v1/completions HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
            "Content-Length: 200000000\n\n"
        )
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"body_too_large"' in answer
        at_limit = b'{"prompt":"' + b"x" * 987 + b'"}'
        assert len(at_limit) == 1000
        headers = {"content-type": "application/json"}
        answer = live.http.post("/v1/completions", content=at_limit, headers=headers)
        assert answer.status_code == 200


def test_a_chunked_body_is_counted_too(serving, scripted):
    with serving(scripted, max_body_bytes=1000) as live:
        headers = {"content-type": "application/json"}
        chunks = (b"x" * 100 for _ in range(20))
        answer = live.http.post("/v1/completions", content=chunks, headers=headers)
        assert answer.status_code == 413
        assert live.http.get("/health").status_code == 200
    assert scripted.prompts == []
