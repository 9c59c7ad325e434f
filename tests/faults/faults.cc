#include "tests/faults/faults.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>

namespace lightcap::internal::testing {
namespace {

std::atomic<size_t> allocations{0}, failing_allocation{0};
std::atomic<long> blocks{0};

void (*allocation_failed)() = nullptr;

// Counts an allocation; true where it shall fail.
bool allocation_fails() {
  if (allocations.fetch_add(1) + 1 != failing_allocation.load()) return false;
  if (allocation_failed != nullptr) allocation_failed();
  return true;
}

void* counted(void* memory) {
  if (memory != nullptr) blocks.fetch_add(1);
  return memory;
}

std::atomic<size_t> calls{0}, failing_call{0};
std::atomic<IoFault> io_fault{IoFault::kNone};
std::atomic<const char*> failed_function{nullptr};

std::mutex opening_mutex;
std::string awaited_path;
void (*opening_action)(const std::string& path) = nullptr;

// Functions differ in what they can say when they fail.
enum class Kind { kTransfer, kTransferOut, kOther };

// Counts a call; true where it shall fail, with errno set. For kShort, `size` becomes 1 instead.
bool call_fails(const char* function, Kind kind, size_t* size = nullptr) {
  if (calls.fetch_add(1) + 1 != failing_call.load()) return false;
  const IoFault fault = io_fault.load();
  const bool transfers = kind != Kind::kOther;
  if (fault == IoFault::kNone || (fault == IoFault::kNoSpace && kind == Kind::kTransfer)) {
    return false;
  }
  if (!transfers && (fault == IoFault::kInterrupted || fault == IoFault::kShort)) return false;
  failed_function = function;
  if (fault == IoFault::kShort) {
    if (*size > 1) *size = 1;
    return false;
  }
  errno = fault == IoFault::kEio ? EIO : fault == IoFault::kNoSpace ? ENOSPC : EINTR;
  return true;
}

int opened(int file, const char* path) {
  void (*action)(const std::string&) = nullptr;
  {
    const std::lock_guard lock(opening_mutex);
    if (file >= 0 && opening_action != nullptr && path == awaited_path) {
      std::swap(action, opening_action);
    }
  }
  if (action != nullptr) action(path);
  return file;
}

}  // namespace

AllocationFault::AllocationFault(size_t nth) {
  allocations = 0;
  failing_allocation = nth;
}
AllocationFault::~AllocationFault() { failing_allocation = 0; }
size_t AllocationFault::count() const { return allocations; }

void when_allocation_fails(void (*action)()) { allocation_failed = action; }

long live_blocks() { return blocks; }

IoFaultAt::IoFaultAt(IoFault fault, size_t nth) {
  calls = 0;
  failed_function = nullptr;
  io_fault = fault;
  failing_call = nth;
}
IoFaultAt::~IoFaultAt() { failing_call = 0; }
size_t IoFaultAt::count() const { return calls; }
std::string IoFaultAt::failed() const {
  const char* name = failed_function;
  return name == nullptr ? "" : name;
}

void after_opening(const std::string& path, void (*action)(const std::string& path)) {
  const std::lock_guard lock(opening_mutex);
  awaited_path = path;
  opening_action = action;
}

}  // namespace lightcap::internal::testing

using namespace lightcap::internal::testing;

// The linker sends the project's calls of `function` to __wrap_function, and leads
// __real_function back to the C library's or a sanitizer's (--wrap).
extern "C" {

void* __real_malloc(size_t);
void* __wrap_malloc(size_t bytes) {
  return allocation_fails() ? nullptr : counted(__real_malloc(bytes));
}

void* __real_calloc(size_t, size_t);
void* __wrap_calloc(size_t count, size_t bytes) {
  return allocation_fails() ? nullptr : counted(__real_calloc(count, bytes));
}

void* __real_realloc(void*, size_t);
void* __wrap_realloc(void* memory, size_t bytes) {
  if (allocation_fails()) return nullptr;
  void* moved = __real_realloc(memory, bytes);
  return memory == nullptr ? counted(moved) : moved;
}

void* __real_aligned_alloc(size_t, size_t);
void* __wrap_aligned_alloc(size_t alignment, size_t bytes) {
  return allocation_fails() ? nullptr : counted(__real_aligned_alloc(alignment, bytes));
}

void __real_free(void*);
void __wrap_free(void* memory) {
  if (memory != nullptr) blocks.fetch_sub(1);
  __real_free(memory);
}

ssize_t __real_read(int, void*, size_t);
ssize_t __wrap_read(int file, void* to, size_t size) {
  return call_fails("read", Kind::kTransfer, &size) ? -1 : __real_read(file, to, size);
}

ssize_t __real_pread(int, void*, size_t, off_t);
ssize_t __wrap_pread(int file, void* to, size_t size, off_t at) {
  return call_fails("pread", Kind::kTransfer, &size) ? -1 : __real_pread(file, to, size, at);
}

ssize_t __real_write(int, const void*, size_t);
ssize_t __wrap_write(int file, const void* from, size_t size) {
  return call_fails("write", Kind::kTransferOut, &size) ? -1 : __real_write(file, from, size);
}

ssize_t __real_pwrite(int, const void*, size_t, off_t);
ssize_t __wrap_pwrite(int file, const void* from, size_t size, off_t at) {
  return call_fails("pwrite", Kind::kTransferOut, &size) ? -1 : __real_pwrite(file, from, size, at);
}

// Nothing here needs to outlive a power failure, and disks are slow.
int __wrap_fsync(int) { return call_fails("fsync", Kind::kOther) ? -1 : 0; }

// As Linux does it: the file is closed all the same.
int __real_close(int);
int __wrap_close(int file) {
  const int result = __real_close(file);
  return call_fails("close", Kind::kOther) ? -1 : result;
}

int __real_ftruncate(int, off_t);
int __wrap_ftruncate(int file, off_t size) {
  return call_fails("ftruncate", Kind::kOther) ? -1 : __real_ftruncate(file, size);
}

int __real_posix_fallocate(int, off_t, off_t);
int __wrap_posix_fallocate(int file, off_t at, off_t size) {
  return call_fails("posix_fallocate", Kind::kOther) ? errno
                                                     : __real_posix_fallocate(file, at, size);
}

int __real_fstat(int, struct stat*);
int __wrap_fstat(int file, struct stat* info) {
  return call_fails("fstat", Kind::kOther) ? -1 : __real_fstat(file, info);
}

void* __real_mmap(void*, size_t, int, int, int, off_t);
void* __wrap_mmap(void* address, size_t size, int protection, int flags, int file, off_t at) {
  return call_fails("mmap", Kind::kOther) ? MAP_FAILED
                                          : __real_mmap(address, size, protection, flags, file, at);
}

int __real_rename(const char*, const char*);
int __wrap_rename(const char* from, const char* to) {
  return call_fails("rename", Kind::kOther) ? -1 : __real_rename(from, to);
}

int __real_renameat(int, const char*, int, const char*);
int __wrap_renameat(int from_folder, const char* from, int to_folder, const char* to) {
  return call_fails("renameat", Kind::kOther) ? -1
                                              : __real_renameat(from_folder, from, to_folder, to);
}

int __real_linkat(int, const char*, int, const char*, int);
int __wrap_linkat(int from_folder, const char* from, int to_folder, const char* to, int flags) {
  return call_fails("linkat", Kind::kOther)
             ? -1
             : __real_linkat(from_folder, from, to_folder, to, flags);
}

int __real_mkstemp(char*);
int __wrap_mkstemp(char* name) {
  return call_fails("mkstemp", Kind::kOther) ? -1 : __real_mkstemp(name);
}

FILE* __real_fopen(const char*, const char*);
FILE* __wrap_fopen(const char* path, const char* mode) {
  return call_fails("fopen", Kind::kOther) ? nullptr : __real_fopen(path, mode);
}

// The mode is read where the caller passed one.
int __real_open(const char*, int, ...);
int __wrap_open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return call_fails("open", Kind::kOther) ? -1 : opened(__real_open(path, flags, mode), path);
}

int __real_openat(int, const char*, int, ...);
int __wrap_openat(int folder, const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
    va_list more;
    va_start(more, flags);
    mode = va_arg(more, mode_t);
    va_end(more);
  }
  return call_fails("openat", Kind::kOther)
             ? -1
             : opened(__real_openat(folder, path, flags, mode), path);
}

}  // extern "C"

namespace {

void* allocate(size_t bytes) {
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}

void* allocate(size_t bytes, std::align_val_t alignment) {
  const auto multiple = static_cast<size_t>(alignment);
  const size_t rounded = (bytes + multiple - 1) / multiple * multiple;
  if (void* memory = std::aligned_alloc(multiple, rounded == 0 ? multiple : rounded)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// Every operator new of the program passes here, the C++ runtime's included.
void* operator new(size_t bytes) { return allocate(bytes); }
void* operator new[](size_t bytes) { return allocate(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment) { return allocate(bytes, alignment); }
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, alignment);
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
