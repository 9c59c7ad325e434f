// Memory that the system reads again when it is next used, so that it can be let go of: that of a
// mapped file.
#ifndef LIGHTCAP_ENGINE_RUNTIME_RELOADABLE_MEMORY_H_
#define LIGHTCAP_ENGINE_RUNTIME_RELOADABLE_MEMORY_H_

#include <cstddef>

namespace lightcap::internal {

class ReloadableMemory {
 public:
  virtual ~ReloadableMemory() = default;

  // How many of the `bytes` from `data` on release() lets go of: those in whole pages, or none
  // where the memory cannot be read again.
  virtual size_t releasable_bytes(const void* data, size_t bytes) const = 0;
  // Afterwards they take no memory until they are next read. Safe on several threads.
  virtual void release(const void* data, size_t bytes) const = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_RELOADABLE_MEMORY_H_
