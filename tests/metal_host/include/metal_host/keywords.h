// The Metal Shading Language's own keywords, as macros; and C++'s words that it lacks, as errors. MSL, 1.5 "Metal and C++",
// 4 "Address Spaces" and 5.1 "Functions".
//
// Included after all other headers, whose own words these are; end_of_kernels.h takes them back.
//
// `threadgroup T name[n];` in a kernel is made a reference to the threadgroup's memory before compilation; what remains of
// the word qualifies pointers.

#define kernel
#define device
#define constant const
#define threadgroup
#define thread

#define double Metal_has_no_double
#define std Metal_has_no_namespace_std

#define METAL_FUNC inline __attribute__((always_inline))
