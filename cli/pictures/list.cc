#include "cli/pictures/list.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "engine/runtime/error.h"
#include "engine/text/fnv1a.h"

namespace lightcap::internal::cli {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 32;
constexpr size_t kMaxShards = 1000000;

// A list with the wrong separator is one long name that no file has; better one clear error.
void check_name(const std::string& list, std::string_view name, bool zeros) {
  if (zeros || name.find('\0') == std::string_view::npos) return;
  throw Error(ErrorCode::kInput,
              name_of_input(list) + ": a name holds NUL; -0 is for lists in which NUL ends each");
}

// FNV-1a with its bits mixed, so that all of them depend on all bits of the text.
uint64_t mixed_hash(std::string_view text) {
  uint64_t hash = fnv1a(text);
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  return hash ^ (hash >> 33);
}

}  // namespace

std::vector<Input> read_list(const std::string& path, bool zeros) {
  const std::vector<uint8_t> bytes = read_input(path, kMaxBytes);
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<Input> pictures;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(zeros ? '\0' : '\n'), rest.size());
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (name.empty()) continue;
    check_name(path, name, zeros);
    // A file of this name, not standard input.
    pictures.push_back({name == kStandardInput ? "./-" : std::string(name), ""});
  }
  return pictures;
}

Shard parse_shard(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, shard.index);
  if (index.ec == std::errc() && index.ptr != end && *index.ptr == '/') {
    const auto count = std::from_chars(index.ptr + 1, end, shard.count);
    if (count.ec == std::errc() && count.ptr == end && shard.index >= 1 &&
        shard.index <= shard.count && shard.count <= kMaxShards)
      return shard;
  }
  throw Error(ErrorCode::kUsage,
              "--shard " + text + ": give I/N, the I-th of N parts, I from 1 to N");
}

void keep_shard(const Shard& shard, std::vector<Input>& pictures) {
  if (shard.count == 1) return;
  std::erase_if(pictures, [&](const Input& picture) {
    return mixed_hash(picture.path) % shard.count != shard.index - 1;
  });
}

}  // namespace lightcap::internal::cli
