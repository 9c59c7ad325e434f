// Damaged checkpoints give errors that say what is wrong: those of tests/checkpoint_corruptions.cc,
// and sound ones that are cut or changed anywhere.
#include "tests/checkpoint_corruptions.h"

#include <gtest/gtest.h>

#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "weights_converter/checkpoint/checkpoint.h"
#include "weights_converter/list.h"

namespace lightcap::internal::testing {
void PrintTo(const Corruption& corruption, std::ostream* out) { *out << corruption.name; }

namespace {

// The error that opening and listing gives, or "" where there is none.
std::string error_of(const std::string& file) {
  try {
    const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "folder/file.pt");
    list_tensors(checkpoint, ListStyle::kJson);
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCheckpoint) << error.what();
    return error.what();
  }
}

bool is_tar_file(const std::string& file) {
  return file.size() > 512 && file.substr(257, 5) == "ustar";
}

class CheckpointCorruption : public ::testing::TestWithParam<Corruption> {};

TEST_P(CheckpointCorruption, SaysWhatIsWrong) {
  const std::string error = error_of(GetParam().file);
  EXPECT_NE(error.find(GetParam().words), std::string::npos)
      << "expected: " << GetParam().words << "\nthe error is: " << error;
  EXPECT_TRUE(error.find("folder/") == 0) << "it does not begin with the file's name: " << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

INSTANTIATE_TEST_SUITE_P(All, CheckpointCorruption, ::testing::ValuesIn(all_corruptions()),
                         [](const auto& test) { return std::string(test.param.name); });

// The files that are damaged above are sound before, so that each error is the damage's.
TEST(CheckpointCorruption, SoundFilesAreRead) {
  for (const std::string& file : sound_checkpoints()) EXPECT_EQ(error_of(file), "");
}

// Cut anywhere, a file gives an error and nothing else.
TEST(CheckpointCorruption, EveryTruncationIsAnError) {
  for (const std::string& file : sound_checkpoints()) {
    // A tar is longer, and its last blocks are padding: the last member ends before them.
    const bool is_tar = is_tar_file(file);
    const size_t step = is_tar ? 7 : 1, padding = is_tar ? 1536 : 0;
    for (size_t size = 0; size + padding < file.size(); size += step) {
      EXPECT_NE(error_of(file.substr(0, size)), "") << "cut to " << size << " bytes";
    }
  }
}

// Any byte changed to anything: an answer or an error.
TEST(CheckpointCorruption, EveryFlippedByteIsSurvived) {
  for (const std::string& file : sound_checkpoints()) {
    for (size_t at = 0; at < file.size(); ++at) {
      for (const char flip : {'\x01', '\x80', '\xff', '\x20'}) {
        std::string changed = file;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        error_of(changed);
      }
    }
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
