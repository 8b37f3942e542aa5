// assert(condition): one that does not hold ends the launch, with its text and place. Metal's metal_assert.
#pragma once

#include "caller.h"

#define METAL_HOST_QUOTE(x) #x
#define METAL_HOST_QUOTE_VALUE(x) METAL_HOST_QUOTE(x)

#undef assert
#define assert(condition) \
    ((condition)          \
         ? (void)0        \
         : metal_host::fail("assert(" #condition ") does not hold at " __FILE__ ":" METAL_HOST_QUOTE_VALUE(__LINE__)))
