// Metal's address spaces as OpenCL's, and what is a keyword in Metal and nothing in OpenCL. Last of all headers,
// because `thread` and `device` are ordinary words to every other.
#pragma once

#define device __global
#define threadgroup __local
#define constant __constant
#define thread __private
#define kernel
#define METAL_FUNC inline
