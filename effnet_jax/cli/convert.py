"""effnet-jax convert: weights of others to .safetensors in timm's names."""

from pathlib import Path
from typing import Annotated

import typer

from effnet_jax.cli.outputs import Overwrite, check_outputs, print_result
from effnet_jax.weights.errors import shown, some

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "effnet-jax convert best.pth chairs/best.safetensors    # two: best-sketch and best-photo\n\n"
    "effnet-jax convert Ti_16-i21k.npz vit.safetensors\n\n"
    "effnet-jax convert resnet50.pth --check           # only say what it is"
)


def convert(
    file: Annotated[
        Path,
        typer.Argument(
            help="File of .safetensors, .pth, .pt, .bin or .npz, or the folder of an export; nothing in it is executed."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(help="The .safetensors file to write; of two encoders, OUT-sketch and OUT-photo."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what the file holds; write nothing.")] = False,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Convert pretrained weights, and print what was recognised.

    Reads timm's, torchvision's, Hugging Face's and Google's ViT files and the checkpoints of EffNet's authors; what is
    written can be given as --config.model.weights, and timm reads it too. Where a model has an encoder for sketches and
    one for photos, give the folder that holds the two files.
    """
    from effnet_jax.config import ModelConfig
    from effnet_jax.models.trees import count
    from effnet_jax.weights.encoder_weights import encoder_tree
    from effnet_jax.weights.errors import WeightsError
    from effnet_jax.weights.save import save_encoder
    from effnet_jax.weights.sources import read_source

    if out is None and not check:
        raise typer.BadParameter("give the file to write, or --check to write none.", param_hint="OUT")
    if out is not None and out.suffix != ".safetensors":
        raise WeightsError(f"{out}: the output is a .safetensors file; name it so.")
    source = read_source(file)
    paths = _outputs(file, out, [encoder.domain for encoder in source.encoders], overwrite=overwrite)
    report: dict = {"file": str(file), "kind": source.kind, "about": source.about, "encoders": []}
    if source.extra:
        report["not_converted"] = list(source.extra)
    # all fit before anything is written
    laid = [(encoder, *encoder_tree(encoder, whole=not check)) for encoder in source.encoders]
    for (encoder, params, statistics), path in zip(laid, paths or [None] * len(laid), strict=True):
        entry = {
            "domain": encoder.domain or "any",
            "names": encoder.found.source,
            "backbone": encoder.config.backbone,
            "sizes": {
                name: getattr(encoder.config, name)
                for name in ("width", "depth", "heads", "patch_size", "stem", "image_size")
                if getattr(encoder.config, name) != getattr(ModelConfig, name) or name == "image_size"
            },
            "tensors": len(encoder.found.tensors),
            "parameters": count(params["backbone"]),
            **({"assumed": list(encoder.assumed)} if encoder.assumed else {}),
            "token_recycling": encoder.config.token_recycling,
            **({"lacks": "transformers of token recycling"} if encoder.lacks_transformers else {}),
            "embedding_size": encoder.config.embedding_size if "head" in params else None,
            "preprocessing": encoder.preprocessing.to_dict(),
            "preprocessing_source": encoder.preprocessing_source,
        }
        if path is not None:
            save_encoder(path, encoder.config, params, statistics, encoder.preprocessing, domain=encoder.domain)
            entry["written"] = str(path)
        report["encoders"].append(entry)
    print_result(report, _in_words(report), as_json=as_json)


def _outputs(file: Path, out: Path | None, domains: list[str], *, overwrite: bool) -> list[Path]:
    """Name the files to write, none of which may be what is read."""
    if out is None:
        return []
    paths = [out.with_name(f"{out.stem}-{domain}{out.suffix}") for domain in domains] if len(domains) > 1 else [out]
    if file.resolve() in [place for path in paths for place in (path.resolve(), path.resolve().parent)]:
        raise ValueError(f"{out} would replace, or lie among, what is read from {file}; name another place.")
    check_outputs(paths, overwrite=overwrite)
    return paths


def _in_words(report: dict) -> list[str]:
    lines = [f"{report['file']}: {report['kind']}"]
    said = [
        f"{shown(name)} {value:g}" if isinstance(value, float) else f"{shown(name)} {shown(value)}"
        for name, value in report["about"].items()
    ]
    lines += [f"  {', '.join(said)}"] if said else []
    for entry in report["encoders"]:
        pixels = entry["preprocessing"]
        sizes = ", ".join(
            f"{name} {value}" + (" (assumed, 64 channels per head)" if name in entry.get("assumed", ()) else "")
            for name, value in entry["sizes"].items()
        )
        head = entry["embedding_size"]
        lines += [
            f"  encoder for {entry['domain']} images: {entry['backbone']} ({sizes}), by {entry['names']}",
            f"    {entry['tensors']} tensors, {entry['parameters']:,} parameters, "
            + (f"embedding head of {head}" if head else "no embedding head")
            + (", token recycling" if entry["token_recycling"] else "")
            + (" without its transformers, which the authors never saved" if "lacks" in entry else ""),
            f"    images: {pixels['image_size']} px, {pixels['resample']}, mean {pixels['mean']}, std {pixels['std']} "
            f"({entry['preprocessing_source']})",
        ]
        lines += [f"    written: {entry['written']}"] if "written" in entry else []
    if "not_converted" in report:
        names = report["not_converted"]
        lines.append(f"  not encoders, left out: {len(names)} tensors ({some(names, 4)})")
    return lines
