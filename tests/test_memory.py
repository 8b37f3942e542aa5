"""What a model says that it needs: `Model.memory_needed`, and `gptoss.device_info`."""

from __future__ import annotations

import os

import gptoss
import pytest
from engine_cases import model_path
from hypothesis import given, settings
from hypothesis import strategies as st

CPU_LIMITS = (None, True, "")


@pytest.fixture(scope="module")
def demo() -> gptoss.Model:
    return gptoss.Model(backend="cpu", threads=2)


def without_metal() -> bool:
    try:
        gptoss.device_info("metal")
    except gptoss.BackendError:
        return True
    return False


class TestEstimatesOfTheCpu:
    @pytest.mark.parametrize("length", [1, 15, 300, 4096, 131072])
    def test_parts_add_up_and_nothing_limits_them(self, demo: gptoss.Model, length: int) -> None:
        needed = demo.memory_needed(length)
        assert (needed.backend, needed.context_length) == ("cpu", length)
        assert needed.weights == demo.path.stat().st_size
        assert needed.kv_cache == demo.kv_cache_bytes(length)
        assert needed.total == needed.weights + needed.workspace + needed.kv_cache
        assert (needed.limit, needed.fits, needed.advice) == CPU_LIMITS

    @settings(max_examples=20)
    @given(st.lists(st.integers(1, 80), min_size=1, max_size=4), st.integers(1, 3))
    def test_the_workspace_is_what_the_largest_batch_makes_it(
        self, batches: list[int], threads: int
    ) -> None:
        model = gptoss.Model(model_path(), backend="cpu", threads=threads)
        for batch in batches:
            context = gptoss.Context(model, max_batch_tokens=batch)
            context.append([5] * batch)
            context.process()
        assert model.memory.workspace == model.memory_needed(0, max(batches)).workspace

    def test_batches_are_never_longer_than_the_context(self, demo: gptoss.Model) -> None:
        assert demo.memory_needed(20, 1000) == demo.memory_needed(20, 20)
        assert demo.memory_needed(20, 10).workspace < demo.memory_needed(20, 20).workspace

    def test_by_default_batches_are_of_512_and_contexts_as_long_as_can_be(
        self, demo: gptoss.Model
    ) -> None:
        assert demo.memory_needed() == demo.memory_needed(demo.max_context_length, 512)

    @pytest.mark.parametrize(("length", "batch"), [(-1, 0), (0, -1), (131073, 0)])
    def test_lengths_out_of_range_are_errors(
        self, demo: gptoss.Model, length: int, batch: int
    ) -> None:
        with pytest.raises(ValueError, match=r"-1|131073 tokens is longer than the model's 131072"):
            demo.memory_needed(length, batch)

    def test_an_unknown_backend_is_an_error(self, demo: gptoss.Model) -> None:
        with pytest.raises(ValueError, match="auto, cpu, metal, not 'gpu'"):
            demo.memory_needed(100, backend="gpu")

    def test_a_backend_that_is_not_in_the_build_is_an_error(self, demo: gptoss.Model) -> None:
        if not without_metal():
            pytest.skip("this build has the Metal backend")
        with pytest.raises(gptoss.BackendError, match="use the backend 'cpu'"):
            demo.memory_needed(100, backend="metal")


class TestDeviceInfo:
    def test_the_cpu_is_this_machine(self) -> None:
        info = gptoss.device_info("cpu")
        assert info.backend == "cpu"
        assert info.name
        assert info.operating_system.split()[0] == os.uname().sysname
        assert info.physical_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert (info.recommended_bytes, info.max_buffer_bytes) == (None, None)

    def test_auto_is_what_models_run_on(self) -> None:
        assert gptoss.device_info().backend == gptoss.Model().backend

    def test_an_unknown_backend_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="auto, cpu, metal, not 'gpu'"):
            gptoss.device_info("gpu")

    def test_a_backend_that_is_not_in_the_build_is_an_error(self) -> None:
        if not without_metal():
            pytest.skip("this build has the Metal backend")
        with pytest.raises(gptoss.BackendError, match="use the backend 'cpu'"):
            gptoss.device_info("metal")
