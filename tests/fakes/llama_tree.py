"""A fake llama.cpp, named as one: a source tree with its targets, which compiles in seconds.

    llama_tree.py TREE [PROGRAM]     builds TREE with the real `build`, in STEPRUN_HOME

The programs answer what an engine is asked before it loads anything. `PROGRAM` runs the
compilers: ninja or make.
"""

import sys
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from runner.base.progress import OnProgress
from runner.engine.builder import Tree, needs
from runner.engine.builder import recipe as recipes
from runner.engine.builder.build import build
from runner.engine.builder.recipe import Recipe
from runner.engine.installed.stamp import Origin
from runner.engine.installed.store import InstalledEngine
from runner.machine.captures.capture import Live
from runner.machine.facts import Backend, Machine
from runner.machine.probe import detect

CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(fake CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
file(GLOB PARTS part*.cpp)
add_library(parts ${PARTS})
foreach(NAME llama-server llama-batched-bench)
  add_executable(${NAME} main.cpp)
  target_link_libraries(${NAME} parts)
endforeach()
"""
MAIN = """
#include <cstdio>
#include <cstring>
%(declared)s
int main(int argc, char ** argv) {
    int sum = 0;
    %(called)s
    const char * asked = argc > 1 ? argv[1] : "";
    if (!strcmp(asked, "--version")) printf("version: %%d (abcdef0)\\n", sum);
    if (!strcmp(asked, "--help")) printf("-m,    --model FNAME   path\\n--list-devices   print\\n");
    if (!strcmp(asked, "--list-devices")) printf("Available devices:\\n");
    return 0;
}
"""
# A header that takes a real compiler a part of a second.
PART = """
#include <map>
#include <string>
int part%(number)d() { return std::map<std::string, int>{{"a", 1}}.at("a"); }
"""


def write(folder: Path, parts: int = 6) -> Tree:
    """Write a tree of so many files, each of which takes a moment to compile."""
    folder.mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(CMAKE)
    for number in range(parts):
        (folder / f"part{number}.cpp").write_text(PART % {"number": number})
    declared = "\n".join(f"int part{number}();" for number in range(parts))
    called = "\n    ".join(f"sum += part{number}();" for number in range(parts))
    (folder / "main.cpp").write_text(MAIN % {"declared": declared, "called": called})
    return tree(folder)


def tree(folder: Path) -> Tree:
    """Return a tree that was written before."""
    return Tree(folder, Origin("stepfun", str(folder), "step3.7", "0c1e57098bba43ac29e6"))


def recipe(runner: str = "") -> Recipe:
    """Return the processor's recipe, with another program to run the compilers."""
    plain = recipes.load_recipe(Backend.CPU)
    if not runner:
        return plain
    needs = [
        structs.replace(need, programs=(runner,)) if need.name == "ninja" else need
        for need in plain.common.needs
    ]
    return replace(plain, common=structs.replace(plain.common, needs=tuple(needs)))


def machine() -> Machine:
    """Return this machine, as one that computes on its processor."""
    return replace(detect(Live()), backend=Backend.CPU)


def make(tree: Tree, tell: OnProgress, runner: str = "") -> InstalledEngine:
    """Build a tree with the real `build`."""
    rules, here = recipe(runner), machine()
    return build(rules, here, needs.find_tools(rules, here), tree, tell)


def main(argv: list[str]) -> int:
    """Build, and print how far it is."""
    make(tree(Path(argv[0])), lambda *seen: print(*seen, flush=True), *argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
