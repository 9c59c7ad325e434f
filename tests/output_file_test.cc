// Files that appear complete or not at all: where links lead, what is replaced, what is left
// behind.
#include "engine/io/output_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>

#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"

namespace lightcap::internal::testing {
namespace {

constexpr uint8_t kBytes[] = {'n', 'e', 'w'};

void write_new(const std::string& path) {
  OutputFile file(path);
  file.append(kBytes);
  file.publish();
}

mode_t mode_of(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

TEST(OutputFile, PermissionsAreKeptButNeverSetuidBits) {
  const TemporaryFolder folder;
  write_text(folder / "file", "old");
  ASSERT_EQ(chmod((folder / "file").c_str(), 06751), 0);
  write_new(folder / "file");
  EXPECT_EQ(read_file(folder / "file"), "new");
  EXPECT_EQ(mode_of(folder / "file"), 0751u);
}

TEST(OutputFile, ALinkIsFollowedToAFileThatIsNotThereYet) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "there");
  std::filesystem::create_symlink("there/second", folder / "first");
  std::filesystem::create_symlink("file", folder / "there/second");
  write_new(folder / "first");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "first"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "there/second"));
  EXPECT_EQ(read_file(folder / "there/file"), "new");
}

TEST(OutputFile, PathsOfOneOutputAreKnownBeforeItIsThere) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "sub");
  std::filesystem::create_symlink("file", folder / "link");
  for (const char* same : {"file", "./file", "sub/../file", "link"}) {
    EXPECT_TRUE(is_same_output(folder / "file", folder / same)) << same;
    EXPECT_TRUE(is_same_output(folder / same, folder / "file")) << same;
  }
  for (const char* other : {"file2", "sub/file", "", "no folder/file"})
    EXPECT_FALSE(is_same_output(folder / "file", folder / other)) << other;
  EXPECT_FALSE(is_same_output("", ""));
}

TEST(OutputFile, ALoopOfLinksIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("b", folder / "a");
  std::filesystem::create_symlink("a", folder / "b");
  expect_has(error_of([&] { write_new(folder / "a"); }, ErrorCode::kOutput),
             "a: cannot write there: Too many levels of symbolic links");
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"a", "b"}));
}

TEST(OutputFile, NamesOfAnyLengthThatTheFileSystemHasAreWritten) {
  const TemporaryFolder folder;
  const std::string name(255, 'n');
  write_new(folder / name);
  EXPECT_EQ(folder.files(), std::vector<std::string>{name});
  expect_has(error_of([&] { write_new(folder / (name + "n")); }, ErrorCode::kOutput),
             "File name too long");
  EXPECT_EQ(folder.files(), std::vector<std::string>{name});
}

TEST(OutputFile, AWriteProtectedFileIsNotReplaced) {
  if (geteuid() == 0) GTEST_SKIP() << "the superuser may write everywhere";
  const TemporaryFolder folder;
  write_text(folder / "file", "old");
  ASSERT_EQ(chmod((folder / "file").c_str(), 0444), 0);
  expect_has(error_of([&] { write_new(folder / "file"); }, ErrorCode::kOutput),
             "the file that is there may not be written");
  EXPECT_EQ(read_file(folder / "file"), "old");
}

TEST(OutputFile, WhatWasReservedAndNotWrittenIsCutOff) {
  const TemporaryFolder folder;
  OutputFile file(folder / "file");
  file.reserve(100000);
  file.append(kBytes);
  file.publish();
  EXPECT_EQ(read_file(folder / "file"), "new");
}

TEST(OutputFile, AKilledProcessLeavesNothing) {
  const TemporaryFolder folder;
  EXPECT_EXIT(
      {
        OutputFile file(folder / "file");
        file.append(kBytes);
        file.write_at(0, kBytes);
        raise(SIGKILL);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  // A file system without nameless files has one left, until the next run.
  write_new(folder / "file");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"file"});
}

// The first temporary name of "file".
std::string temporary_name() {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : std::string("file")) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  char name[64];
  std::snprintf(name, sizeof name, ".lightcap-%016llx-0.tmp",
                static_cast<unsigned long long>(hash));
  return name;
}

TEST(OutputFile, WhatAKilledProcessLeftIsRemovedByTheNext) {
  const TemporaryFolder folder;
  write_text(folder / temporary_name(), "half");
  write_new(folder / "file");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"file"});
}

TEST(OutputFile, WhatAnotherProcessStillWritesIsLeftAlone) {
  const TemporaryFolder folder;
  const std::string other = temporary_name();
  write_text(folder / other, "half");
  const int held = open((folder / other).c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(held, 0);
  ASSERT_EQ(flock(held, LOCK_EX | LOCK_NB), 0);
  write_new(folder / "file");
  EXPECT_EQ(folder.files(), (std::vector<std::string>{other, "file"}));
  close(held);
}

TEST(OutputFile, WithoutPublishingNothingChanges) {
  const TemporaryFolder folder;
  write_text(folder / "file", "old");
  {
    OutputFile file(folder / "file");
    file.append(kBytes);
  }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"file"});
}

}  // namespace
}  // namespace lightcap::internal::testing
