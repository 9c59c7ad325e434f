// The engine reads what was written, and a failed conversion leaves nothing behind.
#include "weights_converter/weights_writer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <limits>

#include "engine/io/crc32.h"
#include "engine/io/weights_file.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "kernels/pack.h"
#include "tests/expect_error.h"
#include "tests/tiny_checkpoint.h"
#include "weights_converter/verify.h"

namespace lightcap::internal::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

WeightsPlan sample_plan() {
  return {.key_values = {{"a.number", uint64_t{1} << 40},
                         {"a.ratio", 0.1},
                         {"a.text", std::string("\xc3\xa9t\xc3\xa9")},
                         {"texts", std::vector<std::string>{"one", "", "three"}},
                         {"numbers", std::vector<double>{1.5, -2}}},
          .tensors = {{"vector", DataType::kF32, Layout::kRowMajor, {3}},
                      {"matrix", DataType::kF32, Layout::kPanels, {17, 5}},
                      {"conv", DataType::kF32, Layout::kPanels, {18, 3, 2, 5}},
                      {"halves", DataType::kF16, Layout::kPanels, {2, 7}},
                      {"brains", DataType::kBf16, Layout::kRowMajor, {3, 7}}}};
}

// Each value says which tensor and element it is.
void fill_sample(size_t index, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(index + 1) + static_cast<float>(i) / 1024;
  }
}

WeightsFile open_bytes(const std::vector<uint8_t>& bytes) {
  return WeightsFile::from_buffer({bytes.data(), bytes.size()}, "memory");
}

std::vector<float> stored_floats(const WeightsFile& file, const char* name) {
  const TensorEntry& entry = *file.find_tensor(name);
  const auto* data = reinterpret_cast<const float*>(file.data(entry));
  return {data, data + entry.bytes / sizeof(float)};
}

TEST(WeightsWriter, KeyValuesComeBack) {
  const std::vector<uint8_t> bytes = weights_in_memory(sample_plan(), fill_sample);
  const WeightsFile file = open_bytes(bytes);
  EXPECT_EQ(std::get<uint64_t>(*file.find_value("a.number")), uint64_t{1} << 40);
  EXPECT_EQ(std::get<double>(*file.find_value("a.ratio")), 0.1);
  EXPECT_EQ(std::get<std::string_view>(*file.find_value("a.text")), "\xc3\xa9t\xc3\xa9");
  const std::vector<std::string_view> texts = {"one", "", "three"};
  EXPECT_EQ(std::get<std::vector<std::string_view>>(*file.find_value("texts")), texts);
  const std::vector<double> numbers = {1.5, -2};
  EXPECT_EQ(std::get<std::vector<double>>(*file.find_value("numbers")), numbers);
  EXPECT_EQ(file.key_values().size(), 5u);
}

TEST(WeightsWriter, TensorsComeBack) {
  const std::vector<uint8_t> bytes = weights_in_memory(sample_plan(), fill_sample);
  const WeightsFile file = open_bytes(bytes);
  ASSERT_EQ(file.tensors().size(), 5u);
  for (const TensorEntry& tensor : file.tensors()) {
    EXPECT_EQ(crc32(file.data(tensor), tensor.bytes), tensor.crc32) << tensor.name;
  }
  EXPECT_EQ(stored_floats(file, "vector"), (std::vector<float>{1, 1 + 1 / 1024.f, 1 + 2 / 1024.f}));

  const std::vector<float> matrix = stored_floats(file, "matrix");
  ASSERT_EQ(matrix.size(), panel_elements(17, 5));
  std::vector<float> row(5);
  unpack_row({matrix.data(), 17, 5, DataType::kF32}, 16, row.data());
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(row[i], 2 + static_cast<float>(80 + i) / 1024);

  // [output][channel][y][x] -> rows of y, x, channel.
  const std::vector<float> conv = stored_floats(file, "conv");
  row.resize(30);
  unpack_row({conv.data(), 18, 30, DataType::kF32}, 17, row.data());
  for (size_t channel = 0; channel < 3; ++channel) {
    for (size_t tap = 0; tap < 10; ++tap) {
      const size_t element = 17 * 30 + channel * 10 + tap;
      EXPECT_EQ(row[tap * 3 + channel], 3 + static_cast<float>(element) / 1024);
    }
  }
  for (size_t k = 0; k < 30; ++k) EXPECT_EQ(conv[30 * 16 + k * 16 + 2], 0) << "padding";
}

TEST(WeightsWriter, TheSameOnDiskAndInMemory) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.lcw";
  uint64_t shown = 0;
  const uint64_t size =
      write_weights(sample_plan(), fill_sample, path, [&](uint64_t written) { shown = written; });
  const std::vector<uint8_t> bytes = weights_in_memory(sample_plan(), fill_sample);
  EXPECT_EQ(read_file(path), std::string(bytes.begin(), bytes.end()));
  EXPECT_EQ(size, bytes.size());
  EXPECT_EQ(shown, sample_plan().tensor_bytes());
  EXPECT_EQ(folder.files(), std::vector<std::string>{"model.lcw"});
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST(WeightsWriter, AFailureLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.lcw";
  write_text(path, "old");
  const auto broken = [](size_t index, std::span<float> out) {
    fill_sample(index, out);
    if (index == 3) throw Error(ErrorCode::kCheckpoint, "broken");
  };
  error_of([&] { write_weights(sample_plan(), broken, path); });
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"model.lcw"});
}

TEST(WeightsWriter, AFullDiskIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.lcw";
  write_text(path, "old");
  // A limit on the size of files fails the write as a full disk does.
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string error =
      error_of([&] { write_weights(sample_plan(), fill_sample, path); }, ErrorCode::kOutput);
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(error.find(path + ": cannot write: File too large"), std::string::npos) << error;
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"model.lcw"});
}

TEST(WeightsWriter, PlacesThatCannotBeWritten) {
  const TemporaryFolder folder;
  const auto error_at = [](const std::string& path) {
    return error_of([&] { write_weights(sample_plan(), fill_sample, path); }, ErrorCode::kOutput);
  };
  EXPECT_EQ(error_at(folder / "no/model.lcw"),
            (folder / "no/model.lcw") +
                ": cannot create a file in its folder: No such file or directory");
  std::filesystem::create_directory(folder / "a_folder");
  EXPECT_EQ(error_at(folder / "a_folder"),
            (folder / "a_folder") + ": cannot write there: it exists and is not a regular file");
  EXPECT_EQ(error_at("/dev/full"),
            "/dev/full: cannot write there: it exists and is not a regular file");
  std::filesystem::create_directory(folder / "locked");
  std::filesystem::permissions(folder / "locked", std::filesystem::perms::owner_read);
  if (geteuid() != 0) {  // who may write everywhere
    EXPECT_NE(error_at(folder / "locked/model.lcw").find("Permission denied"), std::string::npos);
  }
  EXPECT_EQ(folder.files(), (std::vector<std::string>{"a_folder", "locked"}));
}

TEST(WeightsWriter, FollowsLinks) {
  const TemporaryFolder folder;
  write_text(folder / "target.lcw", "old");
  std::filesystem::create_symlink("target.lcw", folder / "link.lcw");
  write_weights(sample_plan(), fill_sample, folder / "link.lcw");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.lcw"));
  EXPECT_GT(read_file(folder / "target.lcw").size(), 1000u);
}

TEST(WeightsWriter, RefusesTensorsThatAFileCannotHold) {
  for (const std::vector<uint64_t>& dims :
       {std::vector<uint64_t>{3, 0}, {uint64_t{1} << 40, uint64_t{1} << 40}, {1, 1, 1, 1, 1}}) {
    const WeightsPlan plan = {{}, {{"bad", DataType::kF32, Layout::kRowMajor, dims}}};
    const std::string error = error_of([&] { weights_in_memory(plan, fill_sample); });
    EXPECT_NE(error.find("the tensor bad " + dims_text(dims) + " is empty or too large"),
              std::string::npos)
        << error;
  }
}

// IEEE 754's definition, in double.
double half_value(uint16_t half) {
  const int exponent = half >> 10 & 31;
  const int fraction = half & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

double brain_value(uint16_t bits) {
  const int exponent = bits >> 7 & 255;
  const int fraction = bits & 127;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -133) : std::ldexp(128 + fraction, exponent - 134);
  return bits & 0x8000 ? -magnitude : magnitude;
}

// Every number of 16 bits, the middle between neighbours, and the float on each side of it.
template <class Round, class Widen>
void check_rounding(Round round, Widen widen, uint16_t infinity) {
  for (uint32_t bits = 0; bits < infinity; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const auto high = static_cast<uint16_t>(bits + 1);
    ASSERT_EQ(round(static_cast<float>(widen(low))), low);
    ASSERT_EQ(round(static_cast<float>(-widen(low))), low | 0x8000);
    // widen() of infinity's bits is where the next number would be: the bound of what rounds up.
    const auto middle = static_cast<float>((widen(low) + widen(high)) / 2);
    ASSERT_EQ(round(middle), low % 2 == 0 ? low : high) << bits;
    ASSERT_EQ(round(std::nextafter(middle, 0.0f)), low) << bits;
    ASSERT_EQ(round(std::nextafter(middle, kInfinity)), high) << bits;
  }
  EXPECT_EQ(round(kInfinity), infinity);
  EXPECT_EQ(round(-kInfinity), infinity | 0x8000);
  EXPECT_GT(round(std::numeric_limits<float>::quiet_NaN()) & 0x7fff, infinity);
  EXPECT_GT(round(std::numeric_limits<float>::signaling_NaN()) & 0x7fff, infinity);
}

TEST(Halves, F16RoundsToNearestEven) { check_rounding(to_f16, half_value, 0x7c00); }
TEST(Halves, Bf16RoundsToNearestEven) { check_rounding(to_bf16, brain_value, 0x7f80); }

TEST(Halves, AreStored) {
  const std::vector<uint8_t> bytes = weights_in_memory(sample_plan(), fill_sample);
  const WeightsFile file = open_bytes(bytes);
  const auto* halves = reinterpret_cast<const uint16_t*>(file.data(*file.find_tensor("halves")));
  EXPECT_EQ(halves[2 * 16 + 1], to_f16(4 + 9 / 1024.f));  // row 1, column 2
  EXPECT_EQ(halves[2 * 16 + 2], 0);
  const auto* brains = reinterpret_cast<const uint16_t*>(file.data(*file.find_tensor("brains")));
  EXPECT_EQ(brains[20], to_bf16(5 + 20 / 1024.f));
}

TEST(Halves, TooLargeIsAnError) {
  const WeightsPlan plan = {{}, {{"big", DataType::kF16, Layout::kRowMajor, {2}}}};
  const auto fill = [](size_t, std::span<float> out) { out[0] = 1, out[1] = 70000; };
  EXPECT_EQ(error_of([&] { weights_in_memory(plan, fill); }),
            "the tensor big holds 70000.000000, too large for f16; use --dtype f32");
}

TEST(Verify, FindsEachDifference) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.lcw";
  const WeightsPlan plan = sample_plan();
  write_weights(plan, fill_sample, path);
  EXPECT_NO_THROW(verify_weights(path, plan, fill_sample));
  const auto error = [&](const WeightsPlan& other, const FillTensor& fill) {
    return error_of([&] { verify_weights(path, other, fill); }, ErrorCode::kMismatch);
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  // One value in each kind of tensor.
  for (size_t index = 0; index < plan.tensors.size(); ++index) {
    const auto other = [&](size_t i, std::span<float> out) {
      fill_sample(i, out);
      if (i == index) out.back() += 0.5f;
    };
    const std::string& name = plan.tensors[index].name;
    has(error(plan, other), (name + ": 1 of ").c_str());
  }
  WeightsPlan other = plan;
  other.key_values[1].value = 0.2;
  other.tensors[1].dims = {17, 6};
  other.tensors[2].name = "another";
  const std::string all = error(other, fill_sample);
  has(all, "the key a.ratio");
  has(all, "matrix has another type, layout or shape");
  has(all, "another is missing");

  std::string bytes = read_file(path);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_text(path, bytes);
  has(error(plan, fill_sample), "brains does not match its checksum");
}

TEST(Verify, SeesPadding) {
  const TemporaryFolder folder;
  const std::string path = folder / "model.lcw";
  const WeightsPlan plan = {{}, {{"matrix", DataType::kF32, Layout::kPanels, {15, 1}}}};
  const WeightsPlan padded = {{}, {{"matrix", DataType::kF32, Layout::kPanels, {16, 1}}}};
  write_weights(
      padded, [](size_t, std::span<float> out) { std::fill(out.begin(), out.end(), 1.f); }, path);
  // Say that the sixteenth output is padding.
  std::string bytes = read_file(path);
  WeightsHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  const size_t dim = bytes.find("matrix") + 6 + 3;
  bytes[dim] = 15;
  header.metadata_crc32 = crc32(bytes.data() + sizeof header, header.metadata_bytes);
  header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
  std::memcpy(bytes.data(), &header, sizeof header);
  write_text(path, bytes);
  const std::string error = error_of(
      [&] {
        verify_weights(path, plan, [](size_t, std::span<float> out) {
          std::fill(out.begin(), out.end(), 1.f);
        });
      },
      ErrorCode::kMismatch);
  EXPECT_NE(error.find("matrix: 1 of 15 values differ"), std::string::npos) << error;
}

}  // namespace
}  // namespace lightcap::internal::testing
