"""Rules of the architecture that no linter checks: the order of imports, sizes, and paths of one machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "components" / "tinyunet"
SOURCES = sorted(
    [*LIBRARY.rglob("*.py"), *(ROOT / "components").glob("*.py"), *(ROOT / "pipeline").glob("*.py")]
)
MODULE_LINES, BODY_LINES, COMPONENT_BODY_LINES = 250, 50, 10
# A package imports only packages that precede it in this list.
ORDER = (
    "core", "storage", "mpijob", "tracking", "model", "data", "engine", "training", "launch", "evaluation",
    "serving", "registry", "server", "studies", "bench", "devtools", "cli",
)  # fmt: skip
MODULES_PER_PACKAGE = 16
# Only these modules import these packages; all other modules call them.
OWNERS = {
    "horovod": {"tinyunet/training/distributed.py"},
    "minio": {"tinyunet/storage/s3.py"},
    "kubernetes": {
        "tinyunet/mpijob/client.py",
        "tinyunet/mpijob/permissions.py",
        "tinyunet/mpijob/rollout.py",
    },
    "mlflow": {
        "tinyunet/tracking/client.py",
        "tinyunet/tracking/deletion.py",
        "tinyunet/tracking/tracker.py",
        "tinyunet/tracking/datasets.py",
        "tinyunet/tracking/history.py",
        "tinyunet/tracking/download.py",
        "tinyunet/registry/evidence.py",
        "tinyunet/registry/register.py",
        "tinyunet/registry/run.py",
        "tinyunet/registry/registration_lock.py",
        "tinyunet/registry/versions.py",
        "tinyunet/registry/logged_model.py",
        "tinyunet/tracking/server.py",
    },
}
HEAVY = {"tensorflow", "keras", "mlflow", "matplotlib", "sklearn", "kubernetes"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).as_posix()).removeprefix("components/")


def imported(tree: ast.AST) -> set[str]:
    """Return the full names of all modules that a piece of code imports, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_at_module_level(tree: ast.Module) -> set[str]:
    """Return the names of the modules that are imported when this module is imported."""
    names: set[str] = set()
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names |= imported(node)
    return names


def tops(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def body_lines(function: ast.FunctionDef) -> int:
    """Return the number of lines of a function's body, without its docstring and without inner functions."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    inner = sum(lines(node) for node in body if isinstance(node, ast.FunctionDef))
    return lines(function) - (body[0].lineno - function.lineno) - inner if body else 0


def lines(node: ast.FunctionDef) -> int:
    return (node.end_lineno or 0) - node.lineno + 1


def functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


TREES = {name_of(path): ast.parse(path.read_text()) for path in SOURCES}
LIBRARY_TREES = {name: tree for name, tree in TREES.items() if name.startswith("tinyunet/")}
PIPELINE_TREES = {name: tree for name, tree in TREES.items() if name.startswith("pipeline/")}
COMPONENT_TREES = {name: tree for name, tree in TREES.items() if "/" not in name}


def test_the_checked_code_is_found() -> None:
    assert len(LIBRARY_TREES) > 20
    assert sorted(COMPONENT_TREES) == [
        f"{name}.py" for name in ("base", "compare", "convert", "evaluate", "ingest", "register", "train")
    ]
    assert "pipeline/pipeline.py" in PIPELINE_TREES


def test_the_library_imports_neither_kfp_nor_the_pipeline() -> None:
    wrong = {n: tops(imported(t)) & {"kfp", "pipeline", "components"} for n, t in LIBRARY_TREES.items()}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_library_is_imported_only_as_tinyunet() -> None:
    wrong = [n for n, t in TREES.items() if any(i.startswith("components.tinyunet") for i in imported(t))]
    assert wrong == []


def test_the_modules_of_components_import_only_kfp_and_the_standard_library() -> None:
    allowed = {"kfp", "components", "typing", "functools"}
    assert {
        name: tops(imported_at_module_level(tree)) - allowed for name, tree in COMPONENT_TREES.items()
    } == {name: set() for name in COMPONENT_TREES}


def test_the_pipeline_imports_no_machine_learning_package() -> None:
    heavy = HEAVY | {"horovod", "minio", "numpy"}
    wrong = {name: tops(imported(tree)) & heavy for name, tree in PIPELINE_TREES.items()}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_the_dag_and_its_compiler_do_not_import_the_library() -> None:
    """Compiling has to work where only kfp is installed."""
    for name in ("pipeline", "resources", "compile"):
        assert "tinyunet" not in tops(imported(PIPELINE_TREES[f"pipeline/{name}.py"]))


def packages_imported(name: str) -> set[str]:
    """Return the library's packages that a module imports, also inside functions, without its own package."""
    names = imported(LIBRARY_TREES[name])
    packages = {n.split(".")[1] for n in names if n.startswith("tinyunet.")}
    return (packages & set(ORDER)) - {name.split("/")[1]}


def test_the_order_names_every_package_of_the_library() -> None:
    assert {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()} == set(ORDER)


def test_the_guide_for_contributors_shows_the_order() -> None:
    assert "  ".join(ORDER) in (ROOT / ".github" / "CONTRIBUTING.md").read_text()


def test_a_package_imports_only_packages_that_precede_it_in_the_order() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in LIBRARY_TREES
        if (package := name.split("/")[1]) in ORDER
        for other in packages_imported(name)
        if ORDER.index(other) > ORDER.index(package)
    ]
    assert sorted(wrong) == []


def test_the_only_modules_outside_the_packages_are_init_and_main() -> None:
    assert {name for name in LIBRARY_TREES if name.count("/") == 1} == {
        "tinyunet/__init__.py",
        "tinyunet/__main__.py",
    }


def test_no_package_has_more_than_sixteen_modules() -> None:
    sizes = {
        p: sum(n.startswith(f"tinyunet/{p}/") and n.count("/") == 2 for n in LIBRARY_TREES) - 1 for p in ORDER
    }
    assert {package: size for package, size in sizes.items() if size > MODULES_PER_PACKAGE} == {}


def test_every_name_is_imported_from_the_module_that_defines_it() -> None:
    wrong = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tinyunet."):
                path = f"{(node.module or '').replace('.', '/')}.py"
                if path in LIBRARY_TREES:
                    wrong += [
                        f"{name}: {a.name} of {path}" for a in node.names if a.name not in defined(path)
                    ]
    assert wrong == []


def defined(name: str) -> set[str]:
    """Return the names that a module defines."""
    found: set[str] = set()
    for node in ast.walk(LIBRARY_TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


@pytest.mark.parametrize("package", sorted(OWNERS))
def test_a_service_is_imported_only_by_its_owners(package: str) -> None:
    users = {name for name, tree in LIBRARY_TREES.items() if package in tops(imported(tree))}
    assert users <= OWNERS[package]


def test_only_numerical_packages_import_heavy_packages_at_module_level() -> None:
    owners = set[str]().union(*OWNERS.values())
    free = re.compile(r"tinyunet/(model|training|evaluation|serving|studies|bench)/")
    light = {n: t for n, t in LIBRARY_TREES.items() if n not in owners and not free.match(n)}
    wrong = {name: tops(imported_at_module_level(tree)) & HEAVY for name, tree in light.items()}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_modules_are_short() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: n for name, n in sizes.items() if n > MODULE_LINES} == {}


def test_function_bodies_are_short() -> None:
    long = {
        f"{name}:{function.name}": body_lines(function)
        for name, tree in TREES.items()
        for function in functions(tree)
        if body_lines(function) > BODY_LINES
    }
    assert long == {}


def test_half_of_all_function_bodies_have_eight_lines_or_fewer() -> None:
    sizes = sorted(body_lines(function) for tree in TREES.values() for function in functions(tree))
    assert sizes[len(sizes) // 2] <= 8


def test_component_bodies_are_short() -> None:
    """Only statements after the imports count. Longer code belongs in the library, where it can be tested."""
    sizes = {}
    for name, tree in COMPONENT_TREES.items():
        for function in functions(tree):
            work = [s for s in function.body[1:] if not isinstance(s, ast.Import | ast.ImportFrom)]
            sizes[name] = work[-1].end_lineno - work[0].lineno + 1 if work else 0
    assert {name: n for name, n in sizes.items() if n > COMPONENT_BODY_LINES} == {}


def test_every_public_object_has_a_docstring() -> None:
    bare = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    bare += [
        f"{name}:{node.name}"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert bare == []


def test_the_environment_is_not_read_at_import() -> None:
    reads = re.compile(r"os\.environ|os\.getenv")
    wrong = []
    for name, tree in TREES.items():
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) and not _is_main_guard(node):
                wrong += [name] if reads.search(ast.unparse(node)) else []
    assert wrong == []


def _is_main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def test_no_file_names_a_path_of_one_machine() -> None:
    """Home folders and working folders do not exist on other machines; /home/mpiuser exists in the images."""
    machine = re.compile(r"/(root|work|Users)/|/home/(?!mpiuser)\w+/")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    wrong = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.suffix in (".lock", ".sum") or path == Path(__file__) or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        wrong += [f"{name}: {found[0]}" for found in machine.finditer(text)]
    assert wrong == []
