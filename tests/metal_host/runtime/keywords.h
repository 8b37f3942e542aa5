// Metal's keywords, for the host's compiler. The address spaces mean nothing here; dialect.py checks them elsewhere.
// Only after every header of the system.
#pragma once

#define kernel
#define device
#define constant const
#define threadgroup // declarations of variables have been rewritten
#define thread

// What C++ has and Metal has not.
#define double Metal_has_no_double
#define std Metal_has_no_namespace_std
