// The checks of `gptoss selftest`: they pass where kernels are right, and do not where one is wrong.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "metal/selftest/checks.h"
#include "selftest.h"
#include "stepping_device.h"

using namespace gptoss;
using namespace gptoss::metal;

namespace {

std::string name(const KernelCheck& check) {
    return check.kernel + " (" + check.shape + ")";
}

// Every kernel that metal/ offers: instances of templates by their host_name, others by their own.
std::set<std::string> kernels_of_the_library() {
    std::set<std::string> kernels;
    for (const auto& file : std::filesystem::directory_iterator(GPTOSS_KERNEL_FOLDER)) {
        std::ostringstream text;
        if (file.path().extension() == ".metal") {
            text << std::ifstream(file.path()).rdbuf();
        }
        const std::string source = text.str();
        const std::regex instance("host_name\\(\\s*\"(\\w+)\"");
        const std::regex plain("kernel void\\s+(\\w+)\\(");
        for (std::sregex_iterator match(source.begin(), source.end(), instance), end; match != end; ++match) {
            kernels.insert((*match)[1]);
        }
        for (std::sregex_iterator match(source.begin(), source.end(), plain), end; match != end; ++match) {
            // Its attributes and, of a template, its parameters are in the lines before.
            const size_t begin = static_cast<size_t>(match->position());
            const size_t blank = source.rfind("\n\n", begin);
            if (source.substr(blank, begin - blank).find("\ntemplate <") == std::string::npos) {
                kernels.insert((*match)[1]);
            }
        }
    }
    return kernels;
}

} // namespace

TEST(every_check_passes) {
    size_t num_calls = 0;
    const auto callback = [](void* user_data, size_t num_done, size_t num_total, const gptoss_kernel_check* check) {
        CHECK_EQUAL(++*static_cast<size_t*>(user_data), num_done);
        CHECK_EQUAL(num_total, kernel_checks().size());
        if (check->passed != 1) {
            check::report_failure(__FILE__, __LINE__, std::string(check->kernel) + ": " + check->message);
        }
        CHECK_EQUAL(std::string(check->message), "");
        CHECK(check->largest_difference <= check->tolerance);
        return 0;
    };
    selftest_kernels(gptoss_backend_metal, callback, &num_calls);
    CHECK_EQUAL(num_calls, kernel_checks().size());
}

TEST(every_kernel_is_checked_and_every_check_launches_its_kernel) {
    const std::unique_ptr<Device> device = open_device();
    std::set<std::string> checked;
    for (const KernelCheck& check : kernel_checks()) {
        SteppingDevice stepping(*device);
        Pipelines pipelines(stepping);
        stepping.left_out = check.kernel;
        const Verdict verdict = run_check(check, stepping, pipelines);
        if (!stepping.launched.contains(check.kernel)) {
            check::report_failure(__FILE__, __LINE__, name(check) + " does not launch the kernel that it checks");
        } else if (verdict.message.empty()) {
            check::report_failure(__FILE__, __LINE__, name(check) + " passes although its kernel did not run");
        }
        checked.insert(check.kernel);
    }
    const std::set<std::string> kernels = kernels_of_the_library();
    // A kernel, an instance of a template, and the template, which is no kernel.
    CHECK(kernels.contains("embed") && kernels.contains("attention_decode_8") && !kernels.contains("attention_decode"));
    CHECK_EQUAL(kernels.size(), checked.size());
    for (const std::string& kernel : kernels) {
        if (!checked.contains(kernel)) {
            check::report_failure(__FILE__, __LINE__, "no check for the kernel " + kernel);
        }
    }
}

#if !defined(__SANITIZE_THREAD__) // minutes, and no thread that the other tests have not
TEST(a_wrong_number_anywhere_is_found) {
    const std::unique_ptr<Device> device = open_device();
    uint32_t salt = 0;
    for (const KernelCheck& check : kernel_checks()) {
        if (check.kernel == "sample_top_tokens") {
            continue; // most of what it writes is used up by itself
        }
        SteppingDevice stepping(*device);
        Pipelines pipelines(stepping);
        stepping.spoilt = check.kernel;
        // What this one leaves is compared only after the kernel that reads it.
        stepping.spoils_at_once = check.kernel.starts_with("attention_decode");
        stepping.salt = ++salt;
        if (run_check(check, stepping, pipelines).message.empty()) {
            check::report_failure(__FILE__, __LINE__, name(check) + " passes with a wrong number in what it wrote");
        }
    }
}
#endif

TEST(numbers_are_judged_by_the_tolerance) {
    const std::unique_ptr<Device> device = open_device();
    Pipelines pipelines(*device);
    const auto judge = [&](const std::vector<double>& actual, double tolerance) {
        Trial trial(*device, pipelines, "a kernel");
        trial.expect_close("rows", actual, {1, -4, 0}, tolerance);
        return trial.verdict();
    };
    CHECK_EQUAL(judge({1, -4, 0}, 0).message, "");
    CHECK_EQUAL(judge({1, -4, 0.0039}, 1e-3).message, "");
    CHECK_CLOSE(judge({1, -4, 0.002}, 1e-3).largest_difference, 0.0005, 1e-12);
    CHECK_EQUAL(judge({1, -4.0041, 0}, 1e-3).message,
                "rows: element 1 of 3 is -4.0041, expected -4 (the greatest is 4)");
    CHECK(!judge({1, -4, NAN}, 1e9).message.empty());
    CHECK(std::isnan(judge({NAN, -4, 0}, 1).largest_difference));
    CHECK(!judge({1, -INFINITY, 0}, 1e9).message.empty());

    Trial trial(*device, pipelines, "a kernel");
    trial.expect_equal("tokens", std::vector<uint32_t>{7, 8}, std::vector<uint32_t>{7, 9});
    CHECK_EQUAL(trial.verdict().message, "tokens: element 1 of 2 is 8, expected 9");
}

TEST(inputs_are_the_same_at_every_run) {
    Random random(1);
    CHECK_EQUAL(random.bits(), 0x910A2DEC89025CC1u);
    double sum = 0;
    double squares = 0;
    for (const float value : random.normals<float>(10000)) {
        sum += value;
        squares += value * value;
    }
    CHECK_CLOSE(sum / 10000, 0, 0.05);
    CHECK_CLOSE(squares / 10000, 1, 0.05);
}

TEST(the_callback_stops_it) {
    size_t num_calls = 0;
    const auto callback = [](void* user_data, size_t, size_t, const gptoss_kernel_check*) {
        return ++*static_cast<size_t*>(user_data) == 2 ? 1 : 0;
    };
    CHECK_STATUS(gptoss_status_aborted, gptoss_selftest_kernels(gptoss_backend_metal, callback, &num_calls));
    CHECK_EQUAL(num_calls, 2u);
}

TEST(what_cannot_be_checked_is_an_error) {
    const auto callback = [](void*, size_t, size_t, const gptoss_kernel_check*) { return 1; };
    CHECK_STATUS(gptoss_status_unsupported_argument, gptoss_selftest_kernels(gptoss_backend_cpu, callback, nullptr));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_selftest_kernels(gptoss_backend_metal, nullptr, nullptr));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_selftest_kernels(static_cast<gptoss_backend>(9), callback, nullptr));
}

#ifdef GPTOSS_METAL_HOST

namespace {

struct Outcome {
    gptoss_status status;
    std::vector<std::string> messages; // of the checks, "" for those that passed
};

// The first `most` checks on a device with these faults.
Outcome run_with_faults(const std::string& faults, size_t most) {
    setenv("GPTOSS_METAL_HOST_FAULTS", faults.c_str(), 1);
    std::pair<std::vector<std::string>, size_t> seen = {{}, most};
    const auto callback = [](void* user_data, size_t num_done, size_t, const gptoss_kernel_check* check) {
        auto& [messages, limit] = *static_cast<decltype(seen)*>(user_data);
        messages.emplace_back(check->message);
        return num_done == limit ? 1 : 0;
    };
    const gptoss_status status = gptoss_selftest_kernels(gptoss_backend_metal, callback, &seen);
    unsetenv("GPTOSS_METAL_HOST_FAULTS");
    return {status, seen.first};
}

} // namespace

TEST(a_kernel_that_fails_is_told_and_the_others_go_on) {
    const std::string second = kernel_checks()[1].kernel;
    const Outcome not_compiled = run_with_faults("compile:" + second, 3);
    CHECK_EQUAL(not_compiled.messages.size(), 3u);
    CHECK_EQUAL(not_compiled.messages[0], "");
    CHECK(not_compiled.messages[1].find(second) != std::string::npos);
    CHECK_EQUAL(not_compiled.messages[2], "");

    const Outcome failed = run_with_faults("failure:2", 3);
    CHECK_EQUAL(failed.messages.size(), 3u);
    CHECK(failed.messages[1].find("self-test of " + second) != std::string::npos);
    CHECK_EQUAL(failed.messages[2], "");
}

TEST(no_device_and_one_that_stops_answering_end_it) {
    CHECK_EQUAL(run_with_faults("no_device", 3).status, gptoss_status_unsupported_system);
    setenv("GPTOSS_METAL_TIMEOUT", "0.5", 1);
    const Outcome hung = run_with_faults("hang:2", 10);
    unsetenv("GPTOSS_METAL_TIMEOUT");
    CHECK_EQUAL(hung.status, gptoss_status_internal_error);
    CHECK_EQUAL(hung.messages.size(), 1u);
    CHECK(std::string(gptoss_last_error()).find("stopped answering") != std::string::npos);
}

#endif
