#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <mutex>
#include <vector>

#include "check.h"

namespace check {
namespace {

struct Test {
    const char* name;
    void (*body)();
};

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

constexpr int kMaxPrintedFailures = 20; // of one test: a wrong kernel fails a million times
std::atomic<int> num_failures = 0;
std::mutex output_mutex;

} // namespace

Registration::Registration(const char* name, void (*body)()) {
    tests().push_back({name, body});
}

void report_failure(const char* file, int line, const std::string& what) {
    if (++num_failures <= kMaxPrintedFailures) {
        const std::lock_guard lock(output_mutex);
        std::printf("%s:%d: %s\n", file, line, what.c_str());
    }
}

void close(double left, double right, double tolerance, const char* expression, const char* file, int line) {
    if (!(std::fabs(left - right) <= tolerance)) {
        std::ostringstream what;
        what.precision(10);
        what << expression << ": " << left << " and " << right << " differ by " << left - right << ", more than "
             << tolerance;
        report_failure(file, line, what.str());
    }
}

void fails(gptoss_status status,
           const std::string& part,
           const std::function<void()>& call,
           const char* expression,
           const char* file,
           int line) {
    try {
        call();
        report_failure(file, line, std::string(expression) + " succeeded, expected " + gptoss_status_name(status));
    } catch (const gptoss::Error& error) {
        const std::string sentence = error.what();
        if (error.status() != status || sentence.find(part) == std::string::npos) {
            report_failure(file, line,
                           std::string(expression) + " failed with " + gptoss_status_name(error.status()) + ": \"" +
                               sentence + "\", expected " + gptoss_status_name(status) + " and \"" + part + "\"");
        }
    }
}

} // namespace check

int main() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0); // what was printed before a crash must be seen
    int num_failed_tests = 0;
    for (const check::Test& test : check::tests()) {
        check::num_failures = 0;
        try {
            test.body();
        } catch (const std::exception& error) {
            check::report_failure(test.name, 0, std::string("threw: ") + error.what());
        }
        const int failures = check::num_failures;
        num_failed_tests += failures != 0;
        std::printf("%s %s", failures == 0 ? "pass" : "FAIL", test.name);
        std::printf(failures == 0 ? "\n" : " (%d failed checks)\n", failures);
    }
    std::printf("%zu tests, %d failed\n", check::tests().size(), num_failed_tests);
    return num_failed_tests == 0 ? 0 : 1;
}
