"""A token server as registries use: GET with Basic credentials or OAuth2 POST, answering a signed JWT.

It knows the account USERNAME, PASSWORD and the identity token REFRESH_TOKEN of the same person; strangers get
tokens for pulling only. docker-registry checks the tokens against `certificate`, made afresh for every server.
"""

from __future__ import annotations

import base64
import datetime
import json
import uuid
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.servers.quiet_http import QuietHandler, QuietServer

USERNAME = "ada"
PASSWORD = "correct:horse-battery"
REFRESH_TOKEN = "identity-of-ada"


@dataclass(frozen=True)
class TokenRequest:
    method: str
    user: str  # "" for a stranger
    scopes: tuple[str, ...]
    authorization: str
    status: int


class TokenServer(QuietServer):
    """Threaded, on an ephemeral loopback port. `expires_in` is the life of a token in seconds; with
    `say_expiry=False` the answer does not mention it (60 s is then understood)."""

    issuer = "issuer of the tests"
    service = "registry of the tests"

    def __init__(self, *, expires_in: int = 300, say_expiry: bool = True, anonymous: bool = True) -> None:
        self.expires_in = expires_in
        self.say_expiry = say_expiry
        self.anonymous = anonymous
        self.requests: list[TokenRequest] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key)
        tokens = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                self._say(*tokens._by_basic(self.headers.get("Authorization", ""), query.get("scope", [])))

            def do_POST(self) -> None:
                self._say(*tokens._by_form(parse_qs(self.body().decode())))

            def _say(self, status: int, document: dict[str, object]) -> None:
                self.answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

        super().__init__(Handler)

    @property
    def certificate(self) -> bytes:
        """PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def realm(self) -> str:
        return f"{self.url}/token"

    def _by_basic(self, authorization: str, scopes: list[str]) -> tuple[int, dict[str, object]]:
        expected = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        user = USERNAME if authorization == expected else ""
        known = user or (self.anonymous and not authorization)
        return self._finish("GET", user, scopes, authorization, known=bool(known))

    def _by_form(self, form: dict[str, list[str]]) -> tuple[int, dict[str, object]]:
        known = form.get("grant_type") == ["refresh_token"] and form.get("refresh_token") == [REFRESH_TOKEN]
        scopes = " ".join(form.get("scope", [])).split()
        return self._finish("POST", USERNAME if known else "", scopes, "", known=known)

    def _finish(
        self, method: str, user: str, scopes: list[str], authorization: str, *, known: bool
    ) -> tuple[int, dict[str, object]]:
        status = 200 if known else 401
        self.requests.append(TokenRequest(method, user, tuple(scopes), authorization, status))
        if not known:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "no such account"}]}
        name = "access_token" if method == "POST" else "token"
        body: dict[str, object] = {name: self._sign(user, scopes)}
        if self.say_expiry:
            body["expires_in"] = self.expires_in
        return status, body

    def _sign(self, user: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, rest = scope.split(":", 1)
            name, actions = rest.rsplit(":", 1)
            granted = [action for action in actions.split(",") if user or action == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(datetime.datetime.now(datetime.UTC).timestamp())
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.expires_in,
            "jti": uuid.uuid4().hex,
            "access": access,
        }
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        payload = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self._key.sign(payload.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{payload}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token server of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
