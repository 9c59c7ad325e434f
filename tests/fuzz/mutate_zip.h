// Mutates zip archives entry by entry and writes them anew, so that headers, directory and
// checksums agree.
#ifndef LIGHTCAP_TESTS_FUZZ_MUTATE_ZIP_H_
#define LIGHTCAP_TESTS_FUZZ_MUTATE_ZIP_H_

#include <string>
#include <vector>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "tests/fuzz/mutate_pickle.h"
#include "weights_converter/checkpoint/zip_archive.h"

namespace lightcap::internal::fuzz {

struct PlainEntry {
  std::string name, data;
  bool deflated = false;
};

// The entries of a sound archive, unpacked; none for any other file.
inline std::vector<PlainEntry> zip_entries(const std::string& file) {
  std::vector<PlainEntry> entries;
  try {
    const ZipArchive archive(testing::as_bytes(file));
    for (const ZipEntry& entry : archive.entries()) {
      constexpr uint64_t kMost = uint64_t{1} << 20;
      if (entry.size > kMost) continue;
      const ZipBytes bytes = read_zip_entry(entry);
      entries.push_back(
          {std::string(entry.name), {bytes.bytes.begin(), bytes.bytes.end()}, entry.is_deflated()});
    }
  } catch (const Error&) {
    return {};
  }
  return entries;
}

inline std::string zip_of(const std::vector<PlainEntry>& entries, Random& random) {
  std::vector<testing::ZipMember> members;
  for (const PlainEntry& entry : entries) {
    testing::ZipMember member = entry.deflated ? testing::deflated_member(entry.name, entry.data)
                                               : testing::ZipMember{entry.name, entry.data};
    if (random.one_in(2)) member.crc32 = crc32(entry.data.data(), entry.data.size());
    members.push_back(std::move(member));
  }
  return testing::zip(members);
}

// Changes one entry, its name, or which entries there are.
inline std::string mutate_zip(const std::string& file, Random& random, size_t max_size) {
  std::vector<PlainEntry> entries = zip_entries(file);
  if (entries.empty()) return {};
  const size_t at = random.below(entries.size());
  PlainEntry& entry = entries[at];
  switch (random.below(8)) {
    case 0:
      entry.deflated = !entry.deflated;
      break;
    case 1:
      mutate_bytes(entry.name);
      break;
    case 2:
      entries.erase(entries.begin() + static_cast<ptrdiff_t>(at));
      break;
    case 3:
      entries.push_back({entry.name + std::to_string(random.below(10)), entry.data});
      break;
    default:
      // Most often the pickle, whichever was chosen.
      for (PlainEntry& other : entries) {
        if (!other.name.ends_with(".pkl") || random.one_in(4)) continue;
        other.data = mutate_pickle(other.data, random, max_size);
        return zip_of(entries, random);
      }
      mutate_bytes(entry.data);
  }
  return zip_of(entries, random);
}

}  // namespace lightcap::internal::fuzz

#endif  // LIGHTCAP_TESTS_FUZZ_MUTATE_ZIP_H_
