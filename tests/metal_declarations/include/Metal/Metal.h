// What source/metal/device.mm uses of Metal, declared by hand: see Foundation.h, which is beside it.
#pragma once

#include <Foundation/Foundation.h>

@protocol MTLAllocation;
@protocol MTLBinaryArchive;
@protocol MTLBuffer;
@protocol MTLCommandBuffer;
@protocol MTLCommandQueue;
@protocol MTLComputeCommandEncoder;
@protocol MTLComputePipelineState;
@protocol MTLFunction;
@protocol MTLLibrary;
@protocol MTLResidencySet;
@class MTLBinaryArchiveDescriptor, MTLCommandBufferDescriptor, MTLCompileOptions, MTLComputePipelineDescriptor;
@class MTLComputePipelineReflection, MTLFunctionConstantValues, MTLResidencySetDescriptor;

typedef struct {
    NSUInteger width, height, depth;
} MTLSize;

static inline MTLSize MTLSizeMake(NSUInteger width, NSUInteger height, NSUInteger depth) {
    return {width, height, depth};
}

// ---- Device

typedef enum MTLGPUFamily : NSInteger { MTLGPUFamilyApple7 = 1007 } MTLGPUFamily API_AVAILABLE(macos(10.15));

typedef enum MTLResourceOptions : NSUInteger {
    MTLResourceStorageModeShared API_AVAILABLE(macos(10.11)) = 0,
    MTLResourceHazardTrackingModeUntracked API_AVAILABLE(macos(10.13)) = 0x100,
} MTLResourceOptions API_AVAILABLE(macos(10.11));

typedef enum MTLPipelineOption : NSUInteger {
    MTLPipelineOptionNone = 0,
    MTLPipelineOptionFailOnBinaryArchiveMiss API_AVAILABLE(macos(11.0)) = 4,
} MTLPipelineOption API_AVAILABLE(macos(10.11));

typedef __autoreleasing MTLComputePipelineReflection* MTLAutoreleasedComputePipelineReflection;

API_AVAILABLE(macos(10.11))
@protocol MTLDevice <NSObject>
@property(readonly) NSString* name;
@property(readonly) uint64_t recommendedMaxWorkingSetSize API_AVAILABLE(macos(10.12));
@property(readonly) NSUInteger maxBufferLength API_AVAILABLE(macos(10.14));
@property(readonly) NSUInteger currentAllocatedSize API_AVAILABLE(macos(10.13));
- (BOOL)supportsFamily:(MTLGPUFamily)gpuFamily API_AVAILABLE(macos(10.15));
- (id<MTLCommandQueue>)newCommandQueue;
- (id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                   length:(NSUInteger)length
                                  options:(MTLResourceOptions)options
                              deallocator:(void (^)(void* pointer, NSUInteger length))deallocator;
- (id<MTLLibrary>)newLibraryWithData:(dispatch_data_t)data error:(__autoreleasing NSError**)error;
- (id<MTLLibrary>)newLibraryWithSource:(NSString*)source
                               options:(MTLCompileOptions*)options
                                 error:(__autoreleasing NSError**)error;
- (id<MTLComputePipelineState>)newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                                             options:(MTLPipelineOption)options
                                                          reflection:
                                                              (MTLAutoreleasedComputePipelineReflection*)reflection
                                                               error:(__autoreleasing NSError**)error;
- (id<MTLBinaryArchive>)newBinaryArchiveWithDescriptor:(MTLBinaryArchiveDescriptor*)descriptor
                                                 error:(NSError**)error API_AVAILABLE(macos(11.0));
- (id<MTLResidencySet>)newResidencySetWithDescriptor:(MTLResidencySetDescriptor*)desc
                                               error:(NSError**)error API_AVAILABLE(macos(15.0));
@end

extern "C" id<MTLDevice> MTLCreateSystemDefaultDevice(void) NS_RETURNS_RETAINED API_AVAILABLE(macos(10.11));

// ---- Memory

API_AVAILABLE(macos(15.0))
@protocol MTLAllocation <NSObject>
@end

API_AVAILABLE(macos(10.11))
@protocol MTLResource <MTLAllocation>
@property(copy, atomic) NSString* label;
@end

API_AVAILABLE(macos(10.11))
@protocol MTLBuffer <MTLResource>
@property(readonly) NSUInteger length;
- (void*)contents NS_RETURNS_INNER_POINTER;
@end

API_AVAILABLE(macos(15.0))
@interface MTLResidencySetDescriptor : NSObject
@end

API_AVAILABLE(macos(15.0))
@protocol MTLResidencySet <NSObject>
- (void)requestResidency API_AVAILABLE(macos(15.0));
- (void)addAllocation:(id<MTLAllocation>)allocation API_AVAILABLE(macos(15.0));
- (void)removeAllocation:(id<MTLAllocation>)allocation API_AVAILABLE(macos(15.0));
- (void)commit API_AVAILABLE(macos(15.0));
@end

// ---- Kernels

typedef enum MTLLanguageVersion : NSUInteger {
    MTLLanguageVersion3_0 API_AVAILABLE(macos(13.0)) = (3 << 16) + 0,
} MTLLanguageVersion API_AVAILABLE(macos(10.11));

typedef enum MTLMathMode : NSInteger {
    MTLMathModeSafe = 0,
    MTLMathModeFast = 2,
} MTLMathMode API_AVAILABLE(macos(15.0));

typedef enum MTLDataType : NSUInteger { MTLDataTypeUInt = 33 } MTLDataType API_AVAILABLE(macos(10.11));

API_AVAILABLE(macos(10.11))
@interface MTLCompileOptions : NSObject
@property(readwrite, nonatomic) BOOL fastMathEnabled API_DEPRECATED("Use mathMode instead", macos(10.11, 15.0));
@property(readwrite, nonatomic) MTLMathMode mathMode API_AVAILABLE(macos(15.0));
@property(readwrite, nonatomic) MTLLanguageVersion languageVersion API_AVAILABLE(macos(10.11));
@end

API_AVAILABLE(macos(10.12))
@interface MTLFunctionConstantValues : NSObject
- (void)setConstantValue:(const void*)value type:(MTLDataType)type atIndex:(NSUInteger)index;
@end

API_AVAILABLE(macos(10.11))
@protocol MTLFunction <NSObject>
@end

API_AVAILABLE(macos(10.11))
@protocol MTLLibrary <NSObject>
- (id<MTLFunction>)newFunctionWithName:(NSString*)name
                        constantValues:(MTLFunctionConstantValues*)constantValues
                                 error:(__autoreleasing NSError**)error API_AVAILABLE(macos(10.12));
@end

API_AVAILABLE(macos(11.0))
@interface MTLBinaryArchiveDescriptor : NSObject
@property(readwrite, nonatomic, copy) NSURL* url;
@end

API_AVAILABLE(macos(11.0))
@protocol MTLBinaryArchive <NSObject>
- (BOOL)addComputePipelineFunctionsWithDescriptor:(MTLComputePipelineDescriptor*)descriptor error:(NSError**)error;
- (BOOL)serializeToURL:(NSURL*)url error:(NSError**)error;
@end

API_AVAILABLE(macos(10.11))
@interface MTLComputePipelineDescriptor : NSObject
@property(readwrite, nonatomic, strong) id<MTLFunction> computeFunction;
@property(readwrite, nonatomic, copy) NSArray<id<MTLBinaryArchive>>* binaryArchives API_AVAILABLE(macos(11.0));
@end

API_AVAILABLE(macos(10.11))
@protocol MTLComputePipelineState <MTLAllocation, NSObject>
@property(readonly) NSUInteger maxTotalThreadsPerThreadgroup;
@end

// ---- Commands

typedef enum MTLCommandBufferErrorOption : NSUInteger {
    MTLCommandBufferErrorOptionEncoderExecutionStatus = 1,
} MTLCommandBufferErrorOption API_AVAILABLE(macos(11.0));

typedef enum MTLCommandBufferStatus : NSUInteger {
    MTLCommandBufferStatusCompleted = 4,
} MTLCommandBufferStatus API_AVAILABLE(macos(10.11));

typedef enum MTLCommandBufferError : NSUInteger {
    MTLCommandBufferErrorOutOfMemory = 8,
} MTLCommandBufferError API_AVAILABLE(macos(10.11));

typedef enum MTLCommandEncoderErrorState : NSInteger {
    MTLCommandEncoderErrorStateAffected = 2,
} MTLCommandEncoderErrorState API_AVAILABLE(macos(11.0));

typedef enum MTLDispatchType : NSUInteger { MTLDispatchTypeConcurrent = 1 } MTLDispatchType API_AVAILABLE(macos(10.14));
typedef enum MTLBarrierScope : NSUInteger { MTLBarrierScopeBuffers = 1 } MTLBarrierScope API_AVAILABLE(macos(10.14));

extern "C" NSErrorUserInfoKey const MTLCommandBufferEncoderInfoErrorKey API_AVAILABLE(macos(11.0));

API_AVAILABLE(macos(11.0))
@protocol MTLCommandBufferEncoderInfo <NSObject>
@property(readonly, nonatomic) MTLCommandEncoderErrorState errorState;
@end

API_AVAILABLE(macos(11.0))
@interface MTLCommandBufferDescriptor : NSObject
@property(readwrite, nonatomic) MTLCommandBufferErrorOption errorOptions;
@end

API_AVAILABLE(macos(10.11))
@protocol MTLCommandQueue <NSObject>
- (id<MTLCommandBuffer>)commandBufferWithDescriptor:(MTLCommandBufferDescriptor*)descriptor API_AVAILABLE(macos(11.0));
- (void)addResidencySet:(id<MTLResidencySet>)residencySet API_AVAILABLE(macos(15.0));
@end

typedef void (^MTLCommandBufferHandler)(id<MTLCommandBuffer>) API_AVAILABLE(macos(10.11));

API_AVAILABLE(macos(10.11))
@protocol MTLCommandBuffer <NSObject>
@property(copy, atomic) NSString* label;
@property(readonly) CFTimeInterval GPUStartTime API_AVAILABLE(macos(10.15));
@property(readonly) CFTimeInterval GPUEndTime API_AVAILABLE(macos(10.15));
@property(readonly) MTLCommandBufferStatus status;
@property(readonly) NSError* error;
- (id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)dispatchType
    API_AVAILABLE(macos(10.14));
- (void)addCompletedHandler:(MTLCommandBufferHandler)block;
- (void)commit;
@end

API_AVAILABLE(macos(10.11))
@protocol MTLCommandEncoder <NSObject>
@property(copy, atomic) NSString* label;
- (void)endEncoding;
@end

API_AVAILABLE(macos(10.11))
@protocol MTLComputeCommandEncoder <MTLCommandEncoder>
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state;
- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index API_AVAILABLE(macos(10.11));
- (void)setBuffer:(id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index;
- (void)setThreadgroupMemoryLength:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)dispatchThreadgroups:(MTLSize)threadgroupsPerGrid threadsPerThreadgroup:(MTLSize)threadsPerThreadgroup;
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope API_AVAILABLE(macos(10.14));
@end
