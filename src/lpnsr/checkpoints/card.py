"""The card of a model: what it is, what it was made from, what it scores, and under which licence."""

from __future__ import annotations

import json
from collections.abc import Mapping

from torch import nn

from lpnsr.checkpoints.spec import ModelSpec, PartName
from lpnsr.networks import chain_flops, cost

TITLES: dict[PartName, str] = {
    "autoencoder": "autoencoder: images to latents and back",
    "upsampler": "pre-upsampler: makes the start of the chain",
    "denoiser": "denoiser: predicts the clean latent",
    "noise_predictor": "noise predictor: replaces random noise in the intermediate steps",
}
ABSENT: dict[PartName, str] = {
    "upsampler": "It has no pre-upsampler: the chain starts from bicubic interpolation.",
    "noise_predictor": "It has no noise predictor: the intermediate steps use Gaussian noise.",
}


def render_card(spec: ModelSpec, parts: Mapping[PartName, nn.Module]) -> str:
    """Write the card as Markdown, with the metadata that model hubs read on top. ``parts``: the networks."""
    sections = [
        _metadata(spec),
        f"# {spec.name}",
        spec.description or f"A {spec.scale}x super-resolution model.",
        "## Parts",
        parts_table(spec, parts),
        *(sentence for part, sentence in ABSENT.items() if spec.steps and part not in spec.parts),
        *_chain(spec),
        *(["## Training", spec.training] if spec.training else []),
        *_scores(spec),
        *_sources(spec),
        "## Licence",
        spec.licence,
        "## Use",
        "```python\nfrom lpnsr import Upscaler\n\n"
        'Upscaler.from_pretrained("path/to/this/folder")("photo.jpg").save("photo_x4.png")\n```',
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(spec: ModelSpec) -> str:
    known = spec.licence.lower() if spec.licence.lower() in {"apache-2.0", "mit", "cc0-1.0"} else "other"
    # JSON strings are YAML strings, whatever the name holds.
    name = f"license_name: {json.dumps(spec.licence)}\n" if known == "other" else ""
    tags = "pipeline_tag: image-to-image\ntags: [super-resolution, diffusion, lpnsr]\nlibrary_name: lpnsr"
    return f"---\nlicense: {known}\n{name}{tags}\n---"


def parts_table(spec: ModelSpec, parts: Mapping[PartName, nn.Module]) -> str:
    """Tabulate the parts with their parameters and arithmetic, which are counted."""
    costs = {name: cost(parts[name]) for name in spec.parts}
    rows = [
        f"| {TITLES[name]} | {one.parameters:,} | "
        f"{', '.join(f'{method} {_mega(flops)}' for method, flops in one.flops.items())} |"
        for name, one in costs.items()
    ]
    steps = spec.steps
    total = chain_flops({str(name): net for name, net in parts.items()}, steps)
    parameters = sum(one.parameters for one in costs.values())
    head = ["| part | parameters | MFLOP per LR pixel |", "|---|---:|---|"]
    return "\n".join([*head, *rows, f"| all, in {steps} steps | {parameters:,} | {_mega(total)} |"])


def _mega(flops: float | None) -> str:
    return "" if flops is None else f"{flops / 1e6:.3g}"


def _chain(spec: ModelSpec) -> list[str]:
    if not spec.steps:
        return ["It has no chain: the upsampler alone makes the result."]
    settings = ", ".join(f"{key} {value}" for key, value in spec.chain.model_dump().items())
    return ["## Chain", settings + "."]


def _scores(spec: ModelSpec) -> list[str]:
    if not spec.scores:
        return []
    rows = [f"| {s.metric} | {s.value:g} | {s.data} | {s.protocol} |" for s in spec.scores]
    return ["## Scores", "\n".join(["| metric | value | data | protocol |", "|---|---|---|---|", *rows])]


def _sources(spec: ModelSpec) -> list[str]:
    if not spec.sources:
        return []
    rows = [f"| {s.part} | {s.file} | {s.licence} | `{s.sha256}` |" for s in spec.sources]
    head = ["| part | file | licence | SHA-256 |", "|---|---|---|---|"]
    return ["## Converted from", "\n".join([*head, *rows])]
