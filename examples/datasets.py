"""The real data the examples train on.

The digits come with scikit-learn.  What has to be downloaded is checked against a known checksum
before it is used, and kept, so that the second run needs no network.
"""

import gzip
import hashlib
import pathlib
import sys
import urllib.error
import urllib.request

import numpy as np

CACHE = pathlib.Path.home() / ".cache" / "tinygrad-edu"

MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_FILES = {  # file: MD5
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def fetch(url, checksum, algorithm="md5", cache=CACHE):
    """The path of a downloaded file whose checksum is right; exits with status 3 if there is none.

    The file gets its name only once it is complete and checked: a broken download leaves nothing.
    """
    path = pathlib.Path(cache) / url.rsplit("/", 1)[-1]
    if path.exists() and hashlib.new(algorithm, path.read_bytes()).hexdigest() == checksum:
        return path
    print(f"downloading {url}", file=sys.stderr)
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            data = response.read()
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        print(f"cannot download {url}: {error}", file=sys.stderr)
        print("Check the network, or run without --data to use data that is here.", file=sys.stderr)
        raise SystemExit(3) from None
    found = hashlib.new(algorithm, data).hexdigest()
    if found != checksum:
        print(f"{url}: {algorithm} is {found}, expected {checksum}; not used", file=sys.stderr)
        raise SystemExit(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(data)
    part.replace(path)
    return path


def _read_idx(path):
    """An array from MNIST's file format: a big-endian header, then bytes."""
    data = gzip.decompress(path.read_bytes())
    dims = data[3]
    shape = np.frombuffer(data, ">i4", dims, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def load_mnist():
    """70,000 handwritten digits of 28 x 28 pixels, 60,000 of them for training.

    Returns (images, labels) for training and for testing: float32 in [0, 1] of shape
    (N, 784), int64 of shape (N,).
    """
    paths = [fetch(MNIST + name, md5) for name, md5 in MNIST_FILES.items()]
    a, b, c, d = [_read_idx(path) for path in paths]
    flat = [x.reshape(len(x), -1).astype(np.float32) / 255 for x in (a, c)]
    return (flat[0], b.astype(np.int64)), (flat[1], d.astype(np.int64))


def load_digits(seed=0):
    """1,797 handwritten digits of 8 x 8 pixels, 360 of them, chosen at random, for testing.

    They are those of the UCI repository's "Optical Recognition of Handwritten Digits", which come
    with scikit-learn.  Returns what `load_mnist` returns, with 64 pixels.
    """
    import sklearn.datasets  # here, because only this needs it

    digits = sklearn.datasets.load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[360:], order[:360]
    return (images[train], labels[train]), (images[test], labels[test])
