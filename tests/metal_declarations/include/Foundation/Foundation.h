// What source/metal/device.mm uses of Foundation, declared by hand: this is not Apple's header. It lets clang check
// device.mm where there is no Mac; check.py compares every line with what is known of Apple's. The Objective-C runtime,
// the dispatch library and <os/availability.h> are the real ones, which zig carries.
#pragma once

#include <dispatch/dispatch.h>
#include <objc/NSObject.h>
#include <os/availability.h>

#define NS_RETURNS_RETAINED __attribute__((ns_returns_retained))
#define NS_RETURNS_INNER_POINTER __attribute__((objc_returns_inner_pointer))

@class NSString, NSURL;

typedef double CFTimeInterval;
typedef NSString* NSErrorDomain;
typedef NSString* NSErrorUserInfoKey;

@interface NSString : NSObject
+ (instancetype)stringWithUTF8String:(const char*)nullTerminatedCString; // which @(text) calls
@property(readonly) const char* UTF8String;
@end

@interface NSArray<ObjectType> : NSObject
+ (instancetype)arrayWithObjects:(const ObjectType*)objects count:(NSUInteger)cnt; // which @[ object ] calls
@property(nonatomic, readonly) ObjectType firstObject API_AVAILABLE(macos(10.6));
@end

@interface NSDictionary<KeyType, ObjectType> : NSObject
- (ObjectType)objectForKeyedSubscript:(KeyType)key API_AVAILABLE(macos(10.8)); // which dictionary[key] calls
@end

@interface NSError : NSObject
@property(readonly, copy) NSErrorDomain domain;
@property(readonly) NSInteger code;
@property(readonly, copy) NSDictionary<NSErrorUserInfoKey, id>* userInfo;
@property(readonly, copy) NSString* localizedDescription;
@end

@interface NSURL : NSObject
+ (NSURL*)fileURLWithPath:(NSString*)path;
@end

typedef struct {
    NSInteger majorVersion;
    NSInteger minorVersion;
    NSInteger patchVersion;
} NSOperatingSystemVersion;

@interface NSProcessInfo : NSObject
@property(class, readonly, strong) NSProcessInfo* processInfo;
@property(readonly, copy) NSString* operatingSystemVersionString;
@property(readonly) NSOperatingSystemVersion operatingSystemVersion API_AVAILABLE(macos(10.10));
@property(readonly) unsigned long long physicalMemory API_AVAILABLE(macos(10.5));
@end

typedef enum NSSearchPathDirectory : NSUInteger { NSCachesDirectory = 13 } NSSearchPathDirectory;
typedef enum NSSearchPathDomainMask : NSUInteger { NSUserDomainMask = 1 } NSSearchPathDomainMask;

extern "C" NSArray<NSString*>* NSSearchPathForDirectoriesInDomains(NSSearchPathDirectory directory,
                                                                   NSSearchPathDomainMask domainMask,
                                                                   BOOL expandTilde);
