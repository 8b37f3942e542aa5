"""Checks source/metal/device.mm, which is for macOS alone, on any machine.

`include/` declares by hand what device.mm calls of Metal and Foundation. zig, which carries clang
and the open headers of macOS, compiles device.mm against it for arm64: a call that is not declared
is an error, and so is a call that is newer than the oldest system and has no guard.

`python -m metal_declarations check FOLDER` compares every declaration with two descriptions of
Apple's SDK, which `python -m metal_declarations fetch FOLDER` has pip download:

- what PyObjC's maintainers scan from the SDK's headers (pyobjc-framework-Metal and -Cocoa): owners,
  selectors, types, values of enumerators, and since when each method, function and constant exists;
- Apple's metal-cpp, which the package mlx-metal carries: selectors and values of enumerators.

Not checked, because neither says it: since when single enumerators exist, nullability, and who owns
what is returned (by Objective-C's convention, `new...` returns a retained object).
"""
