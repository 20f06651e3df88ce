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
    " return_types settings spawned types xpu",
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
    "overrides": "names.internals",
    "ops.cross_entropy": "ops.losses",
    "ops.dims": "ops.arguments",
    "ops.layout": "ops.casting",
    "ops.lists": "entrances",
    "ops.names": "ops.arguments",
    "tree": "engine.tree",
}
"""Each name, without the package's, and where the module is."""


NAMES = {
    "nn.modules.container": {"nn.modules.more.parameter_container": "ParameterDict ParameterList"},
    "optim.lr_scheduler.cosine": {
        "optim.lr_scheduler.restarts": "CosineAnnealingWarmRestarts",
    },
    "nn.modules.sparse": {"nn.modules.more.bags": "EmbeddingBag"},
    "nn.functional.pooling": {
        "nn.functional.more.pooling": "fractional_max_pool2d fractional_max_pool3d"
        " fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices max_unpool1d"
        " max_unpool2d max_unpool3d",
    },
    "nn.modules.batchnorm": {"nn.modules.more.sync_batchnorm": "SyncBatchNorm"},
    "nn.modules.pooling": {
        "nn.modules.more.pooling": "FractionalMaxPool2d FractionalMaxPool3d MaxUnpool1d MaxUnpool2d"
        " MaxUnpool3d",
    },
    "nn.functional.activation": {
        "nn.functional.more.activation": "celu celu_ elu elu_ hardshrink hardsigmoid hardswish"
        " hardtanh hardtanh_ mish prelu relu6 selu selu_ softshrink softsign tanhshrink threshold"
        " threshold_",
    },
    "nn.init": {
        "nn.initial": "dirac_ eye_ orthogonal_ sparse_ trunc_normal_ constant dirac eye"
        " kaiming_normal kaiming_uniform normal orthogonal sparse uniform xavier_normal"
        " xavier_uniform",
    },
    "nn.modules.activation": {
        "nn.modules.attention": "MultiheadAttention",
        "nn.modules.more.activation": "SELU Mish Hardsigmoid Hardswish ELU CELU Hardtanh ReLU6"
        " Threshold Hardshrink Softshrink Softsign Tanhshrink Softmax2d RReLU PReLU",
    },
    "nn.modules.loss": {
        "nn.modules.more.losses": "PoissonNLLLoss GaussianNLLLoss KLDivLoss CosineEmbeddingLoss"
        " HingeEmbeddingLoss MarginRankingLoss TripletMarginLoss TripletMarginWithDistanceLoss"
        " CTCLoss SoftMarginLoss MultiMarginLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss"
        " HuberLoss SmoothL1Loss",
    },
    "nn.modules.rnn": {"nn.modules.more.cells": "RNNCellBase RNNCell LSTMCell GRUCell"},
    "ops.activation": {
        "ops.more.activation": "prelu elu selu celu mish hardtanh relu6 hardsigmoid hardswish"
        " hardshrink softshrink threshold softsign tanhshrink",
    },
    "nn.functional.losses": {
        "nn.functional.more.densities": "gaussian_nll_loss kl_div poisson_nll_loss",
        "nn.functional.more.robust": "huber_loss smooth_l1_loss",
    },
    "ops.gathering": {
        "ops.more.placing": "index_copy index_fill scatter take take_along_dim",
    },
    "ops.losses": {
        "ops.more.special": "xlogy",
        "ops.more.robust": "smooth_l1 huber",
    },
    "ops.sampling": {
        "ops.more.drawing": "normal exponential_ log_normal_ cauchy_ geometric_",
    },
    "names.settings": {"compiler": "compile"},
    "random": {
        "kernels.multinomial": "multinomial",
        "random.laws": "fill_cauchy fill_exponential fill_geometric fill_log_normal",
    },
    "distributions.transforms": {
        "distributions.vector_transforms": "IndependentTransform SoftmaxTransform"
        " StickBreakingTransform",
    },
    "utils.data.dataset": {"utils.data.derived": "StackDataset random_split"},
    "utils.data.sampler": {"utils.data.weighted": "WeightedRandomSampler"},
    "ops.indexing": {
        "ops.masking": "argwhere masked_fill masked_select nonzero where",
        "ops.more.putting": "index_put index_put_",
        "ops.joining": "narrow select",
    },
    "ops.arithmetic": {"ops.more.weighted": "addcdiv addcmul lerp"},
    "ops.shape": {"ops.joining": "atleast_1d atleast_2d atleast_3d"},
    "ops.more.decompositions": {"ops.more.solvers": "matrix_power"},
    "ops.more.cumulative": {"ops.more.differences": "cumulative_trapezoid diff gradient trapezoid"},
    "ops.more.linalg": {
        "ops.more.diagonals": "diag diag_embed diagflat diagonal diagonal_of_matrices"
        " fill_diagonal_ trace"
    },
    "ops.more.solvers": {"ops.more.products": "vecdot"},
    "ops.largest": {"ops.more.cumulative": "cummax cummin"},
    "ops.reduction": {"ops.more.cumulative": "prod"},
}
"""What torch's paths and pickles of an earlier edition ask a module for that is in another here."""
