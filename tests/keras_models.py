# SPDX-License-Identifier: Apache-2.0
"""Writes Keras files and SavedModels with random weights: `python -m tests.keras_models FOLDER`, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

PICTURES = 2


def main(folder: Path) -> None:
    """All models into the folder, with the answers of each to the pictures in answers.npz."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((PICTURES, 75, 75, 3), np.float32) * 255
    answers: dict[str, Any] = {"images": images}
    apps = keras.applications
    shape = (75, 75, 3)
    made = {
        "mobilenet.keras": apps.MobileNetV2(weights=None, input_shape=shape, alpha=0.35, classes=7),
        "unet.h5": unet(keras),
    }
    for name, model in made.items():
        answers[name] = model(images, training=False).numpy()
        model.save(folder / name)
    answers["unet"] = answers["unet.h5"]
    tf.saved_model.save(made["unet.h5"], str(folder / "unet"))
    pair = siamese(keras)
    answers["siamese.keras"] = pair.get_layer("tower")(images, training=False).numpy()
    pair.save(folder / "siamese.keras")
    hostile(keras, tf, folder)
    np.savez(folder / "answers.npz", **answers)


def unet(keras: Any) -> Any:
    """Two levels, any input size, 4 classes."""
    layers = keras.layers
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    coarse = layers.Conv2D(16, 3, padding="same", activation="relu")(layers.MaxPooling2D(3)(fine))
    joined = layers.Concatenate()([fine, layers.UpSampling2D(3, interpolation="nearest")(coarse)])
    return keras.Model(image, layers.Conv2D(4, 1)(joined), name="unet")


def siamese(keras: Any) -> Any:
    """Two pictures through one tower; the answer is their distance."""
    layers = keras.layers
    image = keras.Input((75, 75, 3))
    values = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, strides=2, activation="relu")(image))
    tower = keras.Model(image, layers.UnitNormalization()(layers.Dense(16)(values)), name="tower")
    first, second = keras.Input((75, 75, 3)), keras.Input((75, 75, 3))
    distance = layers.Subtract()([tower(first), tower(second)])
    return keras.Model([first, second], distance, name="pair")


def hostile(keras: Any, tf: Any, folder: Path) -> None:
    """Files that would create `folder`/harm if their code ran (as it does here, while Keras builds them)."""
    harm = str(folder / "harm")
    image = keras.Input((75, 75, 3))
    code = keras.Model(image, keras.layers.Lambda(lambda x: (open(harm, "w").close(), x)[1])(image))
    code.save(folder / "lambda.keras")
    code.save(folder / "lambda.h5")

    class Custom(keras.layers.Layer):  # type: ignore[name-defined, misc]
        def call(self, x: Any) -> Any:
            return x

    keras.Model(image, Custom()(image)).save(folder / "custom.keras")

    class Writer(tf.Module):  # type: ignore[name-defined, misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 75, 75, 3), tf.float32)])
        def __call__(self, x: Any) -> Any:
            tf.io.write_file(harm, "x")
            return x

    writer = Writer()
    tf.saved_model.save(writer, str(folder / "writer"), signatures=writer.__call__)
    (folder / "harm").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
