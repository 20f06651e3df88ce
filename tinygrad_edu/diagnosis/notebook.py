"""`%%doctor` in notebooks: `%load_ext tinygrad_edu.diagnosis` once, then at the top of a cell."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.diagnosis.doctor import doctor


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext` calls."""

    def watched(line: str, cell: str) -> None:
        """Run the cell under the doctor; the line may give options, as `every=10`."""
        options = eval(f"dict({line})", dict(shell.user_ns))
        with doctor(**options):
            shell.run_cell(cell)

    shell.register_magic_function(watched, "cell", "doctor")
