"""Small faults, made by changing one expression of a file: what a slip of the hand or of the mind leaves behind."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
}
METHODS = {
    "amax": "amin",
    "amin": "amax",
    "argmax": "argmin",
    "argmin": "argmax",
    "max": "min",
    "min": "max",
    "fmax": "fmin",
    "sum": "mean",
    "mean": "sum",
    "all": "any",
    "any": "all",
    "square": "abs",
    "ceil_": "floor_",
    "floor_": "ceil_",
    "log_softmax": "softmax",
}
DROPPED = ("clamp", "clamp_", "nan_to_num", "nan_to_num_", "detach", "sign", "abs", "round")  # calls replaced by what they are called on


@dataclass(frozen=True)
class Change:
    """One expression of a file replaced by another.

    Args:
        operator: the kind of fault.
        line: where.
        old, new: the expression before and after.
        start, end: of the old text in the file.
    """

    operator: str
    line: int
    old: str
    new: str
    start: int
    end: int

    def applied(self, source: str) -> str:
        """The file with the fault in it."""
        return source[: self.start] + self.new + source[self.end :]


def changes(source: str) -> list[Change]:
    """Every change that the operators can make to a file, in its order; none in messages, docstrings, annotations and ``__all__``."""
    lines = source.splitlines(keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))

    def position(line: int, column: int) -> int:  # columns of ast count bytes
        return offsets[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found = []
    for node in _expressions(ast.parse(source)):
        start, end = position(node.lineno, node.col_offset), position(node.end_lineno or 0, node.end_col_offset or 0)
        for operator, mutated in _mutants(node):
            new = ast.unparse(mutated)
            if not isinstance(mutated, (ast.Name, ast.Constant, ast.Call, ast.Attribute)):
                new = f"({new})"  # it may stand inside another expression
            found.append(Change(operator, node.lineno, source[start:end], new, start, end))
    return sorted(found, key=lambda change: (change.start, change.end, change.operator, change.new))


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert)):
        return
    if isinstance(node, ast.expr):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "keywords") and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _expressions(child)


def _mutants(node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            changed = copy.deepcopy(node)
            changed.ops = [COMPARISONS[type(operator)]()]
            yield "comparison", changed
        case ast.BinOp() if type(node.op) in ARITHMETIC and not (_is_text(node.left) or _is_text(node.right)):
            changed = copy.deepcopy(node)
            changed.op = ARITHMETIC[type(node.op)]()
            yield "arithmetic", changed
        case ast.BoolOp():
            changed = copy.deepcopy(node)
            changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and / or", changed
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield "negation dropped", node.operand
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "off by one", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant", ast.Constant(value * 2 if value else 1.0)
        case ast.Call(func=ast.Attribute(value=receiver, attr=name)):
            yield from _mutants_of_call(node, receiver, name)
        case _:
            return


def _mutants_of_call(node: ast.Call, receiver: ast.expr, name: str) -> Iterator[tuple[str, ast.expr]]:
    is_module = isinstance(receiver, ast.Name) and receiver.id in ("torch", "np", "F", "losses", "math")
    if name in METHODS:
        changed = copy.deepcopy(node)
        changed.func = ast.Attribute(copy.deepcopy(receiver), METHODS[name], ast.Load())
        yield "another reduction", changed
    if name in DROPPED and (node.args or not is_module):
        yield f"{name} dropped", node.args[0] if is_module else receiver
    if len(node.args) == 2 and not any(isinstance(argument, (ast.Constant, ast.Starred)) for argument in node.args):
        changed = copy.deepcopy(node)
        changed.args.reverse()
        yield "arguments swapped", changed


def _is_text(node: ast.expr) -> bool:
    """Texts, lists and paths, whose + and / are no arithmetic."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "Path"
    return isinstance(node, (ast.JoinedStr, ast.List, ast.Tuple)) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
