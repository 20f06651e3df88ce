"""What a file is that is no checkpoint, by its first bytes, and what to do with it."""

from __future__ import annotations

LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch's format from before version 1.6 begins: a pickle of its magic number."""
HEAD = 265
"""How many bytes `describe` looks at."""

_IN_TORCH = "in torch, torch.save(model.state_dict(), path) writes a file that is"
SCRIPTED = (
    "this is a TorchScript archive, which holds code; only checkpoints are loaded. In torch,"
    " torch.save(torch.jit.load(path).state_dict(), new_path) makes one of it"
)
_BEGINNINGS = {
    b"\x1f\x8b": "compressed by gzip; decompress it first",
    b"\x89HDF": "an HDF5 file, as Keras writes; h5py reads it",
    b"GGUF": "a GGUF file, as llama.cpp reads; its weights are published as safetensors, too",
    b"\x93NUMPY": "NumPy's .npy; np.load and torch.from_numpy read it",
    b"version https://git-lfs": "a pointer of Git LFS, not the file; git lfs pull fetches it",
    b"<": "HTML or XML, perhaps a server's answer in place of the file; download it again",
}


def describe(head: bytes) -> str:
    """What a file is that begins so, for an error; only that it is no checkpoint if unknown."""
    for beginning, what in _BEGINNINGS.items():
        if head.startswith(beginning):
            return f"this is no zip archive, which checkpoints are, but {what}"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return (
            "this is a pickle, but not of torch.save's own format: it may hold objects of any"
            " class, and making them runs code. In the program that wrote it, save a dict of"
            f" tensors; {_IN_TORCH} loaded here"
        )
    if head[257:262] == b"ustar":
        return (
            "this is no zip archive but a tar archive: torch's format from before version 0.1.2, if"
            f" torch wrote it. Load it in an old torch; {_IN_TORCH} loaded here"
        )
    if head[8:9] == b"{" and head[6:8] == b"\0\0":
        return "this is a safetensors file; tinygrad_edu.safetensors.load_file reads it"
    return f"this is no zip archive, which checkpoints are; {_IN_TORCH} one"
