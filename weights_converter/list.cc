#include "weights_converter/list.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/io/crc32.h"
#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"

namespace lightcap::internal {
namespace {

struct Line {
  const CheckpointTensor* tensor;
  uint32_t crc32;
  const CheckpointTensor* same_as;  // null where no earlier one is the same memory
};

std::vector<Line> make_lines(const Checkpoint& checkpoint) {
  using Memory = std::tuple<uint32_t, uint64_t, ElementType, const std::vector<uint64_t>&,
                            const std::vector<uint64_t>&>;
  std::map<Memory, size_t> earlier;
  std::vector<Line> lines;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    Line line{&tensor, 0, nullptr};
    const bool empty = tensor.refusal.empty() && tensor.elements() == 0;
    const Memory memory{tensor.storage, tensor.offset, tensor.type, tensor.shape, tensor.strides};
    const auto [first, added] = earlier.emplace(memory, lines.size());
    if (!added && !empty && tensor.refusal.empty()) {
      line.same_as = lines[first->second].tensor;
      line.crc32 = lines[first->second].crc32;
    } else {
      checkpoint.read_bytes(tensor, [&line](std::span<const uint8_t> bytes) {
        line.crc32 = crc32(bytes.data(), bytes.size(), line.crc32);
      });
    }
    lines.push_back(line);
  }
  return lines;
}

// Appends a line, which may repeat the name of another tensor.
void add_line(std::string& text, const std::string& line, Budget& budget) {
  budget.charge(line.size());
  text += line;
}

std::string json_text(const std::vector<Line>& lines, Budget& budget) {
  // One object a line: a list of thousands stays readable, and can be grepped.
  std::string text = "[";
  for (const Line& line : lines) {
    nlohmann::ordered_json object = {{"name", line.tensor->name},
                                     {"dtype", element_type_info(line.tensor->type).name},
                                     {"shape", line.tensor->shape},
                                     {"crc32", line.crc32}};
    if (line.same_as != nullptr) object["same_as"] = line.same_as->name;
    // Names from hostile files may be no UTF-8, or hold control characters beyond ASCII.
    add_line(text,
             (text.size() > 1 ? ",\n " : "\n ") +
                 object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace),
             budget);
  }
  return text + "\n]\n";
}

std::string table_text(const Checkpoint& checkpoint, const std::vector<Line>& lines,
                       Budget& budget) {
  size_t name_width = 4, shape_width = 5;
  uint64_t elements = 0;
  for (const Line& line : lines) {
    name_width = std::max(name_width, printable(line.tensor->name).size());
    shape_width = std::max(shape_width, dims_text(line.tensor->shape).size());
    if (line.same_as == nullptr) elements += line.tensor->elements();
  }
  constexpr size_t kMaxNameWidth = 100, kMaxShapeWidth = 40;
  name_width = std::min(name_width, kMaxNameWidth);
  shape_width = std::min(shape_width, kMaxShapeWidth);
  const auto pad = [](std::string text, size_t width) {
    text.resize(std::max(text.size(), width), ' ');
    return text;
  };
  std::string text = pad("name", name_width) + "  dtype  " + pad("shape", shape_width) +
                     "  crc32     same memory as\n";
  for (const Line& line : lines) {
    char crc[16];
    std::snprintf(crc, sizeof(crc), "%08x", line.crc32);
    std::string row = pad(printable(line.tensor->name), name_width) + "  " +
                      pad(element_type_info(line.tensor->type).name, 5) + "  " +
                      pad(dims_text(line.tensor->shape), shape_width) + "  " + crc;
    if (line.same_as != nullptr) row += "  " + printable(line.same_as->name);
    add_line(text, row + '\n', budget);
  }
  return text + checkpoint.format + ", " + std::to_string(lines.size()) + " tensors, " +
         std::to_string(elements) + " values" +
         (checkpoint.numpy_arrays.empty()
              ? ""
              : ", and " + std::to_string(checkpoint.numpy_arrays.size()) +
                    " NumPy arrays, which are not read") +
         "\n";
}

}  // namespace

std::string list_tensors(const Checkpoint& checkpoint, ListStyle style) {
  Budget budget(
      ErrorCode::kCheckpoint, "bytes of listing",
      limits::proportional(limits::kListingBase, limits::kListingFactor, checkpoint.file_bytes));
  const std::vector<Line> lines = make_lines(checkpoint);
  checkpoint.check_unchanged();
  try {
    return style == ListStyle::kJson ? json_text(lines, budget)
                                     : table_text(checkpoint, lines, budget);
  } catch (const Error& error) {
    throw Error(error.code(), printable(checkpoint.path) + ": " + error.what());
  }
}

}  // namespace lightcap::internal
