"""A backend for the checks of deploy/: HTTP that answers as its path says, and an echo of UDP.

Prints the HTTP port and the UDP port, then serves until it is ended.
"""

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """`/404` is answered with 404, `/slow` after half a second, `/wait` after five
    minutes, anything else with 200; what is posted, as spans are, with 200 and nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        word = self.path.strip("/")
        time.sleep({"slow": 0.5, "wait": 300}.get(word, 0))
        body = b"x" * 2048
        self.send_response(int(word) if word.isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def echo(datagrams):
    while True:
        datagram, client = datagrams.recvfrom(65536)
        datagrams.sendto(datagram, client)


http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
threading.Thread(target=echo, args=(udp,), daemon=True).start()
print(http.server_port, udp.getsockname()[1], flush=True)
http.serve_forever()
