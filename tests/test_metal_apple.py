"""What only a Mac runs, checked anywhere: the kernels as embedded; device.mm against declarations.

The declarations are compared with Apple's SDK where METAL_SDK names a folder that
`python -m metal_declarations fetch` has filled, as in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from metal_declarations.check import check
from metal_declarations.declarations import Declarations, is_old, read_declarations
from metal_declarations.mach_o import undefined_symbols
from metal_declarations.zig import INCLUDE, REPOSITORY, ZigError, compile_for_macos, find_zig
from metal_host.dialect import DialectUnavailableError, check_dialect, find_clang
from metal_host.findings import report

METAL = REPOSITORY / "metal"
DEVICE = REPOSITORY / "source" / "metal" / "device.mm"
SCRIPT = REPOSITORY / "cmake" / "EmbedMetalKernels.cmake"
NAMES = sorted(path.stem for path in METAL.glob("*.metal"))

each_kernel_file = pytest.mark.parametrize("name", NAMES)


# ---- Embedding ---------------------------------------------------------------------------------


def embed(output: Path, *options: str, folder: Path = METAL) -> subprocess.CompletedProcess[str]:
    command = ["cmake", f"-DFOLDER={folder}", f"-DOUTPUT={output}", *options, "-P", str(SCRIPT)]
    return subprocess.run(command, capture_output=True, text=True)


@dataclass(frozen=True)
class Embedded:
    path: Path  # the C++ file
    sources: dict[str, str]
    fast_math: dict[str, bool]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    path = tmp_path_factory.mktemp("embedded") / "kernels.cpp"
    result = embed(path)
    assert result.returncode == 0, result.stderr
    text = path.read_text()
    sources = dict(re.findall(r'(\w+)_source = R"metal\((.*?)\)metal";', text, re.DOTALL))
    table = re.findall(r'^    \{"(\w+)", \1_source, \{\}, (true|false)\},$', text, re.MULTILINE)
    return Embedded(path, sources, {name: flag == "true" for name, flag in table})


def test_every_kernel_file_is_embedded(embedded: Embedded) -> None:
    assert sorted(embedded.sources) == sorted(embedded.fast_math) == NAMES


@each_kernel_file
def test_nothing_is_left_to_include(embedded: Embedded, name: str) -> None:
    assert not re.findall(r'^\s*#\s*(?:include\s*"|pragma once).*', embedded.sources[name], re.M)


def preprocessed(path: Path, include: Path) -> list[tuple[str, int, str]]:
    """File, line and text of every line that the preprocessor leaves."""
    flags = ["-x", "c++", "-E", "-nostdinc", "-D__METAL_VERSION__=300", "-I", str(include)]
    compiler = shutil.which("c++") or "g++"
    result = subprocess.run([compiler, *flags, str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = []
    file, number = "", 0
    for text in result.stdout.splitlines():
        marker = re.match(r'# (\d+) "([^"]*)"', text)
        if marker:
            number, file = int(marker[1]), Path(marker[2]).name
            continue
        if text.strip():
            lines.append((file, number, text.strip()))
        number += 1
    return lines


@each_kernel_file
def test_a_compiler_sees_the_same_lines_in_the_same_places(
    embedded: Embedded, tmp_path: Path, name: str
) -> None:
    include = tmp_path / "include"
    include.mkdir()
    for header in ("metal_stdlib", "metal_simdgroup_matrix"):
        (include / header).write_text("")
    alone = tmp_path / f"{name}.metal"
    alone.write_text(embedded.sources[name])
    expected = preprocessed(METAL / f"{name}.metal", include)
    assert any(file == f"{name}.metal" for file, _, _ in expected)
    assert preprocessed(alone, include) == expected


@each_kernel_file
def test_the_embedded_source_compiles(embedded: Embedded, tmp_path: Path, name: str) -> None:
    try:
        find_clang()
    except DialectUnavailableError as error:
        pytest.skip(str(error))
    alone = tmp_path / f"{name}.metal"
    alone.write_text(embedded.sources[name])
    findings = check_dialect(alone)
    assert not findings, report(findings)


def test_a_missing_include_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    folder = tmp_path / "metal"
    folder.mkdir()
    (folder / "norm.metal").write_text('// a\n#include "there.h"\n#include "missing.h"\n')
    (folder / "there.h").write_text("#pragma once\n")
    result = embed(tmp_path / "kernels.cpp", folder=folder)
    assert result.returncode != 0
    said = " ".join(result.stderr.split())
    assert 'metal/norm.metal, line 3, includes "missing.h"' in said


def test_compiled_kernels_are_embedded_byte_by_byte(tmp_path: Path) -> None:
    metallibs = tmp_path / "metallibs"
    metallibs.mkdir()
    contents = {name: bytes(range(256)) * 2 + name.encode() for name in NAMES}
    for name, content in contents.items():
        (metallibs / f"{name}.metallib").write_bytes(content)
    result = embed(tmp_path / "kernels.cpp", f"-DMETALLIBS={metallibs}")
    assert result.returncode == 0, result.stderr
    (tmp_path / "main.cpp").write_text(
        """
        #include <cstdio>
        #include "metal/kernel_source.h"
        int main() {
            for (const auto& kernel : gptoss::metal::kernel_sources()) {
                std::printf("%s %d ", kernel.file, kernel.source == nullptr);
                for (const std::byte byte : kernel.metallib) {
                    std::printf("%02x", unsigned(byte));
                }
                std::printf("\\n");
            }
        }
        """
    )
    include = [f"-I{REPOSITORY / 'source'}", f"-I{REPOSITORY / 'include'}"]
    sources = [str(tmp_path / "kernels.cpp"), str(tmp_path / "main.cpp")]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    compiler = shutil.which("c++") or "g++"
    command = [compiler, "-std=c++20", *warnings, *include, *sources, "-o", str(tmp_path / "main")]
    subprocess.run(command, check=True)
    output = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    found = {line.split()[0]: line.split()[1:] for line in output.splitlines()}
    assert found == {name: ["1", content.hex()] for name, content in contents.items()}


# ---- Fast-math ---------------------------------------------------------------------------------


def test_what_relies_on_exact_arithmetic_is_compiled_without_fast_math(embedded: Embedded) -> None:
    for name, source in embedded.sources.items():
        relies = "mxfp4_codes_to_halves" in source or name.startswith("sample_")
        assert not (relies and embedded.fast_math[name]), f"{name}.metal is compiled with fast-math"
    assert any(embedded.fast_math.values())


@each_kernel_file
def test_functions_do_not_depend_on_fast_math_by_chance(embedded: Embedded, name: str) -> None:
    """exp() is fast::exp() with fast-math, and precise::exp() without: a kernel says which."""
    code = re.sub(r"//.*", "", embedded.sources[name])
    function = r"(?:exp|exp2|exp10|log|log2|log10|sin|cos|tan|tanh|sqrt|rsqrt|pow|powr)"
    unqualified = re.findall(rf"(?<![\w:.]){function}\(.*|metal::{function}\(.*", code)
    assert not unqualified, f"precise:: or fast:: is missing: {unqualified}"


# ---- device.mm ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zig() -> Path:
    found = find_zig()
    if found is None:
        pytest.skip("zig is not installed: pip install '.[metal-check]'")
    return found


BACKEND = sorted(
    path
    for path in [*(REPOSITORY / "source" / "metal").rglob("*.cpp"), DEVICE]
    # What runs on Apple's system and has parts of its own for it.
    + [REPOSITORY / "source" / name for name in ("backend.cpp", "context.cpp", "mapped_file.cpp")]
)


@pytest.mark.slow
def test_the_backend_compiles_for_apple_silicon(zig: Path, tmp_path: Path) -> None:
    def complaint(path: Path) -> str:
        try:
            compile_for_macos(zig, path, tmp_path / f"{path.stem}.o")
        except ZigError as error:
            return f"{path}:\n{error}"
        return ""

    assert len(BACKEND) > 20
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        complaints = "".join(pool.map(complaint, BACKEND))
    assert not complaints, complaints


def test_the_embedded_kernels_compile_for_apple_silicon(
    zig: Path, tmp_path: Path, embedded: Embedded
) -> None:
    compile_for_macos(zig, embedded.path, tmp_path / "object.o")


def test_device_is_small_and_the_only_objective_c() -> None:
    assert len(DEVICE.read_text().splitlines()) <= 300
    others = [path for path in (REPOSITORY / "source").rglob("*") if path.suffix in (".mm", ".m")]
    assert others == [DEVICE]


@pytest.mark.slow
def test_device_links_what_is_declared_and_weakly_what_older_systems_lack(
    zig: Path, tmp_path: Path, declarations: Declarations
) -> None:
    """A class that the system does not have would keep the whole library from loading there."""
    compile_for_macos(zig, DEVICE, tmp_path / "device.o")
    symbols = undefined_symbols(tmp_path / "device.o")
    classes = {each.name: each for each in declarations.owners if not each.is_protocol}
    prefix = "OBJC_CLASS_$_"
    linked = {name.removeprefix(prefix): weak for name, weak in symbols.items() if prefix in name}
    assert "MTLResidencySetDescriptor" in linked
    for name, weak in linked.items():
        assert weak == (not is_old(classes[name].availability.introduced)), (
            f"{name} is weak: {weak}"
        )
    apples = {name for name in symbols if re.match(r"MTL|NS", name)}
    declared = {each.name for each in declarations.functions}
    declared |= {each.name for each in declarations.constants}
    assert "MTLCreateSystemDefaultDevice" in apples <= declared


@dataclass(frozen=True)
class Mistake:
    """A change of a text that has to be noticed, and what is said of it."""

    old: str
    new: str
    complaint: str


def seeded(text: str, mistake: Mistake) -> str:
    assert mistake.old in text, f"the mistake has no place any more: {mistake.old}"
    return text.replace(mistake.old, mistake.new, 1)


DEVICE_MISTAKES = [
    Mistake("setThreadgroupMemoryLength:", "setThreadGroupMemoryLength:", "not found"),
    Mistake(".recommendedMaxWorkingSetSize", ".recommendedWorkingSetSize", "not found"),
    Mistake("MTLBarrierScopeBuffers", "MTLBarrierScopeTextures", "undeclared identifier"),
    Mistake("offset:slice.offset", "offset:@(slice.offset)", "sending 'NSNumber *'|NSNumber"),
    Mistake("[commands_ commit]", "[queue_ commit]", "undeclared|not found"),
    Mistake(
        "if (@available(macOS 13.0, *))", "if (archive_ != nil)", "only available on macOS 13.0"
    ),
    Mistake(
        "MTLSizeMake(groups.x, groups.y, groups.z)", "groups", "no viable conversion|incompatible"
    ),
    Mistake("[residency commit]", "[residency commitNow]", "no known instance method"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", DEVICE_MISTAKES, ids=lambda mistake: mistake.new)
def test_a_mistake_in_device_does_not_compile(zig: Path, tmp_path: Path, mistake: Mistake) -> None:
    folder = tmp_path / "source" / "metal"
    folder.mkdir(parents=True)
    source = folder / "device.mm"
    source.write_text(seeded(DEVICE.read_text(), mistake))
    include = [REPOSITORY / "source" / "metal", REPOSITORY / "source", REPOSITORY / "include"]
    with pytest.raises(ZigError, match=mistake.complaint):
        compile_for_macos(zig, source, tmp_path / "object.o", include=include)


@pytest.mark.slow
def test_a_call_that_is_newer_needs_a_guard(zig: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source" / "metal"
    folder.mkdir(parents=True)
    text = DEVICE.read_text()
    assert text.count("if (@available(macOS 15.0, *))") == 3
    include = [REPOSITORY / "source" / "metal", REPOSITORY / "source", REPOSITORY / "include"]
    for i in range(3):
        before, *guarded = re.split(r"if \(@available\(macOS 15\.0, \*\)\)", text)
        conditions = ["if (true)" if j == i else "if (@available(macOS 15.0, *))" for j in range(3)]
        source = folder / "device.mm"
        source.write_text(
            before + "".join(c + part for c, part in zip(conditions, guarded, strict=True))
        )
        with pytest.raises(ZigError, match=r"only available on macOS 15\.0"):
            compile_for_macos(zig, source, tmp_path / "object.o", include=include)


# ---- Declarations ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def declarations(zig: Path) -> Declarations:
    return read_declarations(zig)


@pytest.fixture(scope="module")
def sdk() -> Path:
    folder = os.environ.get("METAL_SDK")
    if not folder:
        pytest.skip("METAL_SDK names no folder: python -m metal_declarations fetch FOLDER makes it")
    return Path(folder)


def used_words(declarations: Declarations) -> set[str]:
    """For each declaration a word that device.mm has where it uses it."""
    words = {each.name for each in declarations.enumerators}
    words |= {each.name for each in declarations.functions}
    words |= {each.name for each in declarations.constants}
    properties = {each.selector for each in declarations.methods if ":" not in each.selector}
    for method in declarations.methods:
        first = method.selector.partition(":")[0]
        set_property = first[3:4].lower() + first[4:] if first.startswith("set") else ""
        words.add(set_property if set_property in properties else first)
    return words


def test_nothing_is_declared_that_device_does_not_use(declarations: Declarations) -> None:
    text = DEVICE.read_text()
    by_literals = {"stringWithUTF8String", "arrayWithObjects", "objectForKeyedSubscript"}
    for word in used_words(declarations) - by_literals:
        assert re.search(rf"\b{word}\b", text), f"{word} is declared, and device.mm does not use it"


def test_the_declarations_are_those_of_apples_sdk(declarations: Declarations, sdk: Path) -> None:
    assert len(declarations.methods) > 50
    findings = check(declarations, sdk)
    assert not findings, "\n".join(findings)


DECLARATION_MISTAKES = [
    # A selector that nobody has; one of another protocol; a class method that is none.
    Mistake(
        "- (void)endEncoding;",
        "- (void)endEncodings;",
        r"there is no -\[MTLCommandEncoder endEncodings\]",
    ),
    Mistake(
        "- (void)requestResidency ",
        "- (void)endEncoding ",
        r"there is no -\[MTLResidencySet endEncoding\]",
    ),
    Mistake("- (void)commit;", "+ (void)commit;", r"there is no \+\[MTLCommandBuffer commit\]"),
    Mistake(
        "setThreadgroupMemoryLength:(NSUInteger)length",
        "setThreadgroupMemoryLength:(NSInteger)length",
        r"argument 1 of .*setThreadgroupMemoryLength:atIndex:\] is of type NSUInteger",
    ),
    Mistake(
        "(id<MTLFunction>)newFunction",
        "(id<MTLLibrary>)newFunction",
        r"the result of .* is of type id<MTLFunction>",
    ),
    Mistake("CFTimeInterval GPUEndTime", "uint64_t GPUEndTime", r"GPUEndTime\] is encoded as d"),
    Mistake("MTLDataTypeUInt = 33", "MTLDataTypeUInt = 32", "MTLDataTypeUInt is 33"),
    Mistake(
        "(3 << 16) + 0",
        "(3 << 16) + 1",
        "MTLLanguageVersion3_0 of metal-cpp is 196608|MTLLanguageVersion3_0 is",
    ),
    Mistake("MTLMathMode : NSInteger", "MTLMathMode : NSUInteger", "MTLMathMode is encoded as q"),
    Mistake(
        "MTLDispatchTypeConcurrent = 1",
        "MTLDispatchTypeParallel = 1",
        "there is no enumerator MTLDispatchTypeParallel",
    ),
    Mistake(
        "(id<MTLResidencySet>)residencySet API_AVAILABLE(macos(15.0))",
        "(id<MTLResidencySet>)residencySet API_AVAILABLE(macos(14.0))",
        "addResidencySet:.* is there since 15.0",
    ),
    Mistake(
        "- (void)requestResidency API_AVAILABLE(macos(15.0));",
        "- (void)requestResidency;",
        "requestResidency.* is there since 15.0",
    ),
    Mistake("mathMode API_AVAILABLE(macos(15.0))", "mathMode", "mathMode.* is there since 15.0"),
    Mistake(
        "macos(10.11, 15.0)", "macos(10.11, 16.0)", "fastMathEnabled.* is deprecated since 15.0"
    ),
    Mistake(
        "@protocol MTLBuffer <MTLResource>",
        "@protocol MTLBuffer <MTLAllocation>",
        "MTLBuffer inherits from",
    ),
    Mistake("width, height, depth;", "width, depth, height;", "MTLSize has the members"),
    Mistake(
        "MTLCreateSystemDefaultDevice(void)",
        "MTLCreateDefaultDevice(void)",
        "there is no function MTLCreateDefaultDevice",
    ),
    Mistake(
        "MTLCommandBufferEncoderInfoErrorKey",
        "MTLCommandBufferInfoErrorKey",
        "there is no constant",
    ),
    Mistake(
        "void (^MTLCommandBufferHandler)(id<MTLCommandBuffer>)",
        "void (^MTLCommandBufferHandler)(id<MTLCommandQueue>)",
        "MTLCommandBufferHandler is",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", DECLARATION_MISTAKES, ids=lambda mistake: mistake.new)
def test_a_mistake_in_the_declarations_is_found(
    zig: Path, sdk: Path, tmp_path: Path, mistake: Mistake
) -> None:
    include = tmp_path / "include"
    shutil.copytree(INCLUDE, include)
    header = include / "Metal" / "Metal.h"
    header.write_text(seeded(header.read_text(), mistake))
    findings = check(read_declarations(zig, include), sdk)
    assert any(re.search(mistake.complaint, finding) for finding in findings), findings
