#!/usr/bin/env python3
"""A server of OpenAI's form that answers every question of `synth` (English) at once, with made-up sentences: to measure everything else.

  scripts/instant_server.py [PORT]        serves on 127.0.0.1:PORT (8899) until Ctrl-C

  syncabel synth --kb KB --train TRAIN --out out.jsonl --per-concept 39 --url http://127.0.0.1:8899/v1 --model m --ledger ledger --in-flight 16
  syncabel synth export ledger --out out.parquet
"""
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SENTENCE = "example: In visit {} the patient with [{}] was seen again by the clinic for pain of the joints and weakness of the left hand."


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        lines = request["messages"][-1]["content"].splitlines()
        last = lambda head: [line[len(head):] for line in lines if line.startswith(head)][-1]
        name, count = last("Name: "), int(last("Write ").split()[0])
        text = "\n".join(SENTENCE.format(visit, name) for visit in range(count))
        answer = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                  "usage": {"prompt_tokens": 100, "completion_tokens": 50}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8899
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
