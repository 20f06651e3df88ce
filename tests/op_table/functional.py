"""Rows of nn.functional: bags of embeddings, sequences of labels, distances, channels."""

from op_table import Distinct, F, Ix, Op, Pos, Prob, Ties, V, call, tied

_no_ints = dict(skip=["int64", "bool"])
_offsets = V([0, 2, 2, 5], "int")
_labels = V([[3, 0, -1, 1], [1, -1, 2, 2]], "int")


def _ctc(torch, x, *args, **kwargs):
    return torch.nn.functional.ctc_loss(x.log_softmax(-1), *args, **kwargs)


def _bag(torch, weight, index, *args, **kwargs):
    return torch.nn.functional.embedding_bag(index, weight, *args, **kwargs)


ROWS = [
    Op("embedding_bag",
       *[call(F(4, 3), Ix(4, 2, 3), mode=mode) for mode in ("sum", "mean", "max")],
       *[call(F(4, 3), Ix(4, 7), _offsets, mode=mode, padding_idx=1)
         for mode in ("sum", "mean", "max")],
       call(F(4, 3), Ix(4, 7), _offsets, mode="sum", per_sample_weights=F(7)),
       call(F(4, 3), Ix(4, 5), V([0, 2, 5], "int"), include_last_offset=True),
       call(F(4, 3), Ix(4, 0), V([0, 0], "int"), mode="max"),
       bad=[call(F(4, 3), Ix(4, 7)), call(F(4, 3), Ix(4, 2, 3), _offsets),
            call(F(4, 3), Ix(4, 7), V([1, 2], "int")), call(F(4, 3), F(2, 3)),
            call(F(4, 3), Ix(4, 7), V([0, 9], "int")), call(F(4), Ix(4, 2, 3)),
            call(F(4, 3), Ix(4, 2, 3), mode="median"),
            call(F(4, 3), Ix(4, 2, 3), padding_idx=7),
            call(F(4, 3), Ix(4, 2, 3), per_sample_weights=F(2, 3)),
            call(F(4, 3), Ix(4, 2, 3), per_sample_weights=F(3), mode="sum")],
       run=_bag, covers=["nn.functional.embedding_bag"], **_no_ints),
    Op("ctc_loss",
       *[call(F(6, 2, 4), V([[1, 2, 2], [3, 1, 1]], "int"), (6, 5), (3, 2), reduction=reduction)
         for reduction in ("none", "sum", "mean")],
       call(F(6, 4), V([0, 2], "int"), (6,), (2,), blank=1, zero_infinity=True),
       bad=[call(F(6, 2, 4), V([[1], [3]], "int"), (7, 5), (1, 1)),
            call(F(6, 2, 4), V([[1], [3]], "int"), (6, 5), (2, 1)),
            call(F(6, 2, 4), V([1, 3], "int"), (6, 5), (2, 1)),
            call(F(6, 2, 4), V([[1], [3]], "int"), (6,), (1, 1)),
            call(F(6, 2, 4), V([[1], [3]], "int"), (6, -1), (1, 1)),
            call(F(6, 2, 4), V([[1], [3]], "int"), (6, 5), (1, 1), blank=4),
            call(F(6, 2, 4), V([[1], [3]], "int"), (6, 5), (1, 1), reduction="most"),
            call(F(4), V([[1], [3]], "int"), (6, 5), (1, 1))],
       run=_ctc, second=False, covers=["nn.functional.ctc_loss"], **_no_ints),
    Op("nn.functional.linear_cross_entropy",
       call(F(4, 3), F(5, 3), Ix(5, 4)), call(F(3), F(5, 3), Ix(5), linear_bias=F(5)),
       call(F(4, 3), F(5, 2, 3), Ix(5, 4, 2), linear_bias=F(5, 2), reduction="sum"),
       call(F(4, 3), F(5, 3), Prob(4, 5), weight=Pos(5, grad=False), label_smoothing=0.1),
       bad=[call(F(4, 3), F(5, 2), Ix(5, 4)), call(F(4, 3), F(3), Ix(5, 4)),
            call(F(4, 3), F(5, 3), Ix(5, 4), linear_bias=F(4)),
            call(F(3), F(5, 2, 3), Ix(5, 2)), call(F(1, 4, 3), F(5, 3), Ix(5, 4)),
            call(F(4, 3), F(5, 3), Prob(4, 5), ignore_index=0)], **_no_ints),
    Op("nn.functional.multilabel_margin_loss",
       *[call(F(2, 4), _labels, reduction=reduction)
         for reduction in ("none", "sum", "mean")],
       call(F(4), V([2, -1, 0, 0], "int")), call(F(), V(0, "int")),
       bad=[call(F(2, 4), Ix(4, 2, 3)), call(F(2, 2), V([[2, -1], [0, 1]], "int")),
            call(F(2, 4), F(2, 4)), call(F(1, 2, 4), Ix(4, 1, 2, 4))], **_no_ints),
    Op("nn.functional.pdist", call(F(4, 3)), call(F(4, 3), 1), call(F(4, 3), 3.5),
       call(F(4, 3), float("inf")), tied(Ties(4, 3), float("inf")), call(F(1, 3)),
       bad=[call(F(3)), call(F(3, 2), -1)], **_no_ints),
    Op("nn.functional.triplet_margin_with_distance_loss",
       *[call(F(4, 3), F(4, 3), F(4, 3), reduction=reduction, margin=2.0)
         for reduction in ("none", "sum", "mean")],
       call(F(4, 3), F(4, 3), F(4, 3), swap=True, margin=4.0),
       bad=[call(F(4, 3), F(4, 3), F(3)), call(F(3), F(3), F(3), margin=0.0)], **_no_ints),
    Op("nn.functional.local_response_norm", call(F(2, 5, 3), 3), call(F(2, 5, 2, 2), 2, 0.5, 0.6),
       call(F(1, 4, 2, 1, 2), 4, k=2.0), call(F(0, 4, 2), 2), bad=[call(F(2, 3), 2)], **_no_ints),
    Op("nn.functional.grid_sample",
       *[call(F(2, 2, 3, 4), F(2, 3, 2, 2, low=-1.6, high=1.6), mode, padding, align)
         for mode in ("bilinear", "nearest", "bicubic")
         for padding in ("zeros", "border", "reflection") for align in (False, True)],
       call(F(1, 2, 2, 3, 4), F(1, 2, 1, 3, 3), align_corners=False),
       bad=[call(F(1, 2, 3, 4), F(2, 3, 2, 2)), call(F(1, 2, 3, 4), F(1, 3, 2, 3)),
            call(F(1, 2, 3, 4), F(1, 3, 2)), call(F(1, 2, 3, 0), F(1, 3, 2, 2)),
            call(F(1, 2, 3, 4), F(1, 3, 2, 2), "cubic"),
            call(F(1, 2, 3, 4), F(1, 3, 2, 2), padding_mode="wrap"),
            call(F(1, 1, 2, 3, 4), F(1, 1, 3, 2, 3), "bicubic")], **_no_ints),
    Op("nn.functional.affine_grid",
       call(F(2, 2, 3), (2, 1, 3, 4), False), call(F(2, 2, 3), (2, 1, 3, 1), True),
       call(F(1, 3, 4), (1, 1, 2, 3, 4), align_corners=True),
       bad=[call(F(2, 2, 3), (2, 1, 3)), call(F(2, 3, 3), (2, 1, 3, 4)),
            call(F(2, 2, 3), (2, 1, 0, 4))], **_no_ints),
    Op("nn.functional.conv_transpose1d",
       call(F(2, 4, 4), F(4, 2, 3), F(4), 2, 1, 3, 2, 4), **_no_ints),
    Op("nn.functional.pad", call(F(1, 3, 4, 4), (-1, 1, -2, 1), mode="circular"), **_no_ints),
    Op("nn.functional.upsample_nearest", call(F(1, 2, 3, 4), scale_factor=2), **_no_ints),
    Op("nn.functional.upsample_bilinear", call(F(1, 2, 3, 4), (5, 3)), **_no_ints),
    Op("nn.functional.fractional_max_pool2d",
       call(Distinct(2, 2, 7, 6), 2, (3, 4), _random_samples=Prob(2, 2, 2, grad=False)),
       call(Distinct(2, 5, 6), (2, 3), (3, 1), return_indices=True,
            _random_samples=Prob(1, 2, 2, grad=False)),
       call(Distinct(2, 2, 7, 6), 2, output_ratio=(0.5, 0.7),
            _random_samples=Prob(2, 2, 2, grad=False)),
       bad=[call(F(1, 1, 4, 4), 2, (4, 2)), call(F(4, 4), 2, (2, 2)), call(F(1, 1, 4, 4), 2),
            call(F(1, 1, 0, 4), 2, (2, 2)), call(F(1, 1, 4, 4), 2, (2, 2, 2))],
       covers=["nn.functional.fractional_max_pool2d_with_indices"], **_no_ints),
    Op("nn.functional.fractional_max_pool3d",
       call(Distinct(1, 2, 5, 5, 6), (2, 3, 2), (3, 2, 4),
            _random_samples=Prob(1, 2, 3, grad=False)),
       bad=[call(F(1, 2, 5, 4, 6), (2, 3, 2), (3, 2, 4))],
       covers=["nn.functional.fractional_max_pool3d_with_indices"], **_no_ints),
    *[Op(f"nn.functional.{kind}max_pool{n}d_with_indices",
         call(Distinct(2, 2, *[5, 4, 3][:n]), 2))
      for kind in ("", "adaptive_") for n in (1, 2, 3)],
    Op("nn.functional.rrelu_", call(Prob(3, 2)), run=lambda torch, x: torch.nn.functional.rrelu_(
        x * 1, 0.25, 0.75), covers=["nn.functional.rrelu_"], **_no_ints),
]  # fmt: skip
