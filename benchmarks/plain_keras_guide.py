"""The peer: the guide as a plain Keras script. usage: plain_keras_guide.py ORDER (JSON, see retraining.py)."""

import itertools
import json
import sys
import time

import keras

SIDE = 224


def main(order) -> None:
    """Train as the guide does and print the seconds, and what it says of the validation images, as JSON."""
    began = time.perf_counter()
    keras.utils.set_random_seed(order["seed"])
    train, validation = load(order, "train", shuffle=True), load(order, "validation", shuffle=False)
    options = {} if order["alpha"] is None else {"alpha": order["alpha"]}
    weights = "imagenet" if order["weights"] == "imagenet" else None
    build = getattr(keras.applications, order["backbone"])
    base = build(include_top=False, weights=weights, input_shape=(SIDE, SIDE, 3), **options)
    if weights is None:
        base.load_weights(order["weights"])
    base.trainable = False
    head = [keras.layers.Flatten(), keras.layers.Dense(256, "relu"), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.layers.Input((SIDE, SIDE, 3)), keras.layers.Rescaling(1 / 255), base, *head])
    phases = [fit(model, train, validation, order["head_epochs"])[0]]
    base.trainable = True
    for layer in base.layers[:-4]:
        layer.trainable = False
    seconds, last = fit(model, train, validation, order["tail_epochs"])
    phases.append(seconds)
    once_s = time.perf_counter() - began - sum(map(sum, phases))
    told = {"once_s": once_s, "phases": phases, "loss": last["val_loss"], "accuracy": last["val_accuracy"]}
    told["seconds"] = time.perf_counter() - began
    told["probabilities"] = model.predict(validation, verbose=0)[:, 0].tolist()
    told["labels"] = [int(label) for _, labels in validation for label in labels.numpy()[:, 0]]
    print(json.dumps(told))


def load(order, part, *, shuffle):
    """A cached data set of (N, 224, 224, 3) float32 images in [0, 255] and (N, 1) labels."""
    folder = f"{order['folder']}/{part}"
    data = keras.utils.image_dataset_from_directory(
        folder, label_mode="binary", image_size=(SIDE, SIDE), shuffle=shuffle, seed=order["seed"], verbose=False
    )
    return data.cache()


def fit(model, train, validation, epochs):
    """Compile, train, and return the seconds of each epoch, with its validation, and the figures of the last."""
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    times = [time.perf_counter()]
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()))  # noqa: ARG005
    history = model.fit(train, validation_data=validation, epochs=epochs, verbose=0, callbacks=[watch]).history
    seconds = [after - before for before, after in itertools.pairwise(times)]
    return seconds, {name: values[-1] for name, values in history.items()}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
