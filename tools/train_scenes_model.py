"""Draws the training images, trains the demo's scene classifier on them and writes it as a quantised TFLite file.

The project needs none of this to run: the model that it made is in workflows/models. To make it again, in a virtual
environment of its own (this is the one it was run with, on Python 3.11, x86-64, CPU only):

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6 opencv-python-headless==5.0.0.93 av==18.1.0
    PYTHONPATH=runner python tools/train_scenes_model.py

It takes about ten minutes on two cores. The same seed on the same machine and versions gives the same file. What it
measured at the end, as JSON on standard output, belongs into workflows/models/scenes_model_card.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import flatbuffers
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from emflow_emulator.camera.scenes import SCENES, draw

Pictures = npt.NDArray[Any]
Targets = npt.NDArray[np.float32]

SIDE = 224
DRAWN = (640, 480)
SHAPES = ("red circle", "blue square", "green triangle", "yellow star")
# Numbers that begin the seeds of images: what was trained on is never what is measured on. The tests have their own.
TRAINING, CHECKING = 1, 2

log = logging.getLogger("train")


def draw_set(seed: int, purpose: int, count: int, strangers: int = 0) -> tuple[Pictures, Targets]:
    """Drawn, compressed, stretched pictures (n x 224 x 224 x 3, uint8, RGB) and the scores that each should get.

    After `count` pictures of scenes, as many of each, come `strangers`: pictures of none of the scenes, which should
    get the same score for all. Without them the classifier takes any red for the circle, as nothing else is red.
    """
    total, scenes = count + strangers, len(SCENES)
    pictures = np.empty((total, SIDE, SIDE, 3), dtype=np.uint8)
    targets = np.full((total, scenes), 1 / scenes, dtype=np.float32)
    targets[:count] = np.eye(scenes)[np.arange(count) % scenes]
    clip = 5 * scenes
    for start in range(0, total, clip):
        rng = np.random.default_rng([purpose, seed, start])
        drawn = [
            draw(SCENES[place % scenes], *DRAWN, rng) if place < count else stranger(rng)
            for place in range(start, min(start + clip, total))
        ]
        for place, picture in enumerate(compressed(drawn, rng), start):
            pictures[place] = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return pictures, targets


def stranger(rng: np.random.Generator) -> Pictures:
    """A picture that is none of the scenes: a shape in another's colour, an empty backdrop, or coloured blotches."""
    kind = rng.integers(4)
    if kind == 0:
        blotches = rng.integers(0, 256, (*rng.integers(2, 9, 2), 3), dtype=np.uint8)
        return cv2.resize(blotches, DRAWN, interpolation=cv2.INTER_CUBIC)
    picture = draw(SHAPES[rng.integers(len(SHAPES))], *DRAWN, rng)
    if kind == 1:  # no shape reaches the corner
        return cv2.resize(picture[:30, :40], DRAWN, interpolation=cv2.INTER_LINEAR)
    if kind == 2 and rng.integers(3) == 0:
        return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    tones = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)  # hue in steps of 2 degrees
    tones[..., 0] = (tones[..., 0].astype(int) + rng.integers(25, 156)) % 180
    return cv2.cvtColor(tones, cv2.COLOR_HSV2RGB)


def compressed(pictures: list[Pictures], rng: np.random.Generator) -> Iterator[Pictures]:
    """What is left of pictures that came over a network: one batch as H.264, one as JPEG, one untouched."""
    way = rng.integers(3)
    if way == 0:
        yield from through_video(pictures, crf=int(rng.integers(18, 44)))
    for picture in pictures if way else []:
        if way == 1:
            quality = int(rng.integers(15, 96))
            _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            yield np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
        else:
            yield picture


def through_video(pictures: list[Pictures], crf: int) -> list[Pictures]:
    """Encode pictures with x264, each as a key frame of its own, and decode them again."""
    width, height = DRAWN
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(crf), "g": "1"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    if len(decoded) != len(pictures):
        raise RuntimeError(f"{len(pictures)} pictures went into the video, {len(decoded)} came out")
    return [frame.to_ndarray(format="rgb24") for frame in decoded]


def varied(pictures: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Another light for every picture every time it is seen: brightness, contrast, white balance. Values stay 0…1."""
    seeds = tf.random.experimental.stateless_split(seed, 3)
    each = (tf.shape(pictures)[0], 1, 1, 1)
    shift = tf.random.stateless_uniform(each, seeds[0], -0.12, 0.12)
    contrast = tf.random.stateless_uniform(each, seeds[1], 0.75, 1.25)
    balance = tf.random.stateless_uniform((tf.shape(pictures)[0], 1, 1, 3), seeds[2], 0.92, 1.08)
    light = tf.cast(pictures, tf.float32) / 255.0
    return tf.clip_by_value((light - 0.5) * contrast * balance + 0.5 + shift, 0.0, 1.0)


def classifier() -> keras.Model:
    """A small MobileNet: one convolution, then depthwise and pointwise ones in turn; the mean of what they found."""
    layers = keras.layers

    def bounded(x: Any) -> Any:
        # ReLU6 and no bias but the normalisation's: ranges that one scale a tensor can hold.
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))

    pixels = layers.Input((SIDE, SIDE, 3), name="input")
    x = bounded(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(pixels))
    for filters, strides in ((16, 2), (32, 2), (48, 2), (64, 1), (96, 2), (96, 1)):
        x = bounded(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x))
        x = bounded(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, layers.Dense(len(SCENES), activation="softmax", name="scores")(x))


def train(seed: int, epochs: int, pictures: Pictures, targets: Targets) -> keras.Model:
    model = classifier()
    count, batch = len(pictures), 32
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * count // batch)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="categorical_crossentropy")
    order = tf.data.Dataset.from_tensor_slices(np.arange(count)).shuffle(count, seed=seed)
    seeds = tf.data.Dataset.random(seed=seed).batch(2)
    shown = tf.data.Dataset.zip((order.batch(batch), seeds))

    def pick(places: npt.NDArray[np.int64]) -> tuple[Pictures, Targets]:
        return pictures[places], targets[places]

    def example(places: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        picked, wanted = tf.numpy_function(pick, [places], (tf.uint8, tf.float32))
        picked.set_shape((None, SIDE, SIDE, 3))
        wanted.set_shape((None, len(SCENES)))
        return varied(picked, seed), wanted

    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: log.info("%d of %d: %s", epoch + 1, epochs, logs)
    )
    model.fit(shown.map(example).prefetch(2), epochs=epochs, verbose=0, shuffle=False, callbacks=[progress])
    return model


def quantised(model: keras.Model, samples: Pictures) -> bytes:
    """The model as TFLite in whole numbers: uint8 in and out, one scale a tensor, which is what NPUs are fast with."""

    # One picture a call: with a batch size left open, an NPU's compiler refuses the graph.
    pixels = keras.layers.Input(batch_shape=(1, SIDE, SIDE, 3))
    single = keras.Model(pixels, model(pixels, training=False))

    def representative() -> Iterator[list[npt.NDArray[np.float32]]]:
        # Black and white corners, so that the input's scale is 1/255 and every byte is itself.
        for picture in samples:
            sample = picture[None].astype(np.float32) / 255.0
            sample[0, 0, 0], sample[0, -1, -1] = 0.0, 1.0
            yield [sample]

    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    converter._experimental_disable_per_channel = True
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    with contextlib.redirect_stdout(sys.stderr):  # it talks, and standard output is for the facts
        return named(converter.convert())


def named(model: bytes) -> bytes:
    """Call the tensors by names that a person would look for; the converter makes up its own."""
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = tree.subgraphs[0]
    graph.tensors[graph.inputs[0]].name = b"input"
    graph.tensors[graph.outputs[0]].name = b"scores"
    tree.description = b"Scenes of the emflow test camera"
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def measured(model: bytes, pictures: Pictures, targets: Targets, strangers: int) -> dict[str, Any]:
    """What the TFLite file does with pictures it never saw, the last ones strangers, and what is in it."""
    interpreter = tf.lite.Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scores = np.empty((len(pictures), len(SCENES)), dtype=np.uint8)
    began = time.perf_counter()
    for place, picture in enumerate(pictures):
        interpreter.set_tensor(source["index"], picture[None])
        interpreter.invoke()
        scores[place] = interpreter.get_tensor(sink["index"])[0]
    seconds = time.perf_counter() - began
    count = len(pictures) - strangers
    asked, hits = targets[:count].argmax(axis=1), scores[:count].argmax(axis=1) == targets[:count].argmax(axis=1)
    best = scores.max(axis=1) / 256
    return {
        "sha256": hashlib.sha256(model).hexdigest(),
        "bytes": len(model),
        "images": count,
        "accuracy": round(float(hits.mean()), 4),
        "accuracy_by_scene": {
            scene: round(float(hits[asked == number].mean()), 4) for number, scene in enumerate(SCENES)
        },
        "highest_score_p1_p50": [round(float(np.percentile(best[:count], share)), 3) for share in (1, 50)],
        "strangers": strangers,
        "strangers_highest_score_p50_p95": [round(float(np.percentile(best[count:], share)), 3) for share in (50, 95)],
        "milliseconds": round(seconds / len(pictures) * 1000, 2),
        "input": [source["name"], source["shape"].tolist(), source["dtype"].__name__, *source["quantization"]],
        "output": [sink["name"], sink["shape"].tolist(), sink["dtype"].__name__, *sink["quantization"]],
        "operators": sorted({step["op_name"] for step in interpreter._get_ops_details()} - {"DELEGATE"}),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("workflows/models"), help="folder to write to (%(default)s)")
    parser.add_argument("--seed", type=int, default=2026, help="of images, weights and order (%(default)s)")
    parser.add_argument(
        "--images",
        type=int,
        default=8000,
        help="to train on, and a quarter as many strangers (%(default)s)",
    )
    parser.add_argument(
        "--check-images", type=int, default=2000, help="to measure on, never seen, likewise (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=12, help="times that each image is seen (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="processor cores to use (%(default)s)")
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    os.nice(5)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(options.seed)

    log.info("drawing %d images", options.images)
    strangers, check_strangers = options.images // 4, options.check_images // 4
    pictures, targets = draw_set(options.seed, TRAINING, options.images, strangers)
    model = train(options.seed, options.epochs, pictures, targets)
    log.info("quantising %d weights", model.count_params())
    data = quantised(model, pictures[::21])  # a stride that is prime to the number of scenes meets all of them

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scenes.tflite").write_bytes(data)
    (options.out / "scenes_labels.txt").write_text("\n".join(SCENES) + "\n")
    log.info("measuring")
    checks = draw_set(options.seed, CHECKING, options.check_images, check_strangers)
    facts = measured(data, *checks, check_strangers)
    versions = {part.__name__: part.__version__ for part in (tf, keras, np, cv2, av)}
    sys.stdout.write(json.dumps({**facts, "parameters": model.count_params(), "versions": versions}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
