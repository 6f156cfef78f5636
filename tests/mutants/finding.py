"""Finding what a verifier demands, and writing its module without one of those demands."""

from __future__ import annotations

import ast
import copy
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

OBLIGING: Final = re.compile(
    r"_?(verify|check|expect|match|within|refuse|room_for|known|owner_for|hashes_expected"
    r"|acceptable|arranged|consistent|ensure|admit|first_leaf)"
)
"""Functions that are called, as statements, for what they raise alone."""
SAME: Final = "compare_digest"

Change = Callable[[list[ast.AST]], None]
Scopes = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module that lacks one thing; `nth` counts those that read alike in one function."""

    path: str
    where: str
    lacks: str
    nth: int
    make: Callable[[], str] = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """What it is called, here and in docs/mutants.md; no line number is in it."""
        more = "" if self.nth == 0 else f" ({self.nth + 1})"
        return f"{self.path} {self.where}: {self.lacks}{more}"

    @property
    def source(self) -> str:
        """The text of the module without it, written anew each time."""
        return self.make()

    def order(self, seed: str) -> bytes:
        """Return its place in a shuffle by a seed, which others coming and going do not move."""
        return hashlib.sha256(f"{seed}|{self.id}".encode()).digest()


def mutants_of(path: str, source: str, *, deciding: bool = False) -> list[Mutant]:
    """Return every mutant of a module, in the order of its text.

    Of one that is `deciding`, which refuses little and answers or does instead, also those that
    lack a condition that ends in no refusal, or anything that is done.
    """
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    at = {id(node): index for index, node in enumerate(nodes)}
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for where, lacks, change in _changes(tree, at, deciding):
        nth, seen[where, lacks] = seen[where, lacks], seen[where, lacks] + 1
        found.append(Mutant(path, where, lacks, nth, partial(_written, tree, change)))
    return found


def _written(tree: ast.Module, change: Change) -> str:
    changed = copy.deepcopy(tree)
    change(list(ast.walk(changed)))
    return ast.unparse(changed)


def _changes(
    tree: ast.Module, at: dict[int, int], deciding: bool
) -> Iterator[tuple[str, str, Change]]:
    for where, body in _functions(tree, ()):
        handled = {id(inner) for node in body for inner in _guarded_raises(node)}
        for node in body:
            for lacks, change in _changes_at(node, at, handled):
                yield where, lacks, change
            for lacks, change in _decisions_at(node, at) if deciding else ():
                yield where, lacks, change


def _functions(node: ast.AST, path: tuple[str, ...]) -> Iterator[tuple[str, list[ast.AST]]]:
    """Yield every function by its qualified name, with the nodes that are its own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Scopes):
            inner = (*path, child.name)
            if not isinstance(child, ast.ClassDef):
                yield ".".join(inner), [child, *_own(child)]
            yield from _functions(child, inner)


def _own(function: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, Scopes):
            yield child
            yield from _own(child)


def _guarded_raises(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the raises that go when the condition above them does."""
    if _is_guard(node):
        assert isinstance(node, ast.If)
        yield node.body[-1]


def _is_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise)


def _changes_at(
    node: ast.AST, at: dict[int, int], handled: set[int]
) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.If) and _is_guard(node):
        yield f"refuses no `{ast.unparse(node.test)}`", _never(at[id(node)])
        yield from _operands(node.test, at)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield from _operands(node.value, at)
        if isinstance(node.value, ast.Call) and _called(node.value) == SAME:
            yield f"takes `{ast.unparse(node.value)}` for true", _true(at[id(node)])
    for body in _bodies(node):
        for place, statement in enumerate(body):
            if isinstance(statement, ast.Raise) and _refuses(statement, handled):
                assert statement.exc is not None
                lacks = f"goes on after `{ast.unparse(statement.exc)}`"
                yield lacks, _passed(at[id(statement)])
            elif (call := _obligation(statement)) is not None:
                assert body[place] is statement
                yield f"does not call `{ast.unparse(call)}`", _passed(at[id(statement)])


def _decisions_at(node: ast.AST, at: dict[int, int]) -> Iterator[tuple[str, Change]]:
    """Yield what takes out what is decided without a refusal, and what is done."""
    if isinstance(node, ast.If) and not _is_guard(node):
        yield f"does not heed `{ast.unparse(node.test)}`", _never(at[id(node)])
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            yield f"does not sift by `{ast.unparse(test)}`", _unsifted(at[id(node)], place)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Compare):
        yield f"takes `{ast.unparse(node.value)}` for true", _true(at[id(node)])
    elif isinstance(node, ast.Expr) and _obligation(node) is None and _is_call(node.value):
        yield f"does not do `{ast.unparse(node.value)}`", _passed(at[id(node)])
    if isinstance(node, ast.stmt) and not (isinstance(node, ast.Return) or _is_guard(node)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield from _operands(child, at)


def _is_call(value: ast.expr) -> bool:
    return isinstance(value.value if isinstance(value, ast.Await) else value, ast.Call)


def _refuses(statement: ast.Raise, handled: set[int]) -> bool:
    """Say whether it is a refusal that no condition above it takes along; a bug's own is none."""
    error = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
    bug = isinstance(error, ast.Name) and error.id == "AssertionError"
    return error is not None and not bug and id(statement) not in handled


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        if isinstance(body, list):
            yield body


def _obligation(statement: ast.stmt) -> ast.Call | None:
    if not isinstance(statement, ast.Expr):
        return None
    value = statement.value.value if isinstance(statement.value, ast.Await) else statement.value
    if isinstance(value, ast.Call) and OBLIGING.match(_called(value)):
        return value
    return None


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _operands(expression: ast.expr, at: dict[int, int]) -> Iterator[tuple[str, Change]]:
    """Yield what takes one of several conditions out of an expression."""
    for node in ast.walk(expression):
        if isinstance(node, ast.BoolOp) and not _is_default(node):
            for place, value in enumerate(node.values):
                yield f"does not ask `{ast.unparse(value)}`", _without(at[id(node)], place)
        elif isinstance(node, ast.Compare) and len(node.ops) == 2:
            text = ast.unparse(node)
            yield f"does not ask the first half of `{text}`", _half(at[id(node)], first=True)
            yield f"does not ask the second half of `{text}`", _half(at[id(node)], first=False)


def _is_default(node: ast.BoolOp) -> bool:
    """Say whether it gives a value where there is none, `this or b""`, and asks nothing."""
    return any(isinstance(value, ast.Constant) for value in node.values)


# --- what is done to a copy of the tree, whose nodes are numbered as the original's


def _never(index: int) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        node = nodes[index]
        assert isinstance(node, ast.If)
        node.test = ast.Constant(False)

    return change


def _true(index: int) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        node = nodes[index]
        assert isinstance(node, ast.Return)
        node.value = ast.Constant(True)

    return change


def _without(index: int, place: int) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        node = nodes[index]
        assert isinstance(node, ast.BoolOp)
        del node.values[place]

    return change


def _half(index: int, *, first: bool) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        node = nodes[index]
        assert isinstance(node, ast.Compare)
        if first:
            node.left = node.comparators.pop(0)
            del node.ops[0]
        else:
            del node.comparators[1], node.ops[1]

    return change


def _unsifted(index: int, place: int) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        node = nodes[index]
        assert isinstance(node, ast.comprehension)
        del node.ifs[place]

    return change


def _passed(index: int) -> Change:
    def change(nodes: list[ast.AST]) -> None:
        gone = nodes[index]
        for node in nodes:
            for body in _bodies(node):
                for place, statement in enumerate(body):
                    if statement is gone:
                        body[place] = ast.Pass()

    return change
