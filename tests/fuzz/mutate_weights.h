// Mutations of .lcw files whose checksums are right, which know the format: they change keys,
// values, texts, sizes, dimensions and numbers, or make a whole model of other sizes.
#ifndef LIGHTCAP_TESTS_FUZZ_MUTATE_WEIGHTS_H_
#define LIGHTCAP_TESTS_FUZZ_MUTATE_WEIGHTS_H_

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"
#include "models/schema.h"
#include "tests/lcw_file.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace lightcap::internal::testing {

using Random = std::minstd_rand;

// The models that a mutation makes: any, or those of floats whose channels are whole quads.
enum class Models { kAny, kQuantizable };

inline Config first_config(Models models) {
  return models == Models::kAny ? smallest_config() : smallest_quantizable_config();
}

// Sets the checksums and the file's size in the header right, or nothing but them would be tested.
inline std::vector<uint8_t> sealed(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  WeightsHeader header;
  if (size < sizeof header) return bytes;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.file_bytes = size;
  if (header.metadata_bytes <= size - sizeof header)
    header.metadata_crc32 = crc32(bytes.data() + sizeof header, header.metadata_bytes);
  header.header_crc32 = crc32(&header, offsetof(WeightsHeader, header_crc32));
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

inline size_t below(Random& random, size_t count) { return random() % std::max<size_t>(count, 1); }

inline uint64_t number(Random& random) {
  constexpr std::array<uint64_t, 8> kOdd = {0, 1, 3, 255, 256, 65536, UINT32_MAX, UINT64_MAX};
  switch (random() % 4) {
    case 0:
      return kOdd[below(random, kOdd.size())];
    case 1:
      return uint64_t{1} << below(random, 64);
    case 2:
      return below(random, 20);
    default:
      return below(random, 5000);
  }
}

inline double real(Random& random) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr std::array<double, 8> kOdd = {0, -1, 1e-300, 1e300, kInfinity, -kInfinity, NAN, 0.5};
  return random() % 2 == 0 ? kOdd[below(random, kOdd.size())]
                           : static_cast<double>(random()) / 1e8 - 5;
}

inline std::string text(Random& random) {
  constexpr std::array kPieces = {"##", "w5",       " ",    ".",        "'s",           "[SEP]",
                                  "\n", "\x1b[31m", "\xff", "\xc3\xa9", "\xe7\x8c\xab", "aaaaaaaa"};
  std::string made;
  const size_t pieces = random() % 8 == 0 ? below(random, 2000) : below(random, 6);
  for (size_t i = 0; i < pieces; ++i) made += kPieces[below(random, kPieces.size())];
  return made;
}

inline void change_value(LcwFile::Value& value, Random& random) {
  if (random() % 8 == 0) {
    const std::array<LcwFile::Value, 5> others = {
        number(random), real(random), text(random), std::vector<std::string>{text(random)},
        std::vector<double>(below(random, 9), real(random))};
    value = others[below(random, others.size())];
  } else if (auto* whole = std::get_if<uint64_t>(&value)) {
    *whole = number(random);
  } else if (auto* fraction = std::get_if<double>(&value)) {
    *fraction = real(random);
  } else if (auto* string = std::get_if<std::string>(&value)) {
    *string = text(random);
  } else if (auto* strings = std::get_if<std::vector<std::string>>(&value)) {
    if (random() % 6 == 0) {
      strings->resize(below(random, 3000), text(random));
    } else if (!strings->empty()) {
      (*strings)[below(random, strings->size())] =
          random() % 4 == 0 ? (*strings)[below(random, strings->size())] : text(random);
    }
  } else if (auto* numbers = std::get_if<std::vector<double>>(&value)) {
    if (random() % 6 == 0) numbers->resize(below(random, 300));
    if (!numbers->empty())
      (*numbers)[below(random, numbers->size())] =
          random() % 2 == 0 ? real(random) : static_cast<double>(number(random));
  }
}

inline void change_keys(LcwFile& file, Random& random) {
  if (file.keys.empty()) return;
  const size_t at = below(random, file.keys.size());
  switch (random() % 10) {
    case 0:
      file.keys.erase(file.keys.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      file.keys.push_back(file.keys[at]);
      file.keys.back().first += random() % 2 == 0 ? "" : "x";
      break;
    case 2:
      file.keys[at].first = text(random);
      break;
    case 3:
      for (size_t i = below(random, 5000); i-- > 0;)
        file.keys.emplace_back(std::to_string(random()), number(random));
      break;
    default:
      change_value(file.keys[at].second, random);
  }
}

inline void change_tensors(LcwFile& file, Random& random) {
  if (file.tensors.empty()) return;
  LcwTensor& tensor = file.tensors[below(random, file.tensors.size())];
  switch (random() % 8) {
    case 0:
      tensor.name = text(random);
      break;
    case 1:
      if (!tensor.dims.empty()) tensor.dims[below(random, tensor.dims.size())] = number(random);
      break;
    case 2:
      tensor.type = static_cast<DataType>(1 + random() % kLastDataType);
      tensor.bytes.resize(tensor.bytes.size() / 2);
      break;
    case 3:
      tensor.bytes.resize(below(random, 4000));
      break;
    case 4:
      file.tensors.push_back(tensor);
      break;
    default: {
      if (tensor.size() == 0) break;
      const auto value = static_cast<float>(real(random));
      if (random() % 2 == 0) {
        std::fill_n(tensor.floats(), tensor.size(), value);
      } else {
        tensor.floats()[below(random, tensor.size())] = value;
      }
    }
  }
}

// Changes one size or hyper-parameter within its bounds, in the way of Config's visitors.
struct ChangeOne {
  Random& random;
  size_t countdown;

  bool now() { return countdown-- == 0; }
  uint64_t within(uint64_t lowest, uint64_t highest) {
    // Small ones mostly: a file for large ones has no room.
    const uint64_t most = random() % 4 == 0 ? highest : std::min(highest, lowest + 40);
    return lowest + below(random, most - lowest + 1);
  }
  void operator()(const char* key, uint64_t& value, uint64_t lowest, uint64_t highest) {
    if (!now()) return;
    value = within(lowest, highest);
    if (std::string_view(key).ends_with("image_size")) value = std::max<uint64_t>(value & ~31u, 32);
    if (value > 1 && std::string_view(key) == "image_encoder.width") value &= ~uint64_t{1};
  }
  void operator()(const char*, double& value, double lowest, double highest) {
    if (now()) value = std::clamp(real(random), lowest, highest);
  }
  void operator()(const char*, bool& value) {
    if (now()) value = !value;
  }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char*, Enum& value, const std::array<const char*, n>&) {
    if (now()) value = static_cast<Enum>(random() % n);
  }
  template <class Number, size_t n>
  void operator()(const char*, std::array<Number, n>& values, Number lowest, Number highest) {
    if (!now()) return;
    Number& value = values[below(random, n)];
    if constexpr (std::is_same_v<Number, uint64_t>) {
      value = within(lowest, highest) & ~uint64_t{1};
      value = std::max(value, lowest);
    } else {
      value = std::clamp(real(random), lowest, highest);
    }
  }
};

// A whole model of other sizes; the file as it was where that would be too large.
inline void change_sizes(LcwFile& file, Random& random, Models models, size_t max_size) {
  const std::vector<uint8_t> bytes = file.bytes();
  Config config;
  try {
    config = read_config(WeightsFile::from_buffer({bytes.data(), bytes.size()}, "fuzz"));
  } catch (const Error&) {
    config = first_config(models);
  }
  constexpr size_t kParameters = 34;  // that the visitors name, or a few more
  for (size_t i = 1 + random() % 3; i-- > 0;) {
    ChangeOne change{random, below(random, kParameters)};
    visit_hyper_parameters(config, change);
    visit_sizes(config, change);
  }
  if (models == Models::kAny && random() % 4 == 0) config.quantization = Quantization::kInt8;
  if (config.is_int8() || models == Models::kQuantizable) {
    // Channels, and halves of them, are whole quads, or nothing but that would be tested.
    const auto whole = [](uint64_t& width) { width = (width + 2 * kQuad - 1) & ~(2 * kQuad - 1); };
    whole(config.image_encoder.width);
    for (uint64_t& width : config.detector.widths) whole(width);
  }
  config.fusion.positions = std::max(
      config.fusion.positions, config.fusion.caption_slots + config.fusion.max_concept_tokens);
  if (config.fusion.width % config.fusion.heads != 0) config.fusion.heads = config.fusion.width;
  uint64_t total = 16 * (config.fusion.vocabulary + config.concept_extractor.vocabulary);
  for (const TensorSpec& spec : schema(config)) {
    total += 128 + tensor_bytes(spec.type, spec.layout, spec.shape);
    if (total > max_size) return;
  }
  file = LcwFile::of(config);
}

inline LcwFile parsed_or_smallest(const uint8_t* data, size_t size, Models models) {
  try {
    return LcwFile::parse(sealed(data, size));
  } catch (const Error&) {
    return LcwFile::of(first_config(models));
  }
}

// Does what LLVMFuzzerCustomMutator is to do.
inline size_t mutate_weights(uint8_t* data, size_t size, size_t max_size, unsigned seed,
                             Models models) {
  Random random(seed);
  if (size > 64 && random() % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  LcwFile file = parsed_or_smallest(data, size, models);
  for (size_t i = 1 + random() % 3; i-- > 0;) {
    switch (random() % 4) {
      case 0:
        change_sizes(file, random, models, max_size);
        break;
      case 1:
        change_tensors(file, random);
        break;
      default:
        change_keys(file, random);
    }
  }
  const std::vector<uint8_t> bytes = file.bytes();
  if (bytes.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_FUZZ_MUTATE_WEIGHTS_H_
