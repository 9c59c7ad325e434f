// Every allocation of opening, captioning and converting fails in turn: an error that says so, no
// leak, and everything works afterwards.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "engine/runtime/error.h"
#include "tests/api_session.h"
#include "tests/faults/faults.h"
#include "tests/faults/quantizable_model.h"
#include "tests/sanitized.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/assemble.h"
#include "weights_converter/verify.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal::testing {
namespace {

// Calls `attempt`, which returns a status and keeps no memory, with each of its first allocations
// failing, and with ever fewer of the later ones: those are mostly the same lines of code.
void fail_each(
    const std::function<lightcap_status()>& attempt, const std::function<void()>& before = [] {},
    const std::function<void(lightcap_status)>& after = [](lightcap_status) {}) {
  ASSERT_EQ(attempt(), LIGHTCAP_OK) << lightcap_last_error();
  ASSERT_EQ(attempt(), LIGHTCAP_OK) << "what stays for ever is there now";
  size_t failures = 0;
  for (size_t nth = 1;; nth += 1 + nth / (kSanitized ? 25 : 100)) {
    before();
    const long blocks = live_blocks();
    lightcap_status status = LIGHTCAP_OK;
    size_t allocations = 0;
    {
      const AllocationFault fault(nth);
      status = attempt();
      allocations = fault.count();
    }
    ASSERT_EQ(live_blocks(), blocks) << "a leak when allocation " << nth << " fails";
    after(status);
    if (allocations < nth) break;
    ++failures;
    // Some can do without, such as a sort without its buffer.
    ASSERT_TRUE(status == LIGHTCAP_ERROR_MEMORY || status == LIGHTCAP_OK)
        << "allocation " << nth << ": status " << status << ", " << lightcap_last_error();
  }
  EXPECT_GT(failures, 0u);
  EXPECT_EQ(attempt(), LIGHTCAP_OK) << lightcap_last_error();
}

lightcap_status closed(lightcap_status status, lightcap_model* model) {
  EXPECT_EQ(model == nullptr, status != LIGHTCAP_OK);
  if (status == LIGHTCAP_ERROR_MEMORY) {
    EXPECT_STREQ(lightcap_last_error(), "out of memory");
  }
  lightcap_model_close(model);
  return status;
}

TEST(AllocationFaults, OpeningAModel) {
  const std::string path = small_model_path();
  for (const int read_into_memory : {0, 1}) {
    lightcap_model_options options = LIGHTCAP_MODEL_OPTIONS_INIT;
    options.read_into_memory = read_into_memory;
    fail_each([&] {
      lightcap_model* model = nullptr;
      const lightcap_status status = lightcap_model_open(path.c_str(), &options, &model);
      return closed(status, model);
    });
  }
}

TEST(AllocationFaults, OpeningAModelFromABuffer) {
  const std::string bytes = read_file(small_model_path());
  std::vector<char> room(bytes.size() + 64);
  const size_t misaligned = reinterpret_cast<uintptr_t>(room.data()) % 64 == 0 ? 1 : 0;
  std::copy(bytes.begin(), bytes.end(), room.begin() + static_cast<long>(misaligned));
  fail_each([&] {
    lightcap_model* model = nullptr;
    const lightcap_status status =
        lightcap_model_open_buffer(room.data() + misaligned, bytes.size(), nullptr, &model);
    return closed(status, model);
  });
}

void drop_notice(void*, int, const char*) {}

TEST(AllocationFaults, OpeningASession) {
  const ModelHandle model = open_small_model();
  lightcap_set_log(drop_notice, nullptr);
  lightcap_session_options options = LIGHTCAP_SESSION_OPTIONS_INIT;
  for (const int threads : {1, 3, 0}) {
    options.threads = threads;
    fail_each([&] {
      lightcap_session* session = nullptr;
      const lightcap_status status = lightcap_session_open(model.get(), &options, &session);
      EXPECT_EQ(session == nullptr, status != LIGHTCAP_OK);
      lightcap_session_close(session);
      return status;
    });
  }
  const lightcap_executor executor = {
      nullptr, [](void*, size_t count, void (*task)(void*, size_t), void* argument) {
        for (size_t i = 0; i < count; ++i) task(argument, i);
      }};
  options.executor = &executor;
  fail_each([&] {
    lightcap_session* session = nullptr;
    const lightcap_status status = lightcap_session_open(model.get(), &options, &session);
    lightcap_session_close(session);
    return status;
  });
  lightcap_set_log(nullptr, nullptr);
}

TEST(AllocationFaults, AddingAWordThatCaptionsMustContain) {
  const ModelHandle model = open_small_model();
  fail_each([&] {
    lightcap_constraints* constraints = nullptr;
    lightcap_status status = lightcap_constraints_open(model.get(), &constraints);
    EXPECT_EQ(constraints == nullptr, status != LIGHTCAP_OK);
    const char* const forms[] = {"tafe", "poko rafo"};
    if (status == LIGHTCAP_OK) {
      status = lightcap_constraints_add(constraints, forms, 2);
      // Three with the word: none, "poko" and all.
      EXPECT_EQ(lightcap_constraints_states(constraints), status == LIGHTCAP_OK ? 3u : 1u);
    }
    lightcap_constraints_close(constraints);
    return status;
  });
}

// A session's captions of one picture, with beams, on two threads.
class CaptionFaults : public ::testing::Test {
 protected:
  CaptionFaults() { options_.beams = 2; }
  lightcap_status caption(const std::string& picture) {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    return lightcap_caption_image(session_.get(), picture.data(), picture.size(), &options_,
                                  &result);
  }

  ModelHandle model_ = open_small_model();
  SessionHandle session_ = open_session(model_.get(), 2);
  lightcap_caption_options options_ = LIGHTCAP_CAPTION_OPTIONS_INIT;
};

TEST_F(CaptionFaults, PixelsTakeNoMemory) {
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  caption_pixels(session_.get(), result);
  const AllocationFault fault(1);
  EXPECT_EQ(caption_pixels(session_.get(), result), LIGHTCAP_OK);
  EXPECT_EQ(fault.count(), 0u);
}

TEST_F(CaptionFaults, Png) {
  const std::string picture = read_file(LIGHTCAP_GOLDENS "/picture.png");
  fail_each([&] { return caption(picture); });
}

TEST_F(CaptionFaults, JpegThatIsTurned) {
  const std::string picture = read_file(LIGHTCAP_GOLDENS "/rotated.jpg");
  fail_each([&] { return caption(picture); });
}

TEST_F(CaptionFaults, Pnm) {
  fail_each([&, picture = "P6 20 10 255\n" + std::string(600, 'x')] { return caption(picture); });
}

TEST_F(CaptionFaults, Bmp) {
  // 2 x 2 pixels of 24 bits.
  std::string picture("BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x02\0\0\0\x01\0\x18\0",
                      30);
  picture += std::string(24, '\0') + std::string(16, 'x');
  fail_each([&] { return caption(picture); });
}

TEST_F(CaptionFaults, AFile) {
  fail_each([&] {
    lightcap_result result = LIGHTCAP_RESULT_INIT;
    return lightcap_caption_file(session_.get(), LIGHTCAP_GOLDENS "/picture.png", &options_,
                                 &result);
  });
}

TEST_F(CaptionFaults, Tracing) {
  lightcap_session_set_trace(
      session_.get(), [](void*, const char*, const float*, const size_t*, size_t) {}, nullptr);
  const std::string picture = read_file(LIGHTCAP_GOLDENS "/picture.png");
  options_.beams = 1;
  fail_each([&] { return caption(picture); });
}

// As the program lightcap-convert does it; the status is its exit code.
lightcap_status convert(const ConversionOptions& options, const std::string& path, bool verify) {
  try {
    const Conversion conversion(options);
    const FillTensor fill = [&](size_t index, std::span<float> out) {
      conversion.fill(index, out);
    };
    write_weights(conversion.plan(), fill, path, {});
    if (verify) verify_weights(path, conversion.plan(), fill);
    return LIGHTCAP_OK;
  } catch (const Error& error) {
    ADD_FAILURE() << error.what();
    return static_cast<lightcap_status>(error.code());
  } catch (const std::bad_alloc&) {
    return LIGHTCAP_ERROR_MEMORY;
  }
}

class ConvertFaults : public ::testing::Test {
 protected:
  // The file that stands under the model's name is the old one, or whole; nothing else is left.
  void run(const ConversionOptions& options, bool verify) {
    const std::string path = folder_ / "out/model.lcw";
    std::filesystem::create_directory(folder_ / "out");
    ASSERT_EQ(convert(options, path, verify), LIGHTCAP_OK);
    const std::string whole = read_file(path);
    fail_each([&] { return convert(options, path, verify); }, [&] { write_text(path, "old"); },
              [&](lightcap_status status) {
                const std::string now = read_file(path);
                EXPECT_TRUE(now == whole || (status != LIGHTCAP_OK && now == "old"));
                EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_ / "out"), {}),
                          1);
              });
  }

  TemporaryFolder folder_;
};

TEST_F(ConvertFaults, Safetensors) {
  write_safetensors(folder_ / "whole.safetensors", tiny_tensors());
  write_text(folder_ / "vocab.txt", tiny_vocabulary(tiny_config().fusion.vocabulary));
  write_text(folder_ / "labels.txt", tiny_labels(tiny_config().concept_extractor.vocabulary));
  ConversionOptions options;
  options.checkpoints[static_cast<size_t>(Role::kLightcap)] = folder_ / "whole.safetensors";
  options.vocabulary = folder_ / "vocab.txt";
  options.labels = folder_ / "labels.txt";
  run(options, true);
}

TEST_F(ConvertFaults, ReadingATorchCheckpoint) {
  fail_each([]() -> lightcap_status {
    try {
      const Checkpoint checkpoint = open_checkpoint(LIGHTCAP_GOLDENS "/model.pt");
      std::vector<float> values;
      for (const CheckpointTensor& tensor : checkpoint.tensors) {
        uint64_t count = 1;
        for (const uint64_t dim : tensor.shape) count *= dim;
        values.resize(count);
        checkpoint.read_as_f32(tensor, values);
      }
      return LIGHTCAP_OK;
    } catch (const std::bad_alloc&) {
      return LIGHTCAP_ERROR_MEMORY;
    }
  });
}

// The programs as a whole, with their option parsers, JSON and threads (faults/program.cc).
// `after` looks at what a run leaves that ends with an exit code. Later allocations fail ever
// fewer, the sooner the smaller `slope` is.
void fail_each_of_program(
    const std::string& name, const std::string& program, const std::string& arguments,
    const std::string& stderr_file, const std::function<void(int)>& after = [](int) {},
    size_t slope = 30) {
  const std::string command = program + " " + arguments + " >/dev/null 2>" + stderr_file;
  const auto run = [&](size_t nth) {
    const std::string setting = "LIGHTCAP_FAIL_ALLOCATION=" + std::to_string(nth);
    const int status = std::system((setting + " " + command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  ASSERT_EQ(run(0), 0) << read_file(stderr_file);
  for (size_t nth = 1;; nth += 1 + nth / (kSanitized ? std::max(slope / 6, size_t{1}) : slope)) {
    const int code = run(nth);
    const std::string words = read_file(stderr_file);
    after(code);
    EXPECT_TRUE(code == 0 || code == LIGHTCAP_ERROR_MEMORY)
        << "allocation " << nth << ": exit code " << code << ", " << words;
    if (code == LIGHTCAP_ERROR_MEMORY) {
      EXPECT_NE(words.find(name + ": out of memory"), std::string::npos) << words;
    }
    // The program says so when it comes to that allocation.
    if (words.find("the allocation failed") == std::string::npos) break;
  }
}

TEST(ProgramFaults, Convert) {
  const TemporaryFolder folder;
  fail_each_of_program("lightcap-convert", LIGHTCAP_FAULTY_CONVERT,
                       "--lightcap " LIGHTCAP_GOLDENS "/model.pt --vocab " LIGHTCAP_GOLDENS
                       "/vocab.txt --concepts " LIGHTCAP_GOLDENS
                       "/concepts.txt --config " LIGHTCAP_GOLDENS
                       "/configs/stretch-mask-mean_probability.json -o " +
                           (folder / "model.lcw"),
                       folder / "stderr");
}

TEST(ProgramFaults, Quantize) {
  const QuantizableModel model;
  const std::string arguments = model.in +
                                " " LIGHTCAP_GOLDENS "/picture.png --threads 1 --report " +
                                (model.folder / "out/r.json");
  std::string whole;
  fail_each_of_program(
      "lightcap-quantize", LIGHTCAP_FAULTY_QUANTIZE, arguments + " -o " + model.out,
      model.folder / "stderr",
      [&](int code) {
        const std::string now = read_file(model.out);
        if (whole.empty()) whole = now;  // of the run before the first fault
        EXPECT_EQ(read_file(model.in), model.before);
        EXPECT_TRUE(now == whole || (code != 0 && now == "old"));
        for (const auto& entry : std::filesystem::directory_iterator(model.folder / "out")) {
          const std::string name = entry.path().filename();
          EXPECT_TRUE(name == "int8.lcw" || name == "r.json") << name;
        }
        write_text(model.out, "old");
      },
      6);
}

TEST(ProgramFaults, Caption) {
  const TemporaryFolder folder;
  fail_each_of_program(
      "lightcap", LIGHTCAP_FAULTY_CLI,
      "caption --json --model " + small_model_path() + " " LIGHTCAP_GOLDENS "/picture.png",
      folder / "stderr");
}

TEST(ProgramFaults, CaptionOfAFolder) {
  const TemporaryFolder folder;
  fail_each_of_program(
      "lightcap", LIGHTCAP_FAULTY_CLI,
      "caption -r --threads 1 --model " + small_model_path() + " " LIGHTCAP_GOLDENS,
      folder / "stderr");
}

TEST(ProgramFaults, Annotate) {
  const TemporaryFolder folder;
  fail_each_of_program("lightcap", LIGHTCAP_FAULTY_CLI,
                       "caption --model " + small_model_path() + " --annotate " +
                           (folder / "seen.png") + " " LIGHTCAP_GOLDENS "/picture.png",
                       folder / "stderr");
}

}  // namespace
}  // namespace lightcap::internal::testing
