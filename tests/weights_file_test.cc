// A .lcw file that is cut, damaged or forged is an error or a model, never undefined behaviour.
#include "engine/io/weights_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iterator>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"
#include "kernels/dispatch.h"
#include "tests/sanitized.h"
#include "tests/small_model.h"
#include "tests/temporary_folder.h"

namespace lightcap::internal {
namespace {

// From one damaged byte of a header and its directory to the next: prime, so that all parts of
// numbers are met.
constexpr size_t kStride = testing::kSanitized ? 7 : 1;

std::vector<uint8_t> small_file() {
  std::ifstream file(testing::small_model_path(), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

WeightsHeader header_of(const std::vector<uint8_t>& bytes) {
  WeightsHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  return header;
}

// Makes the checksums of a forged file right, so that what they hide is reached.
void seal(std::vector<uint8_t>& bytes) {
  WeightsHeader header = header_of(bytes);
  if (header.metadata_bytes <= bytes.size() - sizeof header) {
    header.metadata_crc32 = crc32(bytes.data() + sizeof header, header.metadata_bytes);
  }
  header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
  std::memcpy(bytes.data(), &header, sizeof header);
}

// The error's words, or "" where the file opens.
std::string error_of(const std::vector<uint8_t>& bytes) {
  try {
    WeightsFile::from_buffer({bytes.data(), bytes.size()}, "test.lcw");
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModel);
    return error.what();
  }
}

// Opens, binds and captions; Error is fine, anything else is not.
void survive(const std::vector<uint8_t>& bytes) {
  try {
    const auto model = std::make_shared<const Model>(
        WeightsFile::from_buffer({bytes.data(), bytes.size()}, "test.lcw"));
    // Hostile sizes may ask for more memory than a test should take.
    if (model->config().detector.image_size > 512 || model->config().image_encoder.image_size > 512)
      return;
    Session session(model, {.kernels = &best_kernels(), .threads = 1, .max_beams = 1});
    const std::vector<uint8_t> pixels(3 * 20 * 10, 77);
    session.caption(ImageView{pixels.data(), 20, 10, 60}, {});
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()), "");
  }
}

TEST(WeightsFile, OpensFromPathAndBuffer) {
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    const WeightsFile file = WeightsFile::open(testing::small_model_path(), access);
    EXPECT_GT(file.tensors().size(), 50u);
    EXPECT_NE(file.find_tensor("head.bias"), nullptr);
    EXPECT_EQ(file.find_tensor("head.bia"), nullptr);
    EXPECT_NE(file.find_value("vocabulary"), nullptr);
    EXPECT_EQ(file.owned_bytes() == 0, access == FileAccess::kMap);
    for (const TensorEntry& tensor : file.tensors()) {
      EXPECT_EQ(crc32(file.data(tensor), tensor.bytes), tensor.crc32) << tensor.name;
    }
  }
  EXPECT_EQ(error_of(small_file()), "");
}

TEST(WeightsFile, TruncatedAnywhereIsAnError) {
  std::vector<uint8_t> bytes = small_file();
  const size_t metadata_end = sizeof(WeightsHeader) + header_of(bytes).metadata_bytes;
  const size_t whole = bytes.size();
  // Every length up to the data and near the end, and steps between.
  for (size_t size = whole; size-- > 0;) {
    if (size > metadata_end && size % 4099 != 0 && size + 200 < whole) continue;
    bytes.resize(size);
    ASSERT_NE(error_of(bytes), "") << size;
  }
}

TEST(WeightsFile, AnyFlippedByteOfHeaderAndDirectoryIsAnError) {
  std::vector<uint8_t> bytes = small_file();
  const size_t metadata_end = sizeof(WeightsHeader) + header_of(bytes).metadata_bytes;
  for (size_t i = 0; i < metadata_end; i += kStride) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      bytes[i] = static_cast<uint8_t>(bytes[i] ^ flip);
      ASSERT_NE(error_of(bytes), "") << "byte " << i << " ^ " << flip;
      bytes[i] = static_cast<uint8_t>(bytes[i] ^ flip);
    }
  }
}

// The same with the checksums made right again: only what the file says is wrong now.
TEST(WeightsFile, ForgedBytesAreSurvived) {
  const std::vector<uint8_t> original = small_file();
  const size_t metadata_end = sizeof(WeightsHeader) + header_of(original).metadata_bytes;
  std::vector<uint8_t> bytes = original;
  for (size_t i = 8; i < metadata_end; i += kStride * (i < 4096 ? 1 : 7)) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      bytes[i] = static_cast<uint8_t>(bytes[i] ^ flip);
      seal(bytes);
      const std::string error = error_of(bytes);
      // A file that opens is captioned with only now and then: each caption takes a while.
      if (error.empty() && i % 61 == 0) survive(bytes);
      bytes[i] = static_cast<uint8_t>(bytes[i] ^ flip);
    }
  }
}

TEST(WeightsFile, DamagedWeightsAreSurvived) {
  const std::vector<uint8_t> original = small_file();
  const size_t data = header_of(original).data_offset;
  for (size_t round = 0; round < 24; ++round) {
    std::vector<uint8_t> bytes = original;
    // From single bytes to all of them; 0xff makes NaN, 0x7f huge numbers.
    const size_t step = size_t{1} << (round / 2);
    for (size_t i = data + round; i < bytes.size(); i += step)
      bytes[i] = round % 2 == 0 ? 0xff : 0x7f;
    survive(bytes);
  }
}

struct Forgery {
  const char* name;
  void (*forge)(std::vector<uint8_t>& bytes, WeightsHeader& header);
  const char* words;
};

// The first directory entry, after all key-values: found by its name.
size_t entry_of(const std::vector<uint8_t>& bytes, const std::string& name) {
  const std::string text(bytes.begin(), bytes.end());
  const size_t at = text.find(name + std::string(1, '\x01'));  // the name, then kF32
  EXPECT_NE(at, std::string::npos);
  return at + name.size();
}

void write_u64(std::vector<uint8_t>& bytes, size_t at, uint64_t value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

const Forgery kForgeries[] = {
    {"Magic", [](auto&, WeightsHeader& h) { h.magic[0] = 'P'; }, "not a LightCap model"},
    {"NewerVersion", [](auto&, WeightsHeader& h) { h.version = 2; }, "format version 2"},
    {"VersionZero", [](auto&, WeightsHeader& h) { h.version = 0; }, "format version 0"},
    {"UnknownFeature", [](auto&, WeightsHeader& h) { h.required_features = 4; },
     "use a newer engine"},
    {"FileBytes", [](auto&, WeightsHeader& h) { h.file_bytes += 1; }, "its header says"},
    {"HugeMetadata", [](auto&, WeightsHeader& h) { h.metadata_bytes = ~uint64_t{0} - 8; },
     "contradicts itself"},
    {"UnalignedData", [](auto&, WeightsHeader& h) { h.data_offset += 4; }, "contradicts itself"},
    {"DataInsideMetadata", [](auto&, WeightsHeader& h) { h.data_offset = 64; },
     "contradicts itself"},
    {"TooManyKeys", [](auto&, WeightsHeader& h) { h.key_value_count = 0xffffffff; }, "key"},
    {"TooManyTensors", [](auto&, WeightsHeader& h) { h.tensor_count += 1; },
     "the metadata ends inside"},
    {"TooFewTensors", [](auto&, WeightsHeader& h) { h.tensor_count -= 1; },
     "left after the directory"},
    {"UnknownType", [](auto& b, auto&) { b[entry_of(b, "head.bias")] = 9; }, "unknown type 9"},
    {"UnknownLayout", [](auto& b, auto&) { b[entry_of(b, "head.bias") + 1] = 7; },
     "unknown layout 7"},
    {"NoDimensions", [](auto& b, auto&) { b[entry_of(b, "head.bias") + 2] = 0; }, "0 dimensions"},
    {"TooManyDimensions", [](auto& b, auto&) { b[entry_of(b, "head.bias") + 2] = 255; },
     "255 dimensions"},
    {"DimensionZero", [](auto& b, auto&) { write_u64(b, entry_of(b, "head.bias") + 3, 0); },
     "dimension of 0"},
    {"DimensionHuge",
     [](auto& b, auto&) { write_u64(b, entry_of(b, "head.bias") + 3, uint64_t{1} << 62); },
     "too many elements"},
    {"DimensionWrong", [](auto& b, auto&) { write_u64(b, entry_of(b, "head.bias") + 3, 1); },
     "bytes, expected 4"},
    {"OffsetUnaligned", [](auto& b, auto&) { b[entry_of(b, "head.bias") + 11] += 4; },
     "not a multiple of 64"},
    {"OffsetBeyondEnd",
     [](auto& b, auto&) { write_u64(b, entry_of(b, "head.bias") + 11, uint64_t{1} << 60); },
     "overlaps"},
    {"OffsetOverlaps", [](auto& b, auto&) { write_u64(b, entry_of(b, "head.bias") + 11, 64); },
     "overlaps"},
    {"NameWithSpace", [](auto& b, auto&) { b[entry_of(b, "head.bias") - 1] = ' '; },
     "not printable ASCII"},
};

class Forged : public ::testing::TestWithParam<Forgery> {};

TEST_P(Forged, IsNamed) {
  std::vector<uint8_t> bytes = small_file();
  WeightsHeader header = header_of(bytes);
  GetParam().forge(bytes, header);
  std::memcpy(bytes.data(), &header, sizeof header);
  seal(bytes);
  const std::string error = error_of(bytes);
  EXPECT_NE(error.find(GetParam().words), std::string::npos) << error;
  EXPECT_EQ(error.find("test.lcw: "), 0u) << error;
}

INSTANTIATE_TEST_SUITE_P(WeightsFile, Forged, ::testing::ValuesIn(kForgeries),
                         [](const auto& forged) { return std::string(forged.param.name); });

TEST(WeightsFile, OddPathsAreNamed) {
  const auto open_error = [](const std::string& path) -> std::string {
    try {
      WeightsFile::open(path);
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_NE(open_error("/no/such/file.lcw").find("No such file"), std::string::npos);
  EXPECT_NE(open_error("/").find("not a regular file"), std::string::npos);
  EXPECT_NE(open_error("/dev/zero").find("not a regular file"), std::string::npos);
  EXPECT_NE(open_error("/dev/null").find("not a regular file"), std::string::npos);
  const testing::TemporaryFolder folder;
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_NE(open_error(fifo).find("not a regular file"), std::string::npos);
}

// A model whose tensors are not those of its configuration lists them all.
TEST(WeightsFile, SchemaMismatchesAreListed) {
  std::vector<uint8_t> bytes = small_file();
  const size_t bias = entry_of(bytes, "head.bias");
  const size_t norm = entry_of(bytes, "modulator.fc1.bias");
  bytes[bias - 1] = 'z';
  bytes[norm - 1] = 'z';
  seal(bytes);
  try {
    const Weights weights(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "test.lcw"));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("missing: head.bias"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("missing: modulator.fc1.bias"), std::string::npos);
  }
}

}  // namespace
}  // namespace lightcap::internal
