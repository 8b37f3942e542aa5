"""Apple's chips as far as speed depends on them: GPU cores, memory bandwidth, arithmetic.

Cores, bandwidth and memory are Apple's own figures, from the announcement that `source` names.
Apple does not publish the GPU's clock: the clocks of the M1 and M2 families and of the M4 are what
others have measured (CLOCK_SOURCES), those of the M3 and the M5 are estimates. A core has 128
arithmetic units, so it does 256 floating-point operations a clock, in fp32 as in fp16
(github.com/philipturner/metal-benchmarks). With these clocks that gives the 2.6, 5.2, 10.4 and 21
TFLOPS that Apple states for the four M1 and the 3.6 of the M2, within 3 %.

The M5's cores have matrix units besides ("Neural Accelerators"). Whether simdgroup matrices reach
them is not documented, so they are not counted: prefill on an M5 may be faster than predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

FLOPS_PER_CORE_AND_CLOCK = 256

# Of the GPU, in GHz, by family.
CLOCKS = {"M1": 1.296, "M2": 1.398, "M3": 1.38, "M4": 1.578, "M5": 1.6}
MEASURED_CLOCKS = ("M1", "M2", "M4")  # the others are estimates
CLOCK_SOURCES = (
    "M1 and M2: github.com/philipturner/metal-benchmarks",
    "M4: eclecticlight.co, 22 January 2025 (M4 Pro, powermetrics)",
)

_NEWSROOM = "https://www.apple.com/newsroom/"
_M1 = _NEWSROOM + "2020/11/apple-unleashes-m1/"
_M1_PRO = (
    _NEWSROOM
    + "2021/10/introducing-m1-pro-and-m1-max-the-most-powerful-chips-apple-has-ever-built/"
)
_M1_ULTRA = (
    _NEWSROOM
    + "2022/03/apple-unveils-m1-ultra-the-worlds-most-powerful-chip-for-a-personal-computer/"
)
_M2 = _NEWSROOM + "2022/06/apple-unveils-m2-with-breakthrough-performance-and-capabilities/"
_M2_PRO = (
    _NEWSROOM
    + "2023/01/apple-unveils-m2-pro-and-m2-max-next-generation-chips-for-next-level-workflows/"
)
_M2_ULTRA = _NEWSROOM + "2023/06/apple-introduces-m2-ultra/"
_M3 = (
    _NEWSROOM
    + "2023/10/apple-unveils-m3-m3-pro-and-m3-max-the-most-advanced-chips-for-a-personal-computer/"
)
_M3_ULTRA = _NEWSROOM + "2025/03/apple-reveals-m3-ultra-taking-apple-silicon-to-a-new-extreme/"
_M4 = _NEWSROOM + "2024/05/apple-introduces-m4-chip/"
_M4_PRO = _NEWSROOM + "2024/10/apple-introduces-m4-pro-and-m4-max/"
_M5 = (
    _NEWSROOM + "2025/10/apple-unleashes-m5-the-next-big-leap-in-ai-performance-for-apple-silicon/"
)
_M5_PRO = "Apple's announcement of March 2026, as in https://mikeshouts.com/apple-m5-pro-m5-max/"


@dataclass(frozen=True)
class Chip:
    """One configuration of a chip; others differ in GPU cores and memory."""

    name: str
    """As Metal names the device, after "Apple "."""
    gpu_cores: int
    bandwidth: int
    """Of the memory, in GB/s."""
    most_memory: int
    """That it is sold with, in GB."""
    source: str

    @property
    def family(self) -> str:
        """Of an M2 Max: M2."""
        return self.name.split()[0]

    @property
    def clock(self) -> float:
        """Of the GPU, in GHz."""
        return CLOCKS[self.family]

    @property
    def flops(self) -> float:
        """Floating-point operations a second, fp32 or fp16: two for each multiply-add."""
        return self.gpu_cores * self.clock * 1e9 * FLOPS_PER_CORE_AND_CLOCK


# The M1's bandwidth is that of its memory (128 bits of LPDDR4X-4266); Apple's announcement of the
# M1 Max calls its 400 GB/s "nearly 6x" that.
CHIPS = (
    Chip("M1", 8, 68, 16, _M1),
    Chip("M1 Pro", 16, 200, 32, _M1_PRO),
    Chip("M1 Max", 32, 400, 64, _M1_PRO),
    Chip("M1 Ultra", 64, 800, 128, _M1_ULTRA),
    Chip("M2", 10, 100, 24, _M2),
    Chip("M2 Pro", 19, 200, 32, _M2_PRO),
    Chip("M2 Max", 38, 400, 96, _M2_PRO),
    Chip("M2 Ultra", 76, 800, 192, _M2_ULTRA),
    Chip("M3", 10, 100, 24, _M3),
    Chip("M3 Pro", 18, 150, 36, _M3),
    Chip("M3 Max", 30, 300, 96, _M3),
    Chip("M3 Max", 40, 400, 128, _M3),
    Chip("M3 Ultra", 80, 819, 512, _M3_ULTRA),
    Chip("M4", 10, 120, 32, _M4),
    Chip("M4 Pro", 20, 273, 64, _M4_PRO),
    Chip("M4 Max", 32, 410, 36, _M4_PRO),
    Chip("M4 Max", 40, 546, 128, _M4_PRO),
    Chip("M5", 10, 153, 32, _M5),
    Chip("M5 Pro", 20, 307, 64, _M5_PRO),
    Chip("M5 Max", 40, 614, 128, _M5_PRO),
)


def find_chip(device_name: str, gpu_cores: int | None = None) -> Chip | None:
    """The chip of a device that Metal calls `device_name`, with that many GPU cores if known.

    Of several, the one whose number of cores is nearest; of an unknown number, the largest.
    """
    name = device_name.removeprefix("Apple ").strip()
    candidates = [chip for chip in CHIPS if chip.name == name]
    if not candidates:
        return None
    if gpu_cores is None:
        return max(candidates, key=lambda chip: chip.gpu_cores)
    nearest = min(candidates, key=lambda chip: abs(chip.gpu_cores - gpu_cores))
    return Chip(nearest.name, gpu_cores, nearest.bandwidth, nearest.most_memory, nearest.source)
