"""A registry that does as it is told, however bad: every request is kept, so that a test can see what was sent where."""
import base64
import http.server
import json
import threading

import oci


class FakeRegistry:
    """`rules` maps (path suffix) to a function(handler) that answers; what has no rule is answered as it should be."""

    def __init__(self, image=None, repository="shop/web", tag="v1", credentials=None, realm=None, address="127.0.0.1"):
        self.image, self.repository, self.tag = image, repository, tag
        self.credentials, self.realm = credentials, realm
        self.requests, self.rules = [], {}
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                registry.requests.append((self.path, dict(self.headers)))
                for suffix, rule in registry.rules.items():
                    if suffix in self.path:
                        return rule(self)
                return registry.serve(self)

            do_POST = do_GET

            def answer(self, status, body=b"", headers=None, length=None):
                self.send_response(status)
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)

            def cut(self):
                self.close_connection = True
                self.connection.shutdown(2)

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # a client that hangs up is no news

        self.server = Server((address, 0), Handler)
        self.port = self.server.server_address[1]
        self.host = f"{address}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def ref(self):
        return f"{self.host}/{self.repository}:{self.tag}"

    def serve(self, h):
        if h.path.startswith("/token"):
            return h.answer(200, b'{"token":"let-me-in"}')
        if self.realm is not None and h.headers.get("Authorization") != "Bearer let-me-in":
            return h.answer(401, headers={"WWW-Authenticate": f'Bearer realm="{self.realm}",service="fake"'})
        if self.credentials and h.headers.get("Authorization") != "Basic " + base64.b64encode(self.credentials.encode()).decode():
            return h.answer(401, headers={"WWW-Authenticate": 'Basic realm="fake"'})
        if h.path == "/v2/":
            return h.answer(200, b"{}")
        base = f"/v2/{self.repository}"
        if h.path in (f"{base}/manifests/{self.tag}", f"{base}/manifests/{self.image.digest}"):
            return h.answer(200, self.image.blobs[self.image.digest],
                            {"Content-Type": self.image.manifest["mediaType"], "Docker-Content-Digest": self.image.digest})
        for key, data in self.image.blobs.items():
            if h.path == f"{base}/manifests/{key}":
                return h.answer(200, data, {"Content-Type": json.loads(data).get("mediaType", oci.MANIFEST)})
            if h.path == f"{base}/blobs/{key}":
                return self.serve_blob(h, data)
        return h.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')

    def serve_blob(self, h, data):
        wanted = h.headers.get("Range")
        if not wanted:
            return h.answer(200, data)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        return h.answer(206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})

    def layer(self, i=0):
        return json.loads(self.image.blobs[self.image.digest])["layers"][i]["digest"]

    def sent(self, header="Authorization"):
        return [headers[header] for _, headers in self.requests if header in headers]
