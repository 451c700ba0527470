"""What cleaning is worth: retrieval accuracy of a trained run on synthetic photographs of its test sketches.

  python benchmarks/photographed_sketches.py RUN [--data-dir FOLDER] [--tfds-dir FOLDER] [--out FOLDER]

Every test sketch is drawn as pencil, blue or red ink on tinted paper under uneven light, with a soft shadow, blur,
noise and JPEG, in three strengths. The gallery stays as it is.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from effnet_jax.data.loading import load_split
from effnet_jax.images.clean_sketch import clean_sketch
from effnet_jax.images.preprocessing import resize
from effnet_jax.retrieval.metrics import summarise
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.runs.folder import trained_encoders

INKS = {
    "black pen": (0.1, 0.1, 0.12),
    "pencil": (0.42, 0.42, 0.43),
    "blue pen": (0.16, 0.2, 0.62),
    "red pen": (0.75, 0.14, 0.16),
}
STRENGTHS = {"light": 0.4, "middle": 0.7, "strong": 1.0}


def photograph(sketch, strength, rng):
    """Make a synthetic photograph of a drawing; strength 0..1."""
    h, w = sketch.shape[:2]
    cover = 1 - sketch.mean(axis=2, keepdims=True) / 255  # (h, w, 1)
    ink = np.array(list(INKS.values())[rng.integers(len(INKS))])
    paper = 1 - strength * rng.uniform([0.08, 0.1, 0.14], [0.3, 0.32, 0.4])
    y, x = np.mgrid[0:h, 0:w] / max(h, w)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 - strength * 0.45 * ((np.cos(angle) * x + np.sin(angle) * y) * 0.7 + 0.5).clip(0, 1)
    edge = (x - rng.uniform(0.2, 0.8)) * np.cos(angle + 1) + (y - rng.uniform(0.2, 0.8)) * np.sin(angle + 1)
    light *= 1 - strength * 0.3 / (1 + np.exp(-edge / 0.04))  # a soft shadow
    picture = (paper * (1 - cover) + np.minimum(ink, paper) * cover) * light[:, :, None]
    picture = ndimage.gaussian_filter(picture, (0.6 * strength, 0.6 * strength, 0))
    picture += rng.normal(0, 0.02 * strength, picture.shape)
    stream = io.BytesIO()
    Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8)).save(stream, "JPEG", quality=round(95 - 20 * strength))
    return np.asarray(Image.open(stream).convert("RGB"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", default="procedural_garments")
    parser.add_argument("--data-dir")
    parser.add_argument("--tfds-dir")
    parser.add_argument("--out", help="write pictures of the first sketches here")
    arguments = parser.parse_args()
    encoders = trained_encoders(arguments.run)
    split = load_split(arguments.data, "test", source_dir=arguments.data_dir, tfds_dir=arguments.tfds_dir)
    how = encoders.preprocessing

    def embed(encode, images):
        small = np.stack([resize(image, how.image_size, how.resample) for image in images])
        return np.concatenate([encode(small[i : i + 64]) for i in range(0, len(small), 64)])

    photos = embed(encoders.embed_photos, [split.photo(j) for j in range(len(split.photo_ids))])
    sketches = [split.sketch(i) for i in range(len(split.sketch_ids))]
    versions = {"as they are": sketches, "as they are, cleaned": [clean_sketch(s) for s in sketches]}
    for name, strength in STRENGTHS.items():
        rng = np.random.default_rng(0)
        versions[f"photographed, {name}"] = [photograph(s, strength, rng) for s in sketches]
        versions[f"photographed, {name}, cleaned"] = [clean_sketch(s) for s in versions[f"photographed, {name}"]]
    print(
        f"{arguments.data}: {len(sketches)} sketches, gallery of {len(photos)} photos; {encoders.origin['selection']}"
    )
    for name, images in versions.items():
        ranking = rank_gallery(embed(encoders.embed_sketches, images), photos, split.photo_index)
        accuracy = summarise(ranking, split.photo_index, tags=None).accuracy
        print(f"{name:32}" + "".join(f"  Acc@{k} {measure}" for k, measure in accuracy.items()), flush=True)
    if arguments.out:
        rows = [
            np.concatenate([np.array(Image.fromarray(v[i]).resize((220, 220))) for v in versions.values()], axis=1)
            for i in range(0, 60, 10)
        ]
        Path(arguments.out).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(Path(arguments.out) / "photographed_sketches.png")


if __name__ == "__main__":
    main()
