"""A SavedModel -> OpenVINO's `openvino/f32.xml`, as a process of its own: it may abort. LINE B step 4.

    python -m retrain.tf_conversion SAVED_MODEL_FOLDER TARGET_FOLDER

Converting the whole folder with its two signatures aborts (`double free`, measured); one concrete function does not.
"""

import sys
from pathlib import Path

from contract.openvino_model import Precision, import_openvino, model_file
from retrain.own_process import Tell, be_child


def convert(folder: Path, target: Path, tell: Tell) -> None:
    """Convert (N, H, W, 3) uint8 -> (N, 1) float32 P(`classes[1]`), weights inside; float32 stays float32."""
    tell("converting the network for OpenVINO")
    openvino = import_openvino()
    import tensorflow as tf  # noqa: PLC0415  # takes 3 s, which the job should not be silent for

    loaded = tf.saved_model.load(str(folder))  # its signatures die with it
    pixels = loaded.signatures["pixels"]
    (image,) = pixels.structured_input_signature[1].values()
    answer = tf.function(lambda image: pixels(image=image)["probability"], input_signature=[image])
    model = openvino.convert_model(answer.get_concrete_function())
    openvino.save_model(model, model_file(target, Precision.F32), compress_to_fp16=False)


if __name__ == "__main__":
    be_child(lambda tell: convert(Path(sys.argv[1]), Path(sys.argv[2]), tell))
