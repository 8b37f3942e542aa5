// Metal's keywords, for the host's compiler. The address spaces mean nothing here; dialect.py checks them elsewhere.
// Only after every header of the system.
#pragma once

#define kernel
#define device
#define constant const
#define threadgroup // declarations of variables have been rewritten
#define thread
