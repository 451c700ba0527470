"""effnet-jax convert: weights of others to .safetensors in timm's names."""

import json
from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "[bold]Examples[/bold]\n\n"
    "effnet-jax convert best.pth chairs.safetensors    # two encoders: chairs-sketch and chairs-photo\n\n"
    "effnet-jax convert Ti_16-i21k.npz vit.safetensors\n\n"
    "effnet-jax convert resnet50.pth --check           # only say what it is"
)


def convert(
    file: Annotated[Path, typer.Argument(help=".safetensors, .pth, .pt, .bin or .npz; nothing in it is executed.")],
    out: Annotated[Path | None, typer.Argument(help="The .safetensors file to write.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what the file holds; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Convert pretrained weights, and print what was recognised.

    Reads timm's, torchvision's, Hugging Face's and Google's ViT files and the checkpoints of EffNet's authors; what is
    written can be given as --config.model.weights, and timm reads it too.
    """
    from effnet_jax.weights.errors import WeightsError
    from effnet_jax.weights.save import save_encoder
    from effnet_jax.weights.sources import encoder_tree, read_source
    from effnet_jax.weights.trees import count

    if out is None and not check:
        raise typer.BadParameter("give the file to write, or --check to write none.", param_hint="OUT")
    if out is not None and out.suffix != ".safetensors":
        raise WeightsError(f"{out}: the output is a .safetensors file; name it so.")
    source = read_source(file)
    report: dict = {"file": str(file), "kind": source.kind, "about": source.about, "encoders": []}
    if source.extra:
        report["not_converted"] = list(source.extra)
    laid = [(encoder, *encoder_tree(encoder)) for encoder in source.encoders]  # all fit before anything is written
    for encoder, params, statistics in laid:
        entry = {
            "domain": encoder.domain or "any",
            "names": encoder.found.source,
            "backbone": encoder.config.backbone,
            "sizes": {
                name: getattr(encoder.config, name)
                for name in ("width", "depth", "heads", "patch_size", "stem", "image_size")
                if getattr(encoder.config, name) != _default(encoder.config, name) or name == "image_size"
            },
            "tensors": len(encoder.found.tensors),
            "parameters": count(params["backbone"]),
            "embedding_size": encoder.config.embedding_size if "head" in params else None,
            "preprocessing": encoder.preprocessing.to_dict(),
            "preprocessing_source": encoder.preprocessing_source,
        }
        if out is not None:
            path = out.with_name(f"{out.stem}-{encoder.domain}{out.suffix}") if len(laid) > 1 else out
            save_encoder(path, encoder.config, params, statistics, encoder.preprocessing, domain=encoder.domain)
            entry["written"] = str(path)
        report["encoders"].append(entry)
    print(json.dumps(report, indent=2) if as_json else _text(report))


def _default(config, name: str):
    return type(config).__dataclass_fields__[name].default


def _text(report: dict) -> str:
    lines = [f"{report['file']}: {report['kind']}"]
    if report["about"]:
        lines.append(
            "  "
            + ", ".join(
                f"{name} {v:g}" if isinstance(v, float) else f"{name} {v}" for name, v in report["about"].items()
            )
        )
    for entry in report["encoders"]:
        pixels = entry["preprocessing"]
        sizes = ", ".join(f"{name} {value}" for name, value in entry["sizes"].items())
        head = entry["embedding_size"]
        lines += [
            f"  encoder for {entry['domain']} images: {entry['backbone']} ({sizes}), by {entry['names']}",
            f"    {entry['tensors']} tensors, {entry['parameters']:,} parameters, "
            + (f"embedding head of {head}" if head else "no embedding head"),
            f"    images: {pixels['image_size']} px, {pixels['resample']}, mean {pixels['mean']}, std {pixels['std']} "
            f"({entry['preprocessing_source']})",
        ]
        lines += [f"    written: {entry['written']}"] if "written" in entry else []
    if "not_converted" in report:
        names = report["not_converted"]
        lines.append(f"  not encoders, left out: {len(names)} tensors ({', '.join(names[:4])}, ...)")
    return "\n".join(lines)
