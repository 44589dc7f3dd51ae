"""The networks of a model in other runtimes than PyTorch: exported once as ONNX graphs of any size, then run there.

    export_model(folder, target, runtime)     a model folder -> an exported folder, checked against PyTorch
    choose(folder, wanted) -> runtime | None  which one a folder is for
    placed(runtime, device, dtype) -> Place   where its graphs compute, and where the parts that stay with PyTorch
    load(folder, runtime) -> (spec, parts)    networks that compute in the runtime (ExportedPart), for a Restorer

An exported folder has ``model.json`` and each part's ``config.json`` as the model has, a graph for each call of a part
in the place of its weights, and ``export.json``, which says where they come from and how far they are off.
ONNX Runtime and OpenVINO read the same graphs; ncnn has its own, of the convolutions of a pre-upsampler.
"""

from __future__ import annotations

from lpnsr.runtimes.export import export_model
from lpnsr.runtimes.loading import ExportedPart, choose, load, placed
from lpnsr.runtimes.manifest import is_exported
from lpnsr.runtimes.sessions import RUNTIMES, RuntimeName

__all__ = ["RUNTIMES", "ExportedPart", "RuntimeName", "choose", "export_model", "is_exported", "load", "placed"]
