// Mutates pickles operation by operation, so that most of what comes out still runs.
#ifndef LIGHTCAP_TESTS_FUZZ_MUTATE_PICKLE_H_
#define LIGHTCAP_TESTS_FUZZ_MUTATE_PICKLE_H_

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tests/checkpoint_files.h"
#include "tests/fuzz/mutate.h"
#include "weights_converter/checkpoint/pickle_opcodes.h"

namespace lightcap::internal::fuzz {

// The size of the operation at the beginning of `rest`, or 0 where there is no whole one.
inline size_t operation_size(std::string_view rest) {
  if (rest.empty()) return 0;
  const auto sized = [rest](size_t width) -> size_t {
    if (rest.size() < 1 + width) return 0;
    uint64_t size = 0;
    for (size_t i = 0; i < width; ++i) {
      size |= static_cast<uint64_t>(static_cast<uint8_t>(rest[1 + i])) << (8 * i);
    }
    return size > rest.size() - 1 - width ? 0 : 1 + width + static_cast<size_t>(size);
  };
  const auto lines = [rest](size_t count) -> size_t {
    size_t end = 0;
    for (size_t i = 0; i < count; ++i) {
      end = rest.find('\n', end + (i == 0 ? 1 : 0));
      if (end == std::string_view::npos) return 0;
      ++end;
    }
    return end;
  };
  const auto fixed = [rest](size_t width) { return rest.size() < 1 + width ? 0 : 1 + width; };
  switch (kOperands[static_cast<uint8_t>(rest[0])]) {
    case Operand::kUnknown:
      return 0;
    case Operand::kNone:
      return 1;
    case Operand::kU8:
      return fixed(1);
    case Operand::kU16:
      return fixed(2);
    case Operand::kI32:
    case Operand::kU32:
      return fixed(4);
    case Operand::kU64:
    case Operand::kF64:
      return fixed(8);
    case Operand::kText8:
      return sized(1);
    case Operand::kText32:
      return sized(4);
    case Operand::kText64:
      return sized(8);
    case Operand::kLine:
      return lines(1);
    case Operand::kTwoLines:
      return lines(2);
  }
  return 0;
}

// A pickle's operations, without the STOP at its end. Bytes that are none are left out.
inline std::vector<std::string> operations(std::string_view pickle) {
  std::vector<std::string> result;
  while (!pickle.empty()) {
    const size_t size = operation_size(pickle);
    if (size != 0 && pickle[0] != static_cast<char>(Opcode::kStop)) {
      result.emplace_back(pickle.substr(0, size));
    }
    pickle.remove_prefix(std::max<size_t>(size, 1));
  }
  return result;
}

// Names that the readers know, keys of the storages in our seeds, and keys of modules.
inline std::string known_text(Random& random) {
  constexpr const char* kTexts[] = {
      "storage",     "0",        "cpu",      "weight",
      "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set",
      "names",       "stride",   "module",   "running_var"};
  return kTexts[random.below(std::size(kTexts))];
}
inline std::string known_global(Random& random) {
  constexpr std::string_view kNames[][2] = {{"torch._utils", "_rebuild_tensor_v2"},
                                            {"torch._utils", "_rebuild_tensor_v3"},
                                            {"torch._utils", "_rebuild_parameter"},
                                            {"torch", "FloatStorage"},
                                            {"torch", "HalfStorage"},
                                            {"torch.storage", "UntypedStorage"},
                                            {"torch", "Size"},
                                            {"torch", "float32"},
                                            {"collections", "OrderedDict"},
                                            {"torch.nn.parameter", "Parameter"},
                                            {"torch._tensor", "_rebuild_from_type_v2"},
                                            {"torch.nn.modules.conv", "Conv2d"},
                                            {"builtins", "set"},
                                            {"torch.jit._pickle", "build_intlist"}};
  const auto& name = kNames[random.below(std::size(kNames))];
  return testing::global(name[0], name[1]);
}

// A whole operation with an operand that makes sense.
inline std::string new_operation(Random& random) {
  std::string made(1, static_cast<char>(random.next()));
  const auto number = [&random](size_t width) {
    constexpr uint64_t kEdges[] = {0, 1, 2, 255, 256, 65535, UINT32_MAX, INT64_MAX, UINT64_MAX};
    const bool edge = random.one_in(3);
    return testing::little(edge ? kEdges[random.below(std::size(kEdges))] : random.below(16),
                           width);
  };
  const std::string text =
      random.one_in(8) ? std::string(random.below(200), 'x') : known_text(random);
  switch (kOperands[static_cast<uint8_t>(made[0])]) {
    case Operand::kUnknown:
      return "h" + number(1);
    case Operand::kNone:
      return made == "." ? "2" : made;
    case Operand::kU8:
      return made + number(1);
    case Operand::kU16:
      return made + number(2);
    case Operand::kI32:
    case Operand::kU32:
      return made + number(4);
    case Operand::kU64:
    case Operand::kF64:
      return made + number(8);
    case Operand::kText8:
      return made + testing::little(text.size(), 1) + text;
    case Operand::kText32:
      return made + testing::little(text.size(), 4) + text;
    case Operand::kText64:
      return made + testing::little(text.size(), 8) + text;
    case Operand::kLine:
      return made + std::to_string(random.below(16)) + "\n";
    case Operand::kTwoLines:
      return known_global(random);
  }
  return made;
}

// Changes one thing: an operation, a block of them, a value in the memo, or any byte.
inline std::string mutate_pickle(std::string_view pickle, Random& random, size_t max_size) {
  std::vector<std::string> all = operations(pickle);
  const size_t at = random.below(all.size() + 1);
  const auto place = [&all](size_t index) { return all.begin() + static_cast<ptrdiff_t>(index); };
  const size_t block = std::min(all.size() - at, 1 + random.below(random.one_in(4) ? 64 : 8));
  switch (random.below(8)) {
    case 0:
      all.insert(place(at), new_operation(random));
      break;
    case 1:
      all.erase(place(at), place(at + block));
      break;
    case 2: {  // a block again, somewhere else
      const std::vector<std::string> copied(place(at), place(at + block));
      const size_t to = random.below(all.size() + 1);
      all.insert(place(to), copied.begin(), copied.end());
      break;
    }
    case 3: {  // a block many times
      std::string copied;
      for (size_t i = at; i < at + block; ++i) copied += all[i];
      if (copied.empty()) break;
      const size_t most = max_size / copied.size() + 1;
      const size_t count = 1 + random.below(random.one_in(4) ? most : 16);
      std::string repeated;
      for (size_t i = 0; i < count; ++i) repeated += copied;
      all.insert(place(at + block), repeated);
      break;
    }
    case 4: {  // a value remembered here and used there
      const std::string number = testing::little(random.below(8), 1);
      all.insert(place(at), "q" + number);
      all.insert(place(at + 1 + random.below(all.size() - at)), "h" + number);
      break;
    }
    case 5:  // another operation in its place
      if (at < all.size()) all[at] = new_operation(random);
      break;
    case 6:  // other bytes in its operand
      if (at < all.size()) mutate_bytes(all[at]);
      break;
    default:  // two change places
      if (at < all.size()) std::swap(all[at], all[random.below(all.size())]);
  }
  std::string made;
  for (const std::string& operation : all) made += operation;
  return made + ".";
}

}  // namespace lightcap::internal::fuzz

#endif  // LIGHTCAP_TESTS_FUZZ_MUTATE_PICKLE_H_
