"""LitServe: an uploaded file, a worker per core, batches for TensorFlow. usage: litserve_server.py PORT"""

import sys

import classifiers
import litserve


class Classifier(litserve.LitAPI):
    def setup(self, device):  # noqa: ARG002  # LitServe passes it
        self.classifier = classifiers.load(threads=1)

    def decode_request(self, request):
        return request["request"].file.read()

    def predict(self, images):
        return self.classifier.classify(images if isinstance(images, list) else [images])

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"probability": output[0] if isinstance(output, list) else output}


if __name__ == "__main__":
    api = Classifier(max_batch_size=classifiers.BATCH, batch_timeout=0.01 if classifiers.BATCH > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=classifiers.CORES)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
