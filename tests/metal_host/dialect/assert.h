// assert, of which Metal keeps nothing but the types of its condition.
#pragma once

#define assert(condition) ((void)(condition))
