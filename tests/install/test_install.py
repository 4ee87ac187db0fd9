"""What a user installs works: wheel, sdist, editable; with a compiler, without one, without torch.

Nothing is downloaded: the clean environments see this environment's dependencies through a
.pth line, which does not carry groundup's own editable install along.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git checkout"),
]

SMOKE = """
import importlib.resources, warnings
import torch
import groundup as gu
from groundup import _native
from groundup.tokenizer import Tokenizer
import groundup.kernels
assert "site-packages" in gu.__file__, gu.__file__
assert (importlib.resources.files("groundup") / "py.typed").is_file()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tokenizer = Tokenizer.train(["the cat sat on the mat; the cat sat"], vocab_size=270)
    assert tokenizer.decode(tokenizer.encode("the hat")) == "the hat"
    for _ in range(2):
        logits = torch.randn(5, 7, requires_grad=True)
        loss = gu.cross_entropy(logits, torch.arange(5))
        loss.backward()
        expected = torch.nn.functional.cross_entropy(logits.detach(), torch.arange(5))
        torch.testing.assert_close(loss.detach(), expected)
print("native" if _native.core() else "torch", sum("native" in str(c.message) for c in caught))
"""


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = ("PYTHONPATH", "GROUNDUP_NATIVE", "GROUNDUP_CUDA")
    inherited = {k: v for k, v in os.environ.items() if k not in ours}
    # Compiling the CUDA kernels once is enough; test_cuda_is_built_into_the_wheel does.
    inherited["GROUNDUP_CUDA"] = "0"
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**inherited, "PIP_NO_INDEX": "1", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def succeed(*command: object, cwd: Path, **environment: str) -> str:
    done = run(*command, cwd=cwd, **environment)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files git knows, so that builds leave the working tree alone."""
    to = tmp_path_factory.mktemp("checkout") / "groundup"
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listing.stdout.decode().split("\0")):
        source = ROOT / name
        if not (source.exists() or source.is_symlink()):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, to / name, follow_symlinks=False)
    return to


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", cwd=checkout)
    return checkout / "dist"


def clean_venv(at: Path) -> Path:
    """The interpreter of an environment without groundup, in which our dependencies import."""
    venv.create(at, with_pip=False)
    site = next(at.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return at / "bin" / "python"


def pip(python: Path, *words: object, cwd: Path, **environment: str) -> None:
    succeed(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", *words,
        cwd=cwd, **environment,
    )  # fmt: skip


def test_wheel_from_the_sdist_works_in_a_clean_environment(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    python = clean_venv(tmp_path / "venv")
    pip(python, "--force-reinstall", wheel, cwd=tmp_path)
    assert succeed(python, "-c", SMOKE, cwd=tmp_path).split()[-2:] == ["native", "0"]
    command = python.with_name("groundup")
    assert "0." in succeed(command, "--version", cwd=tmp_path)


def test_tokenizer_of_the_wheel_works_without_torch(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    python = clean_venv(tmp_path / "venv")
    pip(python, "--force-reinstall", wheel, cwd=tmp_path)
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from groundup.tokenizer import Tokenizer\n"
        "t = Tokenizer.train(['abc abc'], vocab_size=258)\n"
        "print(t.decode(t.encode('abc')))"
    )
    assert succeed(python, "-c", script, cwd=tmp_path).strip() == "abc"


def test_sdist_holds_what_a_build_needs_and_no_binaries(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CMakeLists.txt", "csrc/bind.cpp", "csrc/bpe/bind.cpp", "setup.py"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc"))]


def test_wheel_without_a_compiler_says_one_sentence_and_runs_on_torch(
    checkout: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "env", "git"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    said = succeed(
        sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation",
        "-w", tmp_path / "wheels", checkout, cwd=tmp_path, PATH=str(tools), CXX="",
    )  # fmt: skip
    assert said.count("no C++ compiler was found") == 1
    assert "apt install g++" in said
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    python = clean_venv(tmp_path / "venv")
    pip(python, "--force-reinstall", wheel, cwd=tmp_path)
    where, warned = succeed(python, "-c", SMOKE, cwd=tmp_path).split()[-2:]
    assert where == "torch"
    # One for the tokenizer, one for the op: the second loss and the second encode are silent.
    assert warned == "2"


def test_a_broken_compiler_fails_the_installation_with_the_remedy(
    checkout: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    done = run(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
        "-w", tmp_path / "wheels", checkout, cwd=tmp_path, CXX=str(broken),
    )  # fmt: skip
    assert done.returncode != 0
    assert "GROUNDUP_NATIVE=0 installs without it" in done.stdout + done.stderr


def test_native_zero_leaves_the_core_out_even_after_a_native_install(
    checkout: Path, tmp_path: Path
) -> None:
    python = clean_venv(tmp_path / "venv")
    which = "from groundup import _native; print('native' if _native.core() else 'torch')"
    pip(python, "--no-build-isolation", "-e", checkout, cwd=tmp_path)
    assert succeed(python, "-c", which, cwd=tmp_path).strip() == "native"
    kernels = "import groundup.kernels as k; print(k.__file__)"
    assert str(checkout) in succeed(python, "-c", kernels, cwd=tmp_path)
    pip(python, "--no-build-isolation", "-e", checkout, cwd=tmp_path, GROUNDUP_NATIVE="0")
    assert succeed(python, "-c", which, cwd=tmp_path).strip() == "torch"


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="not run: no nvcc")
def test_cuda_is_built_into_the_wheel(checkout: Path, tmp_path: Path) -> None:
    succeed(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation",
        "-w", tmp_path, checkout, cwd=tmp_path,
        GROUNDUP_CUDA="1", GROUNDUP_CUDA_ARCHITECTURES="90",
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    python = clean_venv(tmp_path / "venv")
    pip(python, "--force-reinstall", wheel, cwd=tmp_path)
    which = "from groundup import _native; print(_native.cuda().architectures())"
    assert succeed(python, "-c", which, cwd=tmp_path, GROUNDUP_CUDA="").strip() == "['90']"
