"""How many mechanically broken rules the table's tests catch, and how many `examine` does.

    python -m tests.mutants [how many] [seed]

Takes rules of the operations at random and breaks each in one place: another sign or operator, a
factor or a function left out, a number one greater, one of its arguments in place of another.  The
rows of the table that use the operation are then run, and `examine` is asked with the same inputs.
Survivors are listed.  Beside the broken rule the right one is then called on all that the rows
give it: a mutant whose values are the same every time (`x - 0` for `x + 0`) is listed as such.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import pathlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import tinygrad_edu
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.see.reading import read
from tinygrad_edu.testing import examine
from tinygrad_edu.testing.formulas import first_line, functions_of

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import op_table  # noqa: E402
import test_operations as table  # noqa: E402
from op_table import Op  # noqa: E402

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.MatMult: ast.Mult,
}  # fmt: skip


class Mutant(NamedTuple):
    """A broken rule of an operation."""

    op: Primitive
    argument: str
    before: str
    after: str
    rule: Callable[..., Any]


def source_of(rule: Callable[..., Any]) -> ast.Lambda | ast.FunctionDef | None:
    code = rule.__code__
    own = list(code.co_varnames[: code.co_argcount])
    found = [
        one
        for one in functions_of(code.co_filename)
        if [a.arg for a in one.args.args] == own and first_line(one) == code.co_firstlineno
    ]
    return found[0] if len(found) == 1 and not code.co_freevars else None


def changes(node: ast.AST, names: list[str]) -> Iterator[Callable[[ast.AST], Any]]:
    """Ways to change this node; each takes a copy of it and gives what to put there, or None."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        yield lambda n: setattr(n, "op", SWAPS[type(n.op)]())  # type: ignore[attr-defined]
        yield lambda n: n.left
        yield lambda n: n.right
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield lambda n: setattr(n, "ops", [SWAPS[type(n.ops[0])]()])  # type: ignore[attr-defined]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Invert, ast.Not)):
        yield lambda n: n.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda n: setattr(n, "value", n.value + 1)  # type: ignore[attr-defined]
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        yield lambda n: n.args[0]
    if isinstance(node, ast.Name) and node.id in names:
        for other in names:
            if other != node.id and not other.endswith("_shape"):
                yield lambda n, other=other: setattr(n, "id", other)


def mutants_of(op: Primitive, argument: str, rule: Callable[..., Any]) -> Iterator[Mutant]:
    """All broken versions of a rule."""
    tree = source_of(rule)
    if tree is None:
        return
    names = [a.arg for a in tree.args.args]
    body = [tree.body] if isinstance(tree, ast.Lambda) else tree.body
    places = [i for i, n in enumerate(ast.walk(tree)) if any(n in ast.walk(b) for b in body)]
    nodes = list(ast.walk(tree))
    for place in places:
        for k, _ in enumerate(changes(nodes[place], names)):
            twin = copy.deepcopy(tree)
            target = list(ast.walk(twin))[place]
            put = list(changes(target, names))[k](target)
            if put is not None:
                twin = _Put(target, put).visit(twin)
            made = compiled(twin, rule)
            if made is not None:
                yield Mutant(op, argument, ast.unparse(tree), ast.unparse(twin), made)


class _Put(ast.NodeTransformer):
    """Puts one node in the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else self.generic_visit(node)


def compiled(tree: ast.Lambda | ast.FunctionDef, rule: Callable[..., Any]) -> Any:
    """The function, with the names that the rule knows; None if it is none."""
    if isinstance(tree, ast.Lambda):
        module = ast.fix_missing_locations(ast.Expression(tree))
        try:
            return eval(compile(module, "<mutant>", "eval"), rule.__globals__)
        except SyntaxError:
            return None
    tree.decorator_list = []
    module = ast.fix_missing_locations(ast.Module([tree], []))  # type: ignore[assignment]
    space: dict[str, Any] = {}
    known = rule.__globals__
    try:
        exec(compile(module, "<mutant>", "exec"), known, space)
    except SyntaxError:
        return None
    return space[tree.name]


@contextlib.contextmanager
def broken(mutant: Mutant, family: list[Primitive]) -> Iterator[None]:
    """Inside the block, the operation has the broken rule; `family` are its twins and itself."""
    before = [(op, op.joint, op.joint_needs) for op in family]
    rules, needs = mutant.op.rules, mutant.op.needs
    kept = rules.get(mutant.argument), needs.get(mutant.argument)
    try:
        if mutant.argument == "joint":
            for op in family:
                op.joint, op.joint_needs = mutant.rule, op.check(mutant.rule, ("live",))
        else:
            rules[mutant.argument] = mutant.rule
            needs[mutant.argument] = mutant.op.check(mutant.rule)
        for op in family:
            op.plans.clear()
        yield
    finally:
        if mutant.argument != "joint":
            rules[mutant.argument], needs[mutant.argument] = kept  # type: ignore[assignment]
        for op, joint, joint_needs in before:
            op.joint, op.joint_needs = joint, joint_needs
            op.plans.clear()


class Beside:
    """A rule that calls the broken one too, and counts where it gives something else."""

    def __init__(self, mutant: Mutant, right: Callable[..., Any]) -> None:
        self.calls = self.others = 0
        self.names = right.__code__.co_varnames[: right.__code__.co_argcount]
        self.right, self.wrong = right, mutant.rule
        names = ", ".join(self.names)
        space = {"both": self.both}
        exec(f"def rule({names}): return both({names})", space)
        self.rule: Callable[..., Any] = space["rule"]

    def both(self, *args: Any) -> Any:
        right = self.right(*args)
        self.calls += 1
        try:
            wrong = self.wrong(*args)
            if "live" in self.names:  # what nobody needs may be anything
                live = args[self.names.index("live")]
                same = all([_same(a, b) for a, b, one in zip(right, wrong, live) if one])  # noqa: B905
            else:
                same = _same(right, wrong)
        except Exception:
            same = False
        self.others += not same
        return right


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    a, b = (np.asarray(getattr(value, "array", value)) for value in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.allclose(a, b, rtol=1e-10, atol=1e-13, equal_nan=True))


def effect(mutant: Mutant, family: list[Primitive], rows: list[Op]) -> Beside:
    """What the broken rule gives beside the right one, wherever the rows call it."""
    right = mutant.op.joint if mutant.argument == "joint" else mutant.op.rules[mutant.argument]
    assert right is not None
    beside = Beside(mutant, right)
    with broken(mutant._replace(rule=beside.rule), family):
        for row in rows:
            for given in row.calls:
                for twice in (False, True):
                    with contextlib.suppress(Exception):
                        made = op_table.arrays(row, given, "float64")
                        run = table.Run(tinygrad_edu, row, made, grad=True)
                        run.second() if twice else run.gradients()
    return beside


def shown(mutant: Mutant) -> str:
    """The lines that differ."""
    pair = mutant.before.splitlines(), mutant.after.splitlines()
    return "\n".join(
        f"    {line}" for line in difflib.ndiff(*pair) if line.startswith(("- ", "+ "))
    )


def used_by(row: Op) -> set[Primitive]:
    """The operations on the tapes of a row's calls."""
    found: set[Primitive] = set()
    for given in row.calls:
        with contextlib.suppress(Exception):
            run = table.Run(tinygrad_edu, row, op_table.arrays(row, given, "float64"), grad=True)
            for y in run.outputs:
                if isinstance(y, tinygrad_edu.Tensor) and y.requires_grad and not y.is_leaf:
                    found |= {one.node.plan.op for one in read(y).operations}
    return found


def table_catches(rows: list[Op]) -> bool:
    """Whether a test of the table fails."""
    for row in rows:
        for check in (
            lambda r: table.test_gradients(r, "float64"),
            table.test_finite_differences,
            table.test_gradients_that_are_recorded,
            table.test_second_order,
            table.test_second_order_of_one_input,
            table.test_bad_input,
        ):
            try:
                check(row)
            except BaseException as error:
                if "Skipped" in type(error).__name__:
                    continue
                if isinstance(error, KeyboardInterrupt):
                    raise
                return True
    return False


def failures(rows: list[Op]) -> set[tuple[str, int, str]]:
    """What `examine` finds, asked with the inputs of the rows."""
    found = set()
    for row in rows:
        for k, given in enumerate(row.calls):
            made = op_table.arrays(row, given, "float64")
            try:
                run = table.Run(tinygrad_edu, row, made, grad=True)
            except Exception as error:  # a row may walk back in its call
                found.add((row.name, k, type(error).__name__))
                continue
            if not run.inputs or not all(any(t is a for a in run.args) for t in run.inputs):
                continue
            kwargs = run.kwargs

            def call(*args: Any, row: Op = row, kwargs: Any = kwargs) -> Any:
                return row(tinygrad_edu, *args, **kwargs)

            values = tuple([a.detach() if isinstance(a, tinygrad_edu.Tensor) else a
                            for a in run.args])  # fmt: skip
            try:
                report = examine(call, inputs=[values], quiet=True)
                found |= {(row.name, k, c.name) for c in report.failures}
            except Exception as error:
                found.add((row.name, k, type(error).__name__))
    return found


def main(count: int = 200, seed: int = 0) -> None:
    rows = op_table.all_rows()
    uses: dict[Primitive, list[Op]] = {}
    for row in rows:
        for op in used_by(row):
            uses.setdefault(op, []).append(row)
    families: dict[str, list[Primitive]] = {}
    for op in uses:
        families.setdefault(f"{op.forward.__module__}.{op.forward.__name__}", []).append(op)
    pool: list[tuple[Mutant, list[Primitive]]] = []
    for family in families.values():
        op = family[0]
        rules = {**op.rules, **({"joint": op.joint} if op.joint else {})}
        for argument, rule in rules.items():
            pool += [(mutant, family) for mutant in mutants_of(op, argument, rule)]
    print(f"{len(pool)} ways to break {len(families)} operations; {count} of them tried")
    random.Random(seed).shuffle(pool)
    caught = [0, 0, 0]
    tried = same = 0
    healthy: dict[int, set[tuple[str, int, str]]] = {}
    for mutant, family in pool:
        if tried == count:
            break
        its = [row for op in family for row in uses[op]]
        its = sorted(its, key=lambda row: row.name != mutant.op.name)[:6]  # its own row first
        if id(family) not in healthy:
            healthy[id(family)] = failures(its)
        try:
            with broken(mutant, family):
                by_table = table_catches(its)
                by_examine = bool(failures(its) - healthy[id(family)])
        except TypeError:  # it does not go through the door: names are checked
            continue
        tried += 1
        caught[0] += by_table
        caught[1] += by_examine
        caught[2] += by_table or by_examine
        if tried % 10 == 0:
            print(f"{tried} tried, caught: {caught}", file=sys.stderr, flush=True)
        if by_table and by_examine:
            continue
        who = "the table" if by_table else "examine" if by_examine else "nobody"
        told = ""
        if who == "nobody":
            beside = effect(mutant, family, its)
            same += not beside.others
            told = f", other values in {beside.others} of {beside.calls} calls"
        print(f"caught by {who}: {mutant.op.name}, {mutant.argument}{told}", flush=True)
        print(shown(mutant), flush=True)
    print(f"{same} change no value wherever they are called")
    for name, number in zip(("the table", "examine", "either"), caught, strict=True):
        print(f"{name}: {number} of {tried}, {100 * number / max(tried, 1):.1f} %")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
