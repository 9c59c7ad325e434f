// The promises of engine/platform/platform.h, in terms of the standard library alone: a port begins
// by passing these.
#include "engine/platform/platform.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/temporary_folder.h"

namespace lightcap::internal::platform {
namespace {

namespace fs = std::filesystem;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Platform : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_ / name; }
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }
  std::string get(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const testing::TemporaryFolder folder_;
};

TEST_F(Platform, AFileThatIsNotThereIsNoFileAndErrnoSaysWhy) {
  errno = 0;
  EXPECT_FALSE(open_to_read(path("none"), Pipes::kDoNotWait));
  EXPECT_EQ(errno, ENOENT);
  errno = 0;
  EXPECT_FALSE(status(path("none")));
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FALSE(may_read(path("none")));
}

TEST_F(Platform, AppendingMakesTheFileAndWritesAtItsEndAlone) {
  for (const char* text : {"one ", "two "}) {
    File file = open_to_append(path("a"));
    ASSERT_TRUE(file);
    std::array<uint8_t, 3> seen = {};
    EXPECT_EQ(file.read(seen), text == std::string_view("one ") ? 0 : 3);
    ASSERT_TRUE(file.write(bytes_of(text)));
    ASSERT_TRUE(file.close());
  }
  EXPECT_EQ(get("a"), "one two ");
  EXPECT_TRUE(open_to_append(path("a")).truncate(3));
  EXPECT_EQ(get("a"), "one");
}

TEST_F(Platform, StatusTellsFilesFromFoldersAndKnowsAFileUnderTwoNames) {
  put("a", "12345");
  put("b", "12345");
  fs::create_hard_link(path("a"), path("link"));
  const auto a = status(path("a")), link = status(path("link")), b = status(path("b"));
  ASSERT_TRUE(a && link && b);
  EXPECT_EQ(a->kind, FileKind::kRegular);
  EXPECT_EQ(a->size, 5u);
  EXPECT_TRUE(a->is_ours);
  EXPECT_EQ(a->id, link->id);
  EXPECT_FALSE(a->id == b->id);
  EXPECT_EQ(open_to_read(path("link"), Pipes::kWait).status()->id, a->id);
  EXPECT_EQ(status(path(""))->kind, FileKind::kFolder);
}

TEST_F(Platform, ReadsFromWhereItIsToldAndSaysWhenTheFileEnds) {
  put("a", "0123456789");
  const File file = open_to_read(path("a"), Pipes::kDoNotWait);
  ASSERT_TRUE(file);
  std::array<uint8_t, 4> part = {};
  EXPECT_EQ(file.read_at(7, part), 3);
  EXPECT_EQ(std::memcmp(part.data(), "789", 3), 0);
  EXPECT_EQ(file.read(part), 4);  // read_at moves nothing
  EXPECT_EQ(std::memcmp(part.data(), "0123", 4), 0);
  EXPECT_EQ(file.read_at(10, part), 0);
}

TEST_F(Platform, ClosingAFileOnTheWayOutKeepsTheReasonOfAnError) {
  put("a", "");
  {
    const File file = open_to_read(path("a"), Pipes::kWait);
    errno = ENOSPC;
  }
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(Platform, ClosingSomebodyElsesFileOnlyLetsGoOfIt) {
  put("a", "0123");
  const File file = open_to_read(path("a"), Pipes::kDoNotWait);
  File borrowed = File::borrowed(file.handle());
  EXPECT_TRUE(borrowed.close());
  EXPECT_FALSE(borrowed);
  std::array<uint8_t, 4> all = {};
  EXPECT_EQ(file.read(all), 4);
}

TEST_F(Platform, AMappingShowsTheFileAfterItIsClosedAndAfterItsPagesWereGivenBack) {
  const std::string text(3 * page_size() + 1, 'x');
  put("a", text);
  Mapping mapping(open_to_read(path("a"), Pipes::kWait), text.size());
  ASSERT_TRUE(mapping);
  EXPECT_EQ(std::memcmp(mapping.data(), text.data(), text.size()), 0);
  mapping.ask_for_huge_pages();
  give_back(mapping.data(), 3 * page_size());
  EXPECT_EQ(std::memcmp(mapping.data(), text.data(), text.size()), 0);
  const Mapping moved = std::move(mapping);
  EXPECT_EQ(moved.size(), text.size());
  EXPECT_FALSE(Mapping(open_to_read(path("a"), Pipes::kWait), 0));
}

TEST_F(Platform, AddressesWithoutMemoryCanBeMovedAndHaveASize) {
  AddressRange range(3 * page_size());
  ASSERT_TRUE(range);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(range.begin()) % page_size(), 0u);
  const AddressRange moved = std::move(range);
  EXPECT_EQ(moved.size(), 3 * page_size());
  EXPECT_DEATH(static_cast<char*>(moved.begin())[moved.size() - 1] = 1, "");
  EXPECT_FALSE(AddressRange(0));
  EXPECT_FALSE(AddressRange(SIZE_MAX / 2));  // more than there are
}

TEST_F(Platform, NamesOfAFolderOutliveItsPath) {
  fs::create_directory(folder_ / "before");
  const Folder folder(path("before"));
  ASSERT_TRUE(folder);
  fs::rename(folder_ / "before", folder_ / "after");
  File file = folder.create("new", 0600);
  ASSERT_TRUE(file);
  EXPECT_FALSE(folder.create("new", 0600));
  EXPECT_EQ(errno, EEXIST);
  EXPECT_TRUE(file.write(bytes_of("abcdef")));
  EXPECT_TRUE(file.write_at(1, bytes_of("XY")));
  EXPECT_TRUE(file.truncate(5));
  EXPECT_TRUE(file.sync());
  EXPECT_EQ(folder.status("new")->id, file.status()->id);
  put("after/old", "old");
  EXPECT_TRUE(folder.rename("new", "old"));
  EXPECT_TRUE(file.close());
  EXPECT_FALSE(file);
  folder.sync();
  EXPECT_EQ(get("after/old"), "aXYde");
  Folder::remove(folder.handle(), "old");
  EXPECT_FALSE(folder.status("old"));
}

TEST_F(Platform, AFileWithoutANameGetsOneWhole) {
  const Folder folder(path(""));
  const File file = folder.create_unnamed(0600);
  if (!file) GTEST_SKIP() << "there are none here";
  EXPECT_TRUE(file.write(bytes_of("abc")));
  EXPECT_TRUE(folder_.files().empty());
  EXPECT_TRUE(folder.give_name(file, "name"));
  EXPECT_EQ(get("name"), "abc");
  EXPECT_FALSE(folder.give_name(file, "name"));
  EXPECT_EQ(errno, EEXIST);
}

TEST_F(Platform, OneAtATimeHoldsAFilesLock) {
  const Folder folder(path(""));
  const File first = folder.create("a", 0600);
  if (!first.lock()) GTEST_SKIP() << "the file system has no locks: " << std::strerror(errno);
  EXPECT_FALSE(folder.open_to_read("a").lock());
}

TEST_F(Platform, PatternsFindSortedPathsOrNothing) {
  for (const char* name : {"b.png", "a.png", "c.txt"}) put(name, "");
  std::vector<std::string> found;
  EXPECT_TRUE(find_matches(path("*.png"), found));
  EXPECT_EQ(found, (std::vector<std::string>{path("a.png"), path("b.png")}));
  EXPECT_FALSE(find_matches(path("*.jpg"), found));
  EXPECT_EQ(found.size(), 2u);
}

TEST_F(Platform, NamesOfAFolderAreListed) {
  fs::create_directory(path("folder"));
  for (const char* name : {"folder/b", "folder/.a", "folder/c.png"}) std::ofstream(path(name)) << 1;
  fs::create_symlink("nowhere", path("folder/link"));
  std::vector<std::string> names = {"before"};
  EXPECT_TRUE(list_names(path("folder"), names));
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{".a", "b", "before", "c.png", "link"}));
  EXPECT_FALSE(list_names(path("no folder"), names));
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FALSE(list_names(path("folder/b"), names));
  EXPECT_EQ(errno, ENOTDIR);
}

TEST_F(Platform, MakingAFolderThatIsThereSaysSo) {
  EXPECT_TRUE(make_folder(path("new")));
  EXPECT_TRUE(fs::is_directory(path("new")));
  EXPECT_FALSE(make_folder(path("new")));
  EXPECT_EQ(errno, EEXIST);
}

TEST_F(Platform, AThreadRunsWithItsArgument) {
  std::atomic<int> seen = 0;
  Thread thread;
  ASSERT_EQ(thread.start(
                [](void* argument) -> void* {
                  *static_cast<std::atomic<int>*>(argument) = 7;
                  return nullptr;
                },
                &seen),
            0);
  thread.join();
  EXPECT_EQ(seen, 7);
}

TEST_F(Platform, TimeOfAThreadPassesWhileItWorks) {
  const double start = thread_seconds();
  std::atomic<uint64_t> sum = 0;
  while (thread_seconds() - start < 1e-3) sum += 1;
  EXPECT_GT(sum.load(), 0u);
}

TEST_F(Platform, TheRunningProgramKnowsItsPathIfAny) {
  const std::string program = program_path();
  if (program.empty()) GTEST_SKIP() << "the system does not say";
  EXPECT_TRUE(fs::exists(program));
  EXPECT_TRUE(may_read(program));
}

TEST_F(Platform, RandomBytesDiffer) {
  std::array<uint8_t, 16> a = {}, b = {};
  if (!fill_with_random(a) || !fill_with_random(b)) GTEST_SKIP() << "the system has none";
  EXPECT_NE(a, b);
}

}  // namespace
}  // namespace lightcap::internal::platform
