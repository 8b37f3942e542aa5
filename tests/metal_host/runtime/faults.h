// Turns a kernel's access to memory that is not there, and its division by zero, into an error of the launch.
#pragma once

#include <functional>
#include <string>

namespace metal_host {

// While one exists, SIGSEGV, SIGBUS and SIGFPE of a kernel's thread end the launch; any other goes where it went
// before.
class fault_handler {
public:
    // `describe` says what is at an address, in words, or nothing if it does not know.
    explicit fault_handler(std::function<std::string(const void*)> describe);
    ~fault_handler();
    fault_handler(const fault_handler&) = delete;
    fault_handler& operator=(const fault_handler&) = delete;
};

// What is at an address: "byte 64 of buffer 2 ('output'), which has 64 bytes". Only while a fault_handler exists.
std::string describe_address(const void* address);

} // namespace metal_host
