"""Rows of convolutions, windows, pooling and resampling."""

from op_table import Distinct, F, Op, Pos, V, call

_floats = dict(skip=["int64", "bool"], tolerance=(1e-3, 1e-4))


def _unpooled(torch, x):
    y, index = torch.nn.functional.max_pool2d(x, 2, return_indices=True)
    return torch.nn.functional.max_unpool2d(y * 2, index, 2)


ROWS = [
    Op("conv1d", call(F(2, 4, 5), F(6, 2, 3), F(6), 2, 1, 1, 2), call(F(3, 5), F(2, 3, 2)),
       bad=[call(F(2, 3, 5), F(2, 2, 2))], covers=["nn.functional.conv1d"], **_floats),
    Op("conv2d", call(F(2, 3, 4, 5), F(2, 3, 3, 2), F(2), (2, 1), 1, (1, 2)),
       call(F(1, 2, 3, 4), F(2, 2, 2, 2), padding="same"),
       bad=[call(F(2, 3, 2, 2), F(2, 3, 3, 3))], **_floats),
    Op("conv3d", call(F(1, 2, 3, 2, 3), F(2, 2, 2, 1, 2), F(2)), **_floats),
    Op("conv_transpose1d", call(F(2, 4, 3), F(4, 3, 2), F(3), 2), **_floats),
    Op("conv_transpose2d", call(F(1, 2, 3, 2), F(2, 3, 2, 2), F(3), 2, 1, 1), **_floats),
    Op("conv_transpose3d", call(F(1, 2, 2, 2, 2), F(2, 1, 2, 1, 2)), **_floats),
    Op("nn.functional.unfold", call(F(2, 2, 4, 5), (2, 3)), call(F(2, 4, 4), 3, 1, 1, 2),
       covers=["cut_windows"], **_floats),
    Op("nn.functional.fold", call(F(2, 8, 6), (3, 4), 2), **_floats),
    Op("nn.functional.max_pool1d", call(Distinct(2, 3, 6), 2), call(Distinct(2, 6), 3, 2, 1),
       **_floats),
    Op("nn.functional.max_pool2d", call(Distinct(1, 2, 4, 5), 2), call(Distinct(2, 5, 4), 3, 1, 1),
       bad=[call(F(2, 2), 2)], **_floats),
    Op("nn.functional.max_pool3d", call(Distinct(1, 2, 2, 4, 3), 2), **_floats),
    Op("nn.functional.max_unpool1d", call(F(1, 2, 2), V([[[0, 2], [1, 3]]], "int"), 2),
       call(F(2, 2), V([[0, 3], [1, 2]], "int"), 2), **_floats),
    Op("max_unpool", call(Distinct(1, 2, 4, 6)), run=_unpooled,
       covers=["max_unpool1d", "max_unpool2d", "max_unpool3d"], **_floats),
    Op("nn.functional.avg_pool1d", call(F(2, 3, 6), 2), **_floats),
    Op("nn.functional.avg_pool2d", call(F(1, 2, 4, 5), 3, 2, 1, True, False), **_floats),
    Op("nn.functional.avg_pool3d", call(F(1, 2, 2, 4, 3), 2), **_floats),
    Op("nn.functional.adaptive_avg_pool2d", call(F(1, 2, 4, 5), (2, 3)), **_floats),
    Op("nn.functional.adaptive_max_pool2d", call(Distinct(1, 2, 4, 5), (2, 3)), **_floats),
    Op("nn.functional.adaptive_avg_pool1d", call(F(2, 5), 3), **_floats),
    Op("nn.functional.adaptive_avg_pool3d", call(F(1, 2, 2, 3, 2), (1, 2, 2)), **_floats),
    Op("nn.functional.adaptive_max_pool1d", call(Distinct(2, 5), 3), **_floats),
    Op("nn.functional.adaptive_max_pool3d", call(Distinct(1, 2, 2, 3, 2), (1, 2, 2)), **_floats),
    Op("nn.functional.lp_pool1d", call(Pos(1, 2, 5), 2, 2), **_floats),
    Op("nn.functional.lp_pool2d", call(Pos(1, 2, 5, 4), 3, 2), **_floats),
    Op("nn.functional.lp_pool3d", call(Pos(1, 2, 2, 5, 4), 2, 2), **_floats),
    Op("nn.functional.interpolate", call(F(1, 2, 4), 7), call(F(1, 2, 3, 4), scale_factor=2.0),
       call(F(1, 2, 3, 4), (5, 3), mode="bilinear"), call(F(1, 2, 3, 4), (5, 3), mode="bicubic"),
       **_floats),
    Op("pixel_shuffle", call(F(1, 4, 2, 3), 2), call(F(2, 4, 1, 1), 2), **_floats),
    Op("pixel_unshuffle", call(F(1, 2, 2, 4), 2), call(F(1, 2, 2, 2), 2), **_floats),
    Op("channel_shuffle", call(F(1, 4, 2), 2), call(F(2, 3, 2), 1), **_floats),
]  # fmt: skip
