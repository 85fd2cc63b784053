"""A Kubernetes API for the checks of deploy/: two annotated Services of the namespace `shop`, one
of which cannot be meant, and a watch that tells nothing.

Prints its port, then serves until it is ended.
"""

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def service(name, annotations):
    annotations = {f"ops-proxy.dev/{key}": value for key, value in annotations.items()}
    metadata = {"name": name, "namespace": "shop", "resourceVersion": "1", "annotations": annotations}
    return {"metadata": metadata, "spec": {"ports": [{"port": 80}]}}


SERVICES = [
    service("good", {"name": "good.site.example"}),
    service("foreign", {"name": "foreign.site.example", "backend": "10.0.0.1:80"}),
]


class Api(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0, so that an answer lasts as long as its connection."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        if "watch=1" in self.path:
            time.sleep(60)
        else:
            body = {"metadata": {"resourceVersion": "1"}, "items": SERVICES}
            self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
print(api.server_port, flush=True)
api.serve_forever()
