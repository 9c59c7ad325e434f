// Disturbances of a conversion from outside: signals, files that change under it, no threads, no
// memory.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <new>
#include <system_error>
#include <thread>

#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/sha256.h"
#include "weights_converter/signals.h"

// Allocations fail from the one on that is counted down to; never where it is negative.
namespace {
thread_local int64_t allocations_left = -1;
}
void* operator new(size_t size) {
  if (allocations_left >= 0 && allocations_left-- == 0) {
    allocations_left = 0;
    throw std::bad_alloc();
  }
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace lightcap::internal::testing {
namespace {

class ConvertProcess : public ::testing::Test {
 protected:
  ConvertProcess() {
    options_.vocabulary = folder_ / "vocab.txt";
    options_.labels = folder_ / "labels.txt";
    options_.checkpoints[static_cast<size_t>(Role::kLightcap)] = checkpoint_;
    write_text(options_.vocabulary, tiny_vocabulary(tiny_config().fusion.vocabulary));
    write_text(options_.labels, tiny_labels(tiny_config().concept_extractor.vocabulary));
    write_safetensors(checkpoint_, tiny_tensors());
  }
  void convert() const {
    const Conversion conversion(options_);
    write_weights(
        conversion.plan(), [&](size_t index, std::span<float> out) { conversion.fill(index, out); },
        output_);
  }

  TemporaryFolder folder_;
  const std::string checkpoint_ = folder_ / "whole.safetensors", output_ = folder_ / "m.lcw";
  ConversionOptions options_;
};

TEST_F(ConvertProcess, ACheckpointThatIsTruncatedWhileItIsReadIsAnError) {
  const auto read_what_is_gone = [this] {
    handle_signals();
    const Conversion conversion(options_);
    std::filesystem::resize_file(checkpoint_, 0);
    std::vector<float> values(conversion.plan().tensors[0].elements());
    conversion.fill(0, values);
  };
  EXPECT_EXIT(read_what_is_gone(), ::testing::ExitedWithCode(4),
              "whole.safetensors: the file became shorter");
}

TEST_F(ConvertProcess, ACheckpointThatIsReplacedInPlaceIsAnError) {
  const Conversion conversion(options_);
  std::filesystem::last_write_time(
      checkpoint_, std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  std::vector<float> values(conversion.plan().tensors[0].elements());
  expect_has(error_of([&] { conversion.fill(0, values); }), "was changed while it was read");
}

TEST_F(ConvertProcess, ACheckpointThatIsRemovedOrRenamedIsReadToItsEnd) {
  const Conversion conversion(options_);
  std::filesystem::remove(checkpoint_);
  write_text(checkpoint_, "another");
  std::vector<float> values(conversion.plan().tensors[0].elements());
  EXPECT_NO_THROW(conversion.fill(0, values));
}

TEST_F(ConvertProcess, TheHashIsOfTheOpenFile) {
  const auto file = MappedFile::open(checkpoint_);
  const std::string hash = sha256_of_file(*file);
  std::filesystem::remove(checkpoint_);
  write_text(checkpoint_, "another");
  EXPECT_EQ(sha256_of_file(*file), hash);
}

TEST_F(ConvertProcess, AFileThatEndsEarlyHasNoHash) {
  const auto file = MappedFile::open(checkpoint_);
  std::filesystem::resize_file(checkpoint_, 100);
  expect_has(error_of([&] { sha256_of_file(*file); }), "became shorter while it was read");
}

TEST_F(ConvertProcess, WithoutMoreThreadsOneDoesAll) {
  const auto hash_without_threads = [this] {
    const auto file = MappedFile::open(checkpoint_);
    const std::vector<const MappedFile*> files(8, file.get());
    if (geteuid() == 0 && setuid(65534) != 0) _exit(1);  // the superuser has no limit
    const rlimit none = {0, 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(1);
    try {
      std::thread([] {}).join();
      _exit(3);
    } catch (const std::system_error&) {
    }
    const std::vector<std::string> hashes = sha256_of_files(files);
    _exit(hashes.size() == 8 && hashes[7] == sha256_of_file(*file) ? 0 : 2);
  };
  EXPECT_EXIT(hash_without_threads(), ::testing::ExitedWithCode(0), "");
}

void run_out_of_memory() { throw std::bad_alloc(); }
void let_no_exception_leave() noexcept { run_out_of_memory(); }

TEST_F(ConvertProcess, MemoryThatRunsOutWhereNoExceptionMayLeaveIs6) {
  const auto run_out = [] {
    handle_signals();
    let_no_exception_leave();
  };
  EXPECT_EXIT(run_out(), ::testing::ExitedWithCode(6), "out of memory");
}

// Each of the first allocations, and a sample of the rest, with all that follow it.
TEST_F(ConvertProcess, EveryFailedAllocationIsAnExceptionThatLeavesNothing) {
  const std::vector<std::string> before = folder_.files();
  bool done = false;
  for (int64_t n = 0; !done; n += n < 60 ? 1 : 1 + n / 16) {
    allocations_left = n;
    try {
      convert();
      done = true;
    } catch (const std::bad_alloc&) {
    }
    allocations_left = -1;
    if (!done) {
      ASSERT_EQ(folder_.files(), before) << "allocation " << n;
    }
  }
  EXPECT_GT(read_file(output_).size(), 1000u);
}

}  // namespace
}  // namespace lightcap::internal::testing
