"""Why names of torch are not here, for those who ask for one."""

_DISTRIBUTIONS = (
    "Binomial ContinuousBernoulli FisherSnedecor GeneralizedPareto InverseGamma Kumaraswamy"
    " LKJCholesky LogisticNormal LowRankMultivariateNormal Pareto VonMises Weibull Wishart"
)
_BY_NAMES = {
    ("fft", "stft", "istft"): "there are no Fourier transforms: np.fft computes without a gradient",
    ("sparse", "to_sparse", "sparse_coo_tensor"): "there are no sparse tensors",
    tuple(f"{name}_window" for name in ("hann", "hamming", "bartlett", "blackman", "kaiser")): (
        "there are no Fourier transforms; NumPy has the window, such as np.hanning"
    ),
    ("complex", "view_as_complex", "view_as_real", "polar", "imag", "eig", "eigvals"): (
        "there are no complex numbers"
    ),
    ("lu", "lu_factor", "lu_solve", "ldl_factor", "ldl_solve", "geqrf", "ormqr"): (
        "factors by pivoting are not given out: use solve, inv, qr or cholesky"
    ),
    ("lobpcg",): "use linalg.eigh, which finds all eigenvalues",
    ("bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "spherical_bessel_j0", "airy_ai"): (
        "scipy.special has it, without a gradient"
    ),
    tuple(_DISTRIBUTIONS.split()): (
        "this distribution is not built here; TransformedDistribution makes new ones of others"
    ),
    ("quantization", "quantized", "quantize_per_tensor", "qint8", "ao"): "nothing is quantised",
    ("flex_attention", "varlen"): (
        "flex_attention needs a compiler: use scaled_dot_product_attention with a mask"
    ),
    ("SparseAdam",): "there are no sparse gradients; use Adam",
    ("fx", "export", "_dynamo", "_inductor"): "there is no compiler",
}
REASONS = {name: reason for names, reason in _BY_NAMES.items() for name in names}
