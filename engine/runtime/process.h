// Telling a process from the one that it was forked from.
#ifndef LIGHTCAP_ENGINE_RUNTIME_PROCESS_H_
#define LIGHTCAP_ENGINE_RUNTIME_PROCESS_H_

#include <cstdint>
#include <mutex>

namespace lightcap::internal {

// A number that a forked child does not share with its parent, never 0. A child has the memory of
// its parent but none of its threads: whoever owns threads or waits for some remembers this number
// and compares it later.
uint64_t this_process();

// One for the whole process, for short work: a fork waits for it, so that no child finds it held by
// a thread that the child does not have, or finds what it guards half changed.
std::mutex& fork_safe_mutex();

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_PROCESS_H_
