"""Prints where a script is no PowerShell, a line each."""

import sys

import tree_sitter
import tree_sitter_powershell


def wrong(node):
    if node.is_error or node.is_missing:
        yield node
    elif node.has_error:
        for child in node.children:
            yield from wrong(child)


with open(sys.argv[1], "rb") as script:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    for node in wrong(parser.parse(script.read()).root_node):
        print(f"line {node.start_point.row + 1}: {node.text.decode()[:80]}")
