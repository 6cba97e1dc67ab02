"""What every peer serves: JPEG bytes -> probability, on TensorFlow as people write it, or on OpenVINO as Ripen does.

Runs in a peer's own Python. The version, the runtime and the precision come from the environment.
"""

import io
import os
import sys
import threading

SIDE = int(os.environ.get("BENCH_SIDE", "224"))
FOLDER = os.environ.get("BENCH_FOLDER", "")
OPENVINO = os.environ.get("BENCH_RUNTIME", "openvino") == "openvino"
PRECISION = os.environ.get("BENCH_PRECISION", "bf16")
CORES = len(os.sched_getaffinity(0))
BATCH = 1 if OPENVINO else 8  # OpenVINO is as fast one by one, as measured; TensorFlow is not


class PilTensorFlow:
    """Pillow decodes, the SavedModel's `pixels` signature infers batches."""

    def __init__(self, threads: int = CORES) -> None:
        import numpy  # noqa: PLC0415  # here and below: only what this classifier needs is loaded
        import tensorflow  # noqa: PLC0415
        from PIL import Image  # noqa: PLC0415

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        self._numpy, self._image, self._tensorflow = numpy, Image, tensorflow
        self._loaded = tensorflow.saved_model.load(FOLDER)
        self._pixels = self._loaded.signatures["pixels"]
        for count in range(1, BATCH + 1):
            self._infer([numpy.zeros((SIDE, SIDE, 3), numpy.uint8)] * count)

    def classify(self, images: list[bytes]) -> list[float]:
        return self._infer([self.decode(image) for image in images])

    def decode(self, data: bytes):
        image = self._image.open(io.BytesIO(data)).convert("RGB")
        return self._numpy.asarray(image.resize((SIDE, SIDE), self._image.Resampling.BILINEAR))

    def _infer(self, pixels) -> list[float]:
        batch = self._tensorflow.constant(self._numpy.stack(pixels))
        return self._pixels(image=batch)["probability"].numpy()[:, 0].tolist()


class JpegOpenVino:
    """simplejpeg decodes, OpenCV resizes, OpenVINO infers one by one; each thread has its own request."""

    def __init__(self, threads: int = CORES, streams: int = CORES) -> None:
        sys.modules["openvino_telemetry"] = None  # it would send an event over the network at each import
        import cv2  # noqa: PLC0415
        import numpy  # noqa: PLC0415
        import openvino  # noqa: PLC0415
        import simplejpeg  # noqa: PLC0415

        cv2.setNumThreads(1)
        self._cv2, self._numpy, self._decode = cv2, numpy, simplejpeg.decode_jpeg
        core = openvino.Core()
        model = core.read_model(f"{FOLDER}/openvino/{'int8' if PRECISION == 'int8' else 'f32'}.xml")
        model.reshape([1, SIDE, SIDE, 3])
        self._model = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if PRECISION == "bf16" else "f32",
                "NUM_STREAMS": min(streams, threads),
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._seats = threading.local()
        self._infer(numpy.zeros((SIDE, SIDE, 3), numpy.uint8))  # first calls of two threads at once lock up

    def classify(self, images: list[bytes]) -> list[float]:
        return [self._infer(self.decode(image)) for image in images]

    def decode(self, data: bytes):
        pixels = self._decode(data, "RGB")
        return self._cv2.resize(pixels, (SIDE, SIDE), interpolation=self._cv2.INTER_LINEAR)

    def _infer(self, pixels) -> float:
        if not hasattr(self._seats, "request"):
            self._seats.request = self._model.create_infer_request()
        self._seats.request.infer([pixels[None]], share_inputs=True)
        return float(self._seats.request.get_output_tensor(0).data[0, 0])


def load(*, threads: int = CORES, streams: int = CORES):
    """The classifier that the environment asks for, ready."""
    return JpegOpenVino(threads, streams) if OPENVINO else PilTensorFlow(threads)
