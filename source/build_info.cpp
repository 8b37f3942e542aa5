#include "build_info.h"

#include <cstdio>

namespace gptoss {

namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "GCC " __VERSION__;
#else
constexpr const char* kCompiler = "";
#endif

} // namespace

gptoss_build_info build_info() {
    gptoss_build_info info = {};
    std::snprintf(info.commit, sizeof(info.commit), "%s", GPTOSS_COMMIT);
    std::snprintf(info.compiler, sizeof(info.compiler), "%s", kCompiler);
    return info;
}

} // namespace gptoss
