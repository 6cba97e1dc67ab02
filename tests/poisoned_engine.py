"""An engine process that ends as if the decoder had crashed where an image holds POISON."""

import os

from contract.records import Failure
from service import engine_process
from service.engine_wire import EngineImage

POISON = b"the picture that crashes the decoder"
decode = engine_process._decode


def decode_or_die(image: EngineImage, *others: object) -> object | Failure:
    """As the engine's own, but for POISON."""
    if POISON in image.data:
        os._exit(11)
    return decode(image, *others)


if __name__ == "__main__":
    engine_process._decode = decode_or_die
    engine_process.main()
