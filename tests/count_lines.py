"""Lines of code per folder, without blank lines, comments and docstrings.

Run it: `python tests/count_lines.py`.
"""

import ast
import io
import pathlib
import tokenize

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_edu"
FOLDERS = [
    "tinygrad_edu",
    *[f"tinygrad_edu/{p.name}" for p in sorted(PACKAGE.iterdir())
      if (p / "__init__.py").exists() and not p.is_symlink()],
    "nn", "optim", "examples", "tests",
]  # fmt: skip
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def docstring_lines(tree: ast.AST) -> set[int]:
    lines: set[int] = set()
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            lines.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return lines


def code_lines(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(source)))


def main() -> None:
    print(f"{'folder':28}{'files':>6}{'lines of code':>15}{'longest file':>14}")
    for folder in FOLDERS:
        pattern = "*.py" if folder == "tinygrad_edu" else "**/*.py"
        files = [p for p in (ROOT / folder).glob(pattern)]
        counts = [code_lines(p.read_text()) for p in files]
        if files:
            print(f"{folder:28}{len(files):6}{sum(counts):15,}{max(counts):14}")


if __name__ == "__main__":
    main()
