// A fast hash of texts, the same everywhere and for ever.
#ifndef LIGHTCAP_ENGINE_TEXT_FNV1A_H_
#define LIGHTCAP_ENGINE_TEXT_FNV1A_H_

#include <cstdint>
#include <string_view>

namespace lightcap::internal {

// FNV-1a, of 64 bits. Its lowest bit is the parity of the bytes' lowest bits alone.
constexpr uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_FNV1A_H_
