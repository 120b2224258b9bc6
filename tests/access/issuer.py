"""An identity provider for tests: real keys, real tokens, and a real page of keys on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://identity.example"
AUDIENCE = "deal-orchestrator"


class Issuer:
    """Signs tokens, and tells its keys to whoever asks."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[str, Any]] = {}
        self.hidden: set[str] = set()
        self.asked = 0
        self.status = 200
        self.url = ""

    def add(self, key_id: str, algorithm: str = "RS256", *, bits: int = 2048) -> None:
        """Make a key."""
        makers: dict[str, Any] = {
            "RS256": lambda: rsa.generate_private_key(65537, bits),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }
        self.keys[key_id] = algorithm, makers[algorithm]()

    def document(self) -> dict[str, Any]:
        """The page of keys."""
        makers = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        listed = []
        for key_id, (algorithm, key) in self.keys.items():
            if key_id not in self.hidden:
                entry = makers[algorithm].to_jwk(key.public_key(), as_dict=True)
                listed.append(entry | {"kid": key_id, "alg": algorithm, "use": "sig"})
        return {"keys": listed}

    def token(self, key_id: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that counts, but for what is said otherwise; a claim of None is left out."""
        algorithm, key = self.keys[key_id]
        now = int(time.time())
        told = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "sub-vera",
            "iat": now,
            "exp": now + 300,
            "jti": "token-1",
        } | claims
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(told, key, algorithm, headers={"kid": key_id} | (header or {}))


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve its keys."""
    issuer = Issuer()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            body = json.dumps(issuer.document()).encode()
            self.send_response(issuer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        issuer.url = f"http://127.0.0.1:{server.server_port}/keys"
        yield issuer
        server.shutdown()
