"""The peer: the guide as a plain Keras script. usage: plain_keras_guide.py DATASET BACKBONE ALPHA|None"""

import json
import sys
import time

import keras

SIDE = 224


def main(folder: str, backbone: str, alpha: str) -> None:
    """Train as the guide does and print seconds, the best and the last accuracy on `validation/` as JSON."""
    train, validation = load(folder, "train", shuffle=True), load(folder, "validation", shuffle=False)
    began = time.perf_counter()
    options = {} if alpha == "None" else {"alpha": float(alpha)}
    build = getattr(keras.applications, backbone)
    base = build(include_top=False, weights="imagenet", input_shape=(SIDE, SIDE, 3), **options)
    base.trainable = False
    head = [keras.layers.Flatten(), keras.layers.Dense(256, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.layers.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 255), base, *head])
    scores = fit(model, train, validation, 5)
    base.trainable = True
    for layer in base.layers[:-4]:
        layer.trainable = False
    scores += fit(model, train, validation, 10)
    print(json.dumps({"seconds": time.perf_counter() - began, "best": max(scores), "last": scores[-1]}))


def load(folder, part, *, shuffle):
    """A cached data set of (N, 224, 224, 3) float32 images in [0, 255] and (N, 1) labels."""
    data = keras.utils.image_dataset_from_directory(
        f"{folder}/{part}", label_mode="binary", image_size=(SIDE, SIDE), shuffle=shuffle, seed=42, verbose=False
    )
    return data.cache()


def fit(model, train, validation, epochs):
    """Compile, train, and return the validation accuracy of each epoch."""
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model.fit(train, validation_data=validation, epochs=epochs, verbose=0).history["val_accuracy"]


if __name__ == "__main__":
    main(*sys.argv[1:])
