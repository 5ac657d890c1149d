"""Which of TensorRT's names the package uses: read from its source, so that the list cannot drift.

It goes by the names of variables: what the source calls ``config`` is an ``IBuilderConfig``, and so on.
"""

import ast
from pathlib import Path

OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "layer": "ILayer",
    "tensor": "ITensor",
    "profile": "IOptimizationProfile",
    "parser": "OnnxParser",
    "timing": "ITimingCache",
}
#: Calls that take the name of an enum member and check it: method → enum.
CHECKED = {"builder_flag": "BuilderFlag", "data_type": "DataType"}


class Names(ast.NodeVisitor):
    """``used``: pairs (class, attribute), the class "" for the module itself; ``guarded``: by hasattr."""

    def __init__(self):
        self.used, self.guarded = set(), set()
        self._aliases = {}

    @classmethod
    def of(cls, path):
        names = cls()
        names.visit(ast.parse(Path(path).read_text()))
        return names

    def visit_FunctionDef(self, node):
        before, self._aliases = self._aliases, dict(self._aliases)
        self.generic_visit(node)
        self._aliases = before

    def visit_Assign(self, node):
        # flags = self.module.BuilderFlag
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Attribute):
            owner = self._owner(node.value.value)
            if owner == "":
                self._aliases[node.targets[0].id] = node.value.attr
        self.generic_visit(node)

    def visit_Attribute(self, node):
        owner = self._owner(node.value)
        if owner is not None:
            self.used.add((owner, node.attr))
        self.generic_visit(node)

    def visit_Call(self, node):
        name = getattr(node.func, "id", getattr(node.func, "attr", None))
        literal = node.args and isinstance(node.args[-1], ast.Constant) and node.args[-1].value
        if name == "hasattr" and literal:
            owner = self._owner(node.args[0])
            if owner is not None:
                self.guarded.add((owner, literal))
        if name in CHECKED and literal:
            self.used.add((CHECKED[name], literal))
        self.generic_visit(node)

    def _owner(self, node):
        """The class that ``node`` stands for, "" for the module, None for anything else."""
        if isinstance(node, ast.Name):
            if node.id in ("trt", "module"):
                return ""
            return self._aliases.get(node.id, OBJECTS.get(node.id))
        if isinstance(node, ast.Attribute):
            if node.attr == "module":
                return ""
            if self._owner(node.value) == "":
                return node.attr
        return None


def of_classes(path):
    """Pairs (class, public attribute) of the classes that a Python file defines."""
    pairs = set()
    for node in ast.parse(Path(path).read_text()).body:
        if isinstance(node, ast.ClassDef):
            pairs.add(("", node.name))
            found = {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store) and _is_enum(node):
                    found.add(inner.id)
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                    found.add(inner.attr)
            pairs |= {(node.name, name) for name in found if not name.startswith("_")}
    return pairs


def _is_enum(node):
    return any(isinstance(base, ast.Attribute) and base.value.id == "enum" for base in node.bases)
