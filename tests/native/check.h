// A test program in a few lines:
//
//     TEST(sums_are_exact) { CHECK_EQUAL(1 + 1, 2); }
//
// Link with check_main.cpp. A failed check is printed with its place and values and the test goes on; a test that
// throws has failed. Checks may be made from several threads.
#pragma once

#include <functional>
#include <sstream>
#include <string>

#include "errors.h"

namespace check {

struct Registration {
    Registration(const char* name, void (*body)());
};

// Counts and prints a failure of the running test.
void report_failure(const char* file, int line, const std::string& what);

template <class Left, class Right>
void equal(const Left& left, const Right& right, const char* expression, const char* file, int line) {
    if (!(left == right)) {
        std::ostringstream what;
        what << expression << ": " << left << " is not " << right;
        report_failure(file, line, what.str());
    }
}

void close(double left, double right, double tolerance, const char* expression, const char* file, int line);

// The call must throw gptoss::Error with this status and a sentence that contains `part`.
void fails(gptoss_status status,
           const std::string& part,
           const std::function<void()>& call,
           const char* expression,
           const char* file,
           int line);

} // namespace check

#define TEST(name)                                                         \
    static void name();                                                    \
    static const check::Registration registration_of_##name(#name, &name); \
    static void name()

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            check::report_failure(__FILE__, __LINE__, #condition " is false"); \
        }                                                                      \
    } while (false)

#define CHECK_EQUAL(left, right) check::equal((left), (right), #left " == " #right, __FILE__, __LINE__)

// |left - right| <= tolerance; false if either is NaN.
#define CHECK_CLOSE(left, right, tolerance) \
    check::close((left), (right), (tolerance), #left " == " #right, __FILE__, __LINE__)

#define CHECK_FAILS(status, part, call) check::fails((status), (part), [&] { call; }, #call, __FILE__, __LINE__)

// For the C API: the call must succeed, or fail with this status.
#define CHECK_SUCCESS(call) CHECK_STATUS(gptoss_status_success, call)
#define CHECK_STATUS(status, call)                                                                             \
    do {                                                                                                       \
        const gptoss_status actual_status = (call);                                                            \
        if (actual_status != (status)) {                                                                       \
            check::report_failure(__FILE__, __LINE__,                                                          \
                                  std::string(#call " returned ") + gptoss_status_name(actual_status) + " (" + \
                                      gptoss_last_error() + "), expected " + gptoss_status_name(status));      \
        }                                                                                                      \
    } while (false)
