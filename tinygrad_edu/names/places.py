"""Where what has other paths is: torch's paths, and those of earlier editions (see moved.py)."""

from __future__ import annotations


def _table(**folders: str) -> dict[str, str]:
    """The modules of each folder, under their old names at the root or in the folder above."""
    return {
        ".".join([*folder.split("_")[:-1], name]): ".".join([*folder.split("_"), name])
        for folder, names in folders.items()
        for name in names.split()
    }


MODULES = _table(
    names="accelerator backends cpu functional hub jit legacy missing mps onnx"
    " return_types settings spawned types",
    methods="numpy_protocol printing python_protocol storage",
    ops_more="arranging bitwise counting ctc cumulative decompositions einsum fractional linalg"
    " norms products real rejection resampling scattering series solvers sorting special statistics"
    " strided trigonometric windows",
    kernels_more="gamma rejection series",
    nn_functional_more="bags ctc grid low_level noise ranking vision",
    nn_modules_more="adaptive bags lazy linear_cross_entropy padding parameter_container vision",
    optim_more="adadelta adafactor adagrad adamax asgd lbfgs muon nadam radam rmsprop rprop",
) | {
    "_C": "names.internals",
    "autograd.errors": "engine.boundary",
    "autograd.half": "engine.half",
    "autograd.inplace": "engine.inplace",
    "autograd.mode": "engine.switches",
    "autograd.profiler": "profiler.legacy",
    "autograd.profiler_util": "profiler.events",
    "autograd.record": "engine.record",
    "autograd.walk": "engine.gradients",
    "_custom_ops": "names.internals",
    "_dynamo": "names.internals",
    "_dynamo.utils": "names.internals",
    "ao": "names.absent",
    "batching": "func.batching",
    "distributed.optim": "optim.more.sharded",
    "fx": "names.absent",
    "library": "names.internals",
    "gpu_random": "random.gpu",
    "nn.modules.channelshuffle": "nn.modules.more.vision",
    "nn.modules.fold": "nn.modules.more.vision",
    "nn.modules.instancenorm": "nn.modules.batchnorm",
    "nn.modules.pixelshuffle": "nn.modules.more.vision",
    "nn.modules.upsampling": "nn.modules.more.vision",
    "jit.annotations": "names.absent",
    "onnx.symbolic_helper": "names.absent",
    "utils.flop_counter": "names.absent",
    "xpu": "names.mps",
    "overrides": "names.internals",
    "ops.cross_entropy": "ops.losses",
    "ops.dims": "ops.arguments",
    "ops.layout": "ops.casting",
    "ops.lists": "entrances",
    "ops.names": "ops.arguments",
    "tree": "engine.tree",
}
"""Each name, without the package's, and where the module is."""
